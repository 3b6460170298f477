import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Counter, Gauge, Histogram } from '../labelled.ts'
import { readFamilies } from './metric-families.ts'
import { encodeMetrics } from './metrics-message.ts'

const counter = new Counter('dapr_http_server_request_count', 'Requests.', ['app_id', 'path'])
counter.add('shop', '/a"b\\c\nd')
counter.add('shop', '')
counter.add('shop', '')
const gauge = new Gauge('outrider_sidecar_state', 'State.', ['state'])
gauge.set(0, 'ready')
const histogram = new Histogram('dapr_http_server_latency', 'Milliseconds.', ['app_id'], [1, 2.5, 1e5])
for (const value of [0.5, 2, 2, 7, 1e6]) histogram.series('shop').record(value)
const page = `${counter.text()}${gauge.text()}${histogram.text()}# HELP process_cpu_seconds_total CPU.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25\n`

test('the page of the metrics port is read back whole', async () => {
  const [requests, state, latency, cpu] = await readFamilies([page])
  assert.deepEqual(requests?.points, [
    { attributes: { app_id: 'shop', path: '/a"b\\c\nd' }, value: 1 },
    { attributes: { app_id: 'shop', path: '' }, value: 2 },
  ])
  assert.deepEqual([state?.type, state?.points], ['gauge', [{ attributes: { state: 'ready' }, value: 0 }]])
  assert.deepEqual(latency?.points, [
    { attributes: { app_id: 'shop' }, bounds: [1, 2.5, 100_000], counts: [1, 2, 1, 1], sum: 1_000_011.5, count: 5 },
  ])
  assert.deepEqual([cpu?.name, cpu?.points], ['process_cpu_seconds_total', [{ attributes: {}, value: 1.25 }]])
})

test('metrics are encoded byte for byte as by the protobufs of OpenTelemetry', async () => {
  const request = encodeMetrics({
    families: await readFamilies([page]),
    resource: { 'service.name': 'shop' },
    version: '1',
    since: 1_700_000_000_000.25,
    now: 1_700_000_060_000,
  })
  // From Python's opentelemetry-proto 1.45: ExportMetricsServiceRequest(…).SerializeToString().
  const official =
    'CpMEChgKFgoMc2VydmljZS5uYW1lEgYKBHNob3AS9gMKDQoIb3V0cmlkZXISATESsAEKHmRhcHJfaHR0cF9zZXJ2ZXJfcmVxdWVzdF9jb3VudBIJUmVxdWVz' +
    'dHMuOoIBCkERkNAtNv6clxcZAFhxLgydlxchAAAAAAAA8D86EAoGYXBwX2lkEgYKBHNob3A6EgoEcGF0aBIKCggvYSJiXGMKZAo5EZDQLTb+nJcXGQBYcS4M' +
    'nZcXIQAAAAAAAABAOhAKBmFwcF9pZBIGCgRzaG9wOgoKBHBhdGgSAgoAEAIYARJIChZvdXRyaWRlcl9zaWRlY2FyX3N0YXRlEgZTdGF0ZS4qJgokGQBYcS4M' +
    'nZcXIQAAAAAAAAAAOhAKBXN0YXRlEgcKBXJlYWR5EqEBChhkYXByX2h0dHBfc2VydmVyX2xhdGVuY3kSDU1pbGxpc2Vjb25kcy5KdgpyEZDQLTb+nJcXGQBY' +
    'cS4MnZcXIQUAAAAAAAAAKQAAAACXhC5BMiABAAAAAAAAAAIAAAAAAAAAAQAAAAAAAAABAAAAAAAAADoYAAAAAAAA8D8AAAAAAAAEQAAAAAAAavhAShAKBmFw' +
    'cF9pZBIGCgRzaG9wEAISRAoZcHJvY2Vzc19jcHVfc2Vjb25kc190b3RhbBIEQ1BVLjohChsRkNAtNv6clxcZAFhxLgydlxchAAAAAAAA9D8QAhgB'
  assert.equal(request.toString('base64'), official)
})
