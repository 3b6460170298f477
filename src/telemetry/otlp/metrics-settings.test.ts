import assert from 'node:assert/strict'
import { test } from 'node:test'
import { metricsPushSettings, pushesMetrics } from './metrics-settings.ts'

const at = (env: Record<string, string>) => {
  const { endpoint, protocol, secure } = metricsPushSettings(env)
  return `${protocol} ${secure ? 'TLS ' : ''}${endpoint}`
}

test('metrics are pushed when the environment names a collector and does not say none', () => {
  assert.equal(pushesMetrics({}), false)
  assert.equal(pushesMetrics({ OTEL_EXPORTER_OTLP_ENDPOINT: '' }), false)
  assert.equal(pushesMetrics({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'a:1' }), false)
  assert.equal(pushesMetrics({ OTEL_EXPORTER_OTLP_ENDPOINT: 'a:1' }), true)
  assert.equal(pushesMetrics({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'a:1' }), true)
  assert.equal(pushesMetrics({ OTEL_EXPORTER_OTLP_ENDPOINT: 'a:1', OTEL_METRICS_EXPORTER: 'none' }), false)
})

test('endpoint, protocol and TLS are those of OpenTelemetry', () => {
  const http = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' }
  assert.equal(at({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317' }), 'grpc collector:4317')
  assert.equal(at({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector:4317/' }), 'grpc TLS collector:4317')
  assert.equal(at({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' }), 'grpc TLS collector:4317')
  assert.equal(at({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317', OTEL_EXPORTER_OTLP_INSECURE: 'true' }), 'grpc collector:4317')
  assert.equal(at({ ...http, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }), 'http collector:4318/v1/metrics')
  assert.equal(at({ ...http, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector/otlp/' }), 'http collector/otlp/v1/metrics')
  assert.equal(
    at({ ...http, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://c/api/v1/otlp/v1/metrics' }),
    'http TLS c/api/v1/otlp/v1/metrics',
  )
  const both = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a:1', OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://b:2' }
  assert.equal(at({ ...both, OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'grpc', ...http }), 'grpc b:2')
})

test('headers, timeout and interval have their variables', () => {
  const settings = metricsPushSettings({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'a:1',
    OTEL_EXPORTER_OTLP_HEADERS: 'tenant=a,token=x%20y',
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: '250',
    OTEL_METRIC_EXPORT_INTERVAL: '1500',
  })
  assert.deepEqual([settings.headers, settings.timeout, settings.interval], [{ tenant: 'a', token: 'x y' }, 250, 1500])
  assert.equal(metricsPushSettings({ OTEL_EXPORTER_OTLP_ENDPOINT: 'a:1', OTEL_METRIC_EXPORT_INTERVAL: 'x' }).interval, 60_000)
})
