import { type Environment, keyValues, milliseconds } from './environment.ts'
import type { OtlpEndpoint } from './sender.ts'

export interface MetricsPushSettings extends OtlpEndpoint {
  /** Milliseconds between two exports; default 60,000. */
  interval: number
}

/** Whether the environment names a collector for metrics. OTEL_METRICS_EXPORTER may be `otlp` (default) or `none`. */
export function pushesMetrics(env: Environment): boolean {
  const exporter = env.OTEL_METRICS_EXPORTER || 'otlp'
  return exporter.split(',').includes('otlp') && Boolean(env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT)
}

/**
 * OTEL_EXPORTER_OTLP_METRICS_{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT,INSECURE}, each else without METRICS_, and
 * OTEL_METRIC_EXPORT_INTERVAL, as OpenTelemetry describes them; but without a protocol it is grpc, as for traces (daprd).
 * `https://` is TLS, `http://` is not, without a scheme INSECURE says. To the common endpoint `/v1/metrics` is added over HTTP.
 */
export function metricsPushSettings(env: Environment): MetricsPushSettings {
  const either = (name: string) => env[`OTEL_EXPORTER_OTLP_METRICS_${name}`] || env[`OTEL_EXPORTER_OTLP_${name}`] || undefined
  const own = env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT
  const url = own || env.OTEL_EXPORTER_OTLP_ENDPOINT || ''
  const [, scheme, rest = ''] = /^(?:(https?):\/\/)?(.*)$/.exec(url) ?? []
  const protocol = either('PROTOCOL')?.startsWith('http') ? 'http' : 'grpc'
  const bare = rest.replace(/\/+$/, '')
  return {
    endpoint: protocol === 'grpc' ? (bare.split('/')[0] as string) : own ? (bare.includes('/') ? rest : bare) : `${bare}/v1/metrics`,
    protocol,
    secure: scheme === undefined ? either('INSECURE') !== 'true' : scheme === 'https',
    headers: keyValues(either('HEADERS')),
    timeout: milliseconds(either('TIMEOUT')),
    interval: milliseconds(env.OTEL_METRIC_EXPORT_INTERVAL) ?? 60_000,
  }
}
