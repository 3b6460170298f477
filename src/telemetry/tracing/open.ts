import type { Logger } from '../log.ts'
import { keyValues, milliseconds, resourceOf } from '../otlp/environment.ts'
import { SpanBatches } from './batch.ts'
import { type SpanExporter, samplingRate, Tracer } from './tracer.ts'

export interface TracingOptions {
  appId: string
  /** `spec.tracing.samplingRate` as written. */
  samplingRate: string | undefined
  stdout: boolean
  zipkin?: { endpointAddress?: string } | undefined
  otel?:
    | {
        endpointAddress?: string
        protocol?: string
        isSecure: boolean
        headers: readonly { name: string; value: string }[]
        /** Milliseconds. */
        timeout?: number | undefined
      }
    | undefined
  /** For OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_[TRACES_]HEADERS and _TIMEOUT. */
  env: Readonly<Record<string, string | undefined>>
  log: Logger
}

export interface Tracing extends AsyncDisposable {
  readonly tracer: Tracer
}

/** Whether anything of tracing is on at all: a rate of 0 turns it off. */
export function tracingEnabled(rate: string | undefined): boolean {
  return samplingRate(rate) !== 0
}

/**
 * The tracer of one sidecar; undefined when nobody would make spans: tracing is off, or there is neither exporter nor rate.
 * With a rate alone, spans are made and thrown away, so that identifiers travel. Throws for a protocol that does not exist.
 */
export async function openTracing(options: TracingOptions): Promise<Tracing | undefined> {
  const { stdout, zipkin, otel, env, log } = options
  if (!tracingEnabled(options.samplingRate)) return undefined
  const resource = resourceOf(options.appId, env)
  const exporters: SpanExporter[] = []
  if (stdout) exporters.push((await import('./stdout-exporter.ts')).stdoutExporter(log.scope('dapr.runtime.trace')))
  if (zipkin?.endpointAddress) {
    exporters.push((await import('./zipkin-exporter.ts')).zipkinExporter(zipkin.endpointAddress, resource))
  }
  if (otel?.endpointAddress && otel.protocol) {
    if (otel.protocol !== 'http' && otel.protocol !== 'grpc')
      throw new Error(
        `invalid protocol ${otel.protocol} provided for Otel endpoint: spec.tracing.otel.protocol of the Configuration is http or grpc`,
      )
    const given = Object.fromEntries(otel.headers.map(({ name, value }) => [name, value]))
    const headers = otel.headers.length > 0 ? given : keyValues(env.OTEL_EXPORTER_OTLP_TRACES_HEADERS ?? env.OTEL_EXPORTER_OTLP_HEADERS)
    const timeout = otel.timeout ?? milliseconds(env.OTEL_EXPORTER_OTLP_TRACES_TIMEOUT ?? env.OTEL_EXPORTER_OTLP_TIMEOUT)
    const { otlpExporter } = await import('./otlp-exporter.ts')
    exporters.push(
      otlpExporter({ endpoint: otel.endpointAddress, protocol: otel.protocol, secure: otel.isSecure, headers, timeout }, resource),
    )
  }
  if (exporters.length === 0 && !options.samplingRate) return undefined
  const batches = new SpanBatches(exporters, log.scope('dapr.runtime.trace'))
  const take = exporters.length > 0 ? batches.add : () => {}
  return { tracer: new Tracer(samplingRate(options.samplingRate), take), [Symbol.asyncDispose]: () => batches.close() }
}
