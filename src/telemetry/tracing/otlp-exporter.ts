import { createGrpcClient } from '../../transport/grpc/client.ts'
import { encodeTraces } from './otlp-message.ts'
import { postBytes } from './post.ts'
import type { SpanExporter } from './tracer.ts'

export interface OtlpOptions {
  /** host:port; over HTTP a path may follow. */
  endpoint: string
  protocol: 'http' | 'grpc'
  secure: boolean
  headers: Readonly<Record<string, string>>
  /** Milliseconds for one batch. Default 10,000. */
  timeout?: number | undefined
  /** What the spans belong to, e.g. `service.name`. */
  resource: Readonly<Record<string, string>>
}

const EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'

/** Spans to an OpenTelemetry collector. */
export function otlpExporter({ endpoint, protocol, secure, headers, timeout = 10_000, resource }: OtlpOptions): SpanExporter {
  if (protocol === 'http') {
    const slash = endpoint.indexOf('/')
    const url = `${secure ? 'https' : 'http'}://${slash < 0 ? `${endpoint}/v1/traces` : endpoint}`
    return {
      export: (spans) => postBytes(url, encodeTraces(spans, resource), { ...headers, 'content-type': 'application/x-protobuf' }, timeout),
      async close() {},
    }
  }
  const client = createGrpcClient({ ...(secure && { tls: { ALPNProtocols: ['h2'] } }) })
  const metadata = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return {
    async export(spans) {
      try {
        await client.unary(endpoint, EXPORT, encodeTraces(spans, resource), { headers: metadata, timeout })
      } catch (error) {
        throw new Error(`${endpoint}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
    },
    async close() {
      await client[Symbol.asyncDispose]()
    },
  }
}
