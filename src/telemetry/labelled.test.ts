import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LabelRules } from './label-rules.ts'
import { Counter, Gauge, Histogram } from './labelled.ts'
import { metricsPage } from './open-metrics.ts'

test('a counter and a gauge are written with their labels, escaped; nothing is written before something is counted', () => {
  const counter = new Counter('c_total', 'Things.', ['app_id', 'topic'])
  assert.equal(counter.text(), '')
  counter.add('a', 'say "hi"\n\\')
  counter.add('a', 'say "hi"\n\\')
  assert.equal(counter.text(), '# HELP c_total Things.\n# TYPE c_total counter\nc_total{app_id="a",topic="say \\"hi\\"\\n\\\\"} 2\n')
  const gauge = new Gauge('g', 'Level.', ['app_id'])
  gauge.set(7, 'a')
  assert.match(gauge.text(), /# TYPE g gauge\ng\{app_id="a"\} 7\n/)
})

test('a histogram counts a value in each bucket from the first that holds it, bounds included', () => {
  const histogram = new Histogram('h', 'Sizes.', ['app_id'], [1, 5, 10])
  for (const value of [0.5, 1, 4, 10, 11]) histogram.series('a').record(value)
  assert.deepEqual(histogram.text().split('\n').slice(2, 8), [
    'h_bucket{app_id="a",le="1"} 2',
    'h_bucket{app_id="a",le="5"} 3',
    'h_bucket{app_id="a",le="10"} 4',
    'h_bucket{app_id="a",le="+Inf"} 5',
    'h_sum{app_id="a"} 26.5',
    'h_count{app_id="a"} 5',
  ])
})

test('series are bounded: what comes after counts as other', () => {
  const counter = new Counter('c_total', 'Things.', ['app_id', 'path'])
  for (let index = 0; index < 5000; index++) counter.add('a', `/p/${index}`)
  const rows = counter.text().trim().split('\n')
  assert.equal(rows.length, 2 + 2001)
  assert.equal(rows.at(-1), 'c_total{app_id="a",path="other"} 3000')
})

test('rules replace label values, so that many are one series', () => {
  const rules = LabelRules.from([
    { name: 'dapr_http/server/request_count', labels: [{ name: 'path', regex: { '/orders/ID': '/orders/[0-9]+' } }] },
  ])
  const counter = new Counter('dapr_http_server_request_count', 'Requests.', ['app_id', 'path'], rules)
  const other = new Counter('dapr_http_server_response_count', 'Responses.', ['app_id', 'path'], rules)
  for (const path of ['/orders/1', '/orders/22', '/x']) {
    counter.add('a', path)
    other.add('a', path)
  }
  assert.deepEqual(counter.text().split('\n').slice(2, -1), [
    'dapr_http_server_request_count{app_id="a",path="/orders/ID"} 2',
    'dapr_http_server_request_count{app_id="a",path="/x"} 1',
  ])
  assert.match(other.text(), /path="\/orders\/22"/)
  assert.throws(() => LabelRules.from([{ name: 'm', labels: [{ name: 'path', regex: { x: '(' } }] }]), /label path of metric m/)
})

test('a scraper that prefers OpenMetrics gets it: families of counters without _total, an end', async () => {
  const totals = new Counter('things_total', 'Things.', ['app_id'])
  const counts = new Counter('calls_count', 'Calls.', ['app_id'])
  totals.add('a')
  counts.add('a')
  const parts = [totals.text(), counts.text()]
  const plain = metricsPage(parts, undefined)
  assert.equal(plain.contentType, 'text/plain; version=0.0.4; charset=utf-8')
  assert.equal((await Array.fromAsync(plain.body)).join(''), parts.join(''))
  const { contentType, body } = metricsPage(parts, 'application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5')
  assert.match(contentType, /^application\/openmetrics-text; version=1\.0\.0/)
  assert.deepEqual((await Array.fromAsync(body)).join('').split('\n'), [
    '# HELP things Things.',
    '# TYPE things counter',
    'things_total{app_id="a"} 1',
    '# HELP calls_count Calls.',
    '# TYPE calls_count unknown',
    'calls_count{app_id="a"} 1',
    '# EOF',
    '',
  ])
})
