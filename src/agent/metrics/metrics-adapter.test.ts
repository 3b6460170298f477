import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { metricsAdapterKind } from '../../resources/metrics-adapter-schema.ts'
import { peer, peersMissing } from '../testing/peer.ts'
import { openForTest, serveForTest } from '../testing/role-context.ts'
import { openMetricsAdapter } from './metrics-adapter.ts'

const open = (spec: object) => openForTest(openMetricsAdapter, 'MetricsAdapter', spec)
const portsOf = (role: { status?(): Readonly<Record<string, unknown>> }) => {
  const listens = role.status?.().listens as Record<string, string>
  return Object.fromEntries(Object.entries(listens).map(([kind, at]) => [kind, Number(at.slice(at.lastIndexOf(':') + 1))])) as Record<
    string,
    number
  >
}
const text = async (url: string) => (await fetch(`${url}/metrics`, { headers: { accept: 'text/plain' } })).text()

async function send(port: number, packets: readonly string[]): Promise<void> {
  const socket = createSocket('udp4')
  for (const packet of packets) await new Promise((resolve) => socket.send(packet, port, '127.0.0.1', resolve))
  await new Promise<void>((resolve) => socket.close(() => resolve()))
}

test('unmodified clients of npm and PyPI are counted, and the parsers of prometheus_client read the page', {
  skip: peersMissing(),
}, async (t) => {
  const datagram = process.platform === 'linux' && process.getBuiltinModule('node:ffi') !== undefined
  const { mkdtempSync, rmSync } = await import('node:fs')
  const sockets = mkdtempSync('/tmp/outrider-statsd-')
  t.after(() => rmSync(sockets, { recursive: true, force: true }))
  const [unix, unixStream] = [join(sockets, 'dsd.sock'), join(sockets, 'stream.sock')]
  await using opened = await open({
    statsd: { udp: ':0', tcp: ':0', unixStream, ...(datagram && { unix }) },
    buckets: [0.1, 0.2, 1, 50],
  })
  const ports = portsOf(opened.role)
  await Promise.all([
    peer('statsd.mjs', [ports.udp as number, ports.tcp as number]),
    peer('statsd_clients.py', [ports.udp as number, ports.tcp as number, datagram ? unix : '-', unixStream]),
  ])
  // The parser of prometheus_client names counters as OpenMetrics does.
  const wanted: Record<string, number> = {
    'hot_orders_total{env=test,kind=new}': 2,
    'hot_stock_total{env=test}': -3,
    'hot_depth{env=test}': 7.5,
    'hot_latency_sum{env=test,route=/a"b}': 0.12,
    'hot_latency_bucket{env=test,le=0.1,route=/a"b}': 0,
    'hot_latency_bucket{env=test,le=0.2,route=/a"b}': 1,
    'hot_size_sum{env=test}': 42,
    'hot_size_dist_count{env=test}': 1,
    'hot_users{env=test}': 2,
    'tcp_orders_total{}': 5,
    'buffered_orders_total{}': 100,
    'old_orders_total{}': 1,
    'old_latency_sum{}': 0.005,
    'old_depth{}': 3,
    'old_users{}': 1,
    'etsy_orders_total{}': 4,
    'etsy_latency_sum{}': 0.03,
    'etsy_depth{}': 7,
    'etsy_users{}': 1,
    'etsy_size_sum{kind=new}': 8,
    'etsytcp_orders_total{}': 7,
    'dog_orders_total{env=test,kind=new}': 4,
    'dog_depth{env=test}': 12,
    'dog_latency_count{env=test}': 1,
    'dog_sizes_sum{env=test}': 11,
    'dog_users{env=test}': 1,
    'stream_orders_total{}': 50,
    ...(datagram && { 'unix_orders_total{}': 50 }),
    'plain_orders_total{}': 3,
    'plain_depth{}': 3,
    'plain_latency_sum{}': 0.32,
    'plain_piped_total{}': 1,
    'plain_stock_total{}': -2,
    'line_orders_total{}': 6,
    'outrider_metrics_events_total{}': 2,
    'outrider_metrics_service_checks_total{}': 2,
    'outrider_metrics_dropped_total{reason=malformed}': 0,
    'outrider_metrics_dropped_total{reason=kernel}': 0,
  }
  await opened.until(async () => {
    const page = await text(opened.url)
    return ['\nline_orders 6', '\netsytcp_orders 7', '\ntcp_orders 5'].every((line) => page.includes(line)) || undefined
  })
  const read = JSON.parse(await peer('parse_metrics.py', [`${opened.url}/metrics`])) as Record<string, number>
  assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((name) => [name, read[name]])), wanted)
})

test('the page is text for scrapers, JSON for programs that ask for it or do not say', async () => {
  await using opened = await open({ statsd: { udp: ':0' } })
  await send(portsOf(opened.role).udp as number, ['orders:2|c|#kind:new\ndepth:-4|g\nlatency:100|ms|@0.5'])
  await opened.until(async () => ((await text(opened.url)).includes('latency_count 2') ? true : undefined))
  for (const accept of [undefined, '*/*', 'application/json']) {
    const reply = await fetch(`${opened.url}/metrics`, accept ? { headers: { accept } } : {})
    assert.match(String(reply.headers.get('content-type')), /^application\/json/)
    const page = (await reply.json()) as Record<string, Record<string, unknown>>
    assert.deepEqual([typeof page.cpu, typeof page.memory, typeof page.uptime], ['number', 'number', 'number'])
    assert.ok(Number(page.memory) > 1e6)
    assert.equal(page.counters?.['orders{kind="new"}'], 2)
    assert.equal(page.gauges?.depth, -4)
    assert.deepEqual(page.timers?.latency, { count: 2, sum: 0.2 })
  }
  const scraped = await text(opened.url)
  assert.match(scraped, /^sidecar_requests_total\{endpoint="\/metrics"\} \d+$/m)
  assert.match(scraped, /^sidecar_request_duration_seconds_count\{endpoint="\/metrics"\} \d+$/m)
})

test('with a prefix it has a page of its own, and is not on that of the process', async () => {
  await using opened = await open({ prefix: '/second', statsd: { udp: ':0' } })
  await send(portsOf(opened.role).udp as number, ['own:3|c'])
  const page = async () => (await fetch(`${opened.url}/second/metrics?format=text`)).text()
  await opened.until(async () => (await page()).includes('\nown 3') || undefined)
  assert.ok(!(await page()).includes('sidecar_requests_total'))
  assert.equal(opened.role.metrics?.(), '')
})

test('series are bounded: what is too much, malformed or of two types is counted as dropped', async () => {
  await using opened = await open({
    statsd: { udp: ':0' },
    maxSeries: 2,
    mappings: [{ match: 'noise.*', drop: true }],
  })
  await send(portsOf(opened.role).udp as number, ['a:1|c\nb:1|c\nc:1|c\nc:1|c\na:1|g\nnonsense\nd:x|c\nnoise.x:1|c\na:1|c|@7'])
  const page = await opened.until(async () => {
    const now = await text(opened.url)
    return now.includes('reason="mapping"} 1') ? now : undefined
  })
  const dropped = Object.fromEntries(
    [...page.matchAll(/dropped_total\{reason="(\w+)"\} (\d+)/g)].map(([, reason, count]) => [reason, Number(count)]),
  )
  assert.deepEqual(dropped, { malformed: 3, series: 2, conflict: 1, mapping: 1, refused: 0, kernel: 0 })
  assert.match(page, /^a 1$/m)
  assert.doesNotMatch(page, /^c /m)
})

test('mappings name metrics and make labels of parts of the name', async () => {
  await using opened = await open({
    statsd: { udp: ':0' },
    mappings: [{ match: 'api.*.*.latency', name: 'api_latency_seconds', labels: { method: '$1', route: '$2' }, buckets: [1] }],
  })
  await send(portsOf(opened.role).udp as number, ['api.get.orders.latency:1500|ms|#zone:b\nweb,host=a:1|c\ngraph;host=b:1|c'])
  const page = await opened.until(async () => {
    const now = await text(opened.url)
    return now.includes('graph') ? now : undefined
  })
  assert.match(page, /^api_latency_seconds_bucket\{method="get",route="orders",zone="b",le="1"\} 0$/m)
  assert.match(page, /^web\{host="a"\} 1$/m)
  assert.match(page, /^graph\{host="b"\} 1$/m)
  const wrong = metricsAdapterKind.check?.({ mappings: [{ match: 'a.*', labels: { x: '$2' } }] })
  assert.match(String(wrong?.message), /uses \$2, but "a\.\*" has 1 \*/)
})

test('series that nothing is added to go after expireAfter', async () => {
  await using opened = await open({ statsd: { udp: ':0' }, expireAfter: '100ms', maxSeries: 1 })
  const port = portsOf(opened.role).udp as number
  await send(port, ['first:1|c'])
  await opened.until(async () => ((await text(opened.url)).includes('first 1') ? true : undefined))
  await opened.until(async () => ((await text(opened.url)).includes('\nfirst 1') ? undefined : true))
  await send(port, ['second:1|c'])
  await opened.until(async () => ((await text(opened.url)).includes('second 1') ? true : undefined))
  // And it begins anew.
  await opened.until(async () => ((await text(opened.url)).includes('second 1') ? undefined : true))
  await send(port, ['first:1|c'])
  await opened.until(async () => ((await text(opened.url)).includes('first 1') ? true : undefined))
})

const APP_PAGE = (orders: number) => `# HELP orders_total Orders\\nplaced.
# TYPE orders_total counter
orders_total{kind="a\\"b"} ${orders} 1700000000000
# TYPE depth gauge
depth -3.5
# TYPE latency histogram
latency_bucket{le="0.1"} ${orders}
latency_bucket{le="+Inf"} ${orders + 1}
latency_sum 2.5
latency_count ${orders + 1}
# TYPE wait summary
wait{quantile="0.5"} 0.2
wait_sum 9
wait_count 3
this is no sample
`

test("the app's page goes to a StatsD server as what counters grew by, and to an OTLP receiver with what came by StatsD", async (t) => {
  let orders = 5
  await using app = await serveForTest(() => ({ body: APP_PAGE(orders) }))
  await using collector = await serveForTest(() => ({ body: '{}' }))
  const heard: string[] = []
  const server = createSocket('udp4').on('message', (data) => heard.push(...data.toString().split('\n')))
  t.after(() => void server.close())
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve))
  {
    await using opened = await open({
      statsd: { udp: ':0' },
      scrape: { url: `${app.url}/metrics`, interval: '50ms' },
      outputs: {
        statsd: { address: `127.0.0.1:${server.address().port}`, prefix: 'shop.' },
        otlp: { endpoint: collector.url, interval: '50ms', headers: { 'x-key': 'k' } },
      },
    })
    await send(portsOf(opened.role).udp as number, ['own:3|c'])
    await opened.until(() => (heard.includes('shop.depth:-3.5|g') ? true : undefined))
    assert.ok(!heard.some((line) => line.startsWith('shop.orders_total')), 'how much of a counter is new is not known the first time')
    orders = 9
    await opened.until(() => (heard.includes('shop.orders_total:4|c|#kind:a"b') ? true : undefined))
    assert.ok(heard.includes('shop.latency_bucket:4|c|#le:0.1'))
    orders = 2
    await opened.until(() => (heard.includes('shop.orders_total:2|c|#kind:a"b') ? true : undefined))
    const metric = (name: string) => {
      for (const { body } of collector.requests) {
        const [resource] = JSON.parse(body).resourceMetrics
        assert.deepEqual(resource.resource.attributes, [{ key: 'service.name', value: { stringValue: 'shop' } }])
        const found = resource.scopeMetrics[0].metrics.find((one: { name: string }) => one.name === name)
        if (found) return found
      }
      return undefined
    }
    await opened.until(() => metric('own'))
    assert.equal(metric('own').sum.dataPoints[0].asDouble, 3)
    const [below, above] = metric('latency').histogram.dataPoints[0].bucketCounts
    assert.ok(['5', '9', '2'].includes(below) && above === '1', `${below} ${above}`)
    assert.equal(metric('wait_sum').sum.isMonotonic, true)
    assert.deepEqual([collector.requests[0]?.url, collector.requests[0]?.headers['x-key']], ['/v1/metrics', 'k'])
    assert.deepEqual(opened.reports, [])
  }
})

test("a page of prom-client's is read, and OpenTelemetry's own messages read what goes out", { skip: peersMissing() }, async () => {
  const page = await peer('prom_page.mjs', [])
  await using app = await serveForTest(() => ({ body: page }))
  await using collector = await serveForTest(() => ({ body: '{}' }))
  const otlp = { endpoint: collector.url, interval: '50ms' }
  await using opened = await open({ statsd: { udp: ':0' }, scrape: { url: `${app.url}/metrics`, interval: '50ms' }, outputs: { otlp } })
  await send(portsOf(opened.role).udp as number, ['own:3|c', 'took:120|ms'])
  const full = (body: string) => ['orders', 'own', 'took'].every((name) => body.includes(`"${name}`))
  const { body } = await opened.until(() => collector.requests.find((request) => full(request.body)))
  const decoded = JSON.parse(await peer('decode_otlp.py', ['metrics', 'json'], Buffer.from(body).toString('base64')))
  const metrics = decoded.resourceMetrics[0].scopeMetrics[0].metrics as { name: string }[]
  const point = (name: string, kind: string) => {
    const found = metrics.find((metric) => metric.name === name) as unknown as Record<string, { dataPoints: Record<string, unknown>[] }>
    const { timeUnixNano, startTimeUnixNano, ...rest } = found?.[kind]?.dataPoints[0] ?? {}
    return rest
  }
  assert.deepEqual(point('orders_total', 'sum'), {
    attributes: [{ key: 'kind', value: { stringValue: 'a"b\nc' } }],
    asDouble: 5,
  })
  assert.deepEqual(point('depth', 'gauge'), { asDouble: -3.5 })
  assert.deepEqual(point('own', 'sum'), { asDouble: 3 })
  const counted = { count: '3', sum: 5.55, bucketCounts: ['1', '1', '1'], explicitBounds: [0.1, 1] }
  assert.deepEqual(point('latency_seconds', 'histogram'), counted)
  assert.equal(point('took', 'histogram').count, '1')
})

test('an app that does not answer is told, and no more once it does', async () => {
  let status = 500
  await using app = await serveForTest(() => ({ status, body: 'up 1\n' }))
  await using opened = await open({ scrape: { url: `${app.url}/metrics?token=canary`, interval: '20ms' } })
  await opened.until(() => (opened.reports.at(-1)?.state === 'retrying' ? true : undefined))
  status = 200
  await opened.until(() => (opened.reports.at(-1)?.state === 'up' ? true : undefined))
  assert.equal(opened.log.filter((line) => line.includes('answers 500')).length, 1)
  assert.ok(!opened.log.some((line) => line.includes('canary')))
})

test('a stream that never ends its line is cut off and counted', async () => {
  await using opened = await open({ statsd: { tcp: ':0' } })
  const socket = connect(portsOf(opened.role).tcp as number, '127.0.0.1')
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.resume()
  socket.write('x'.repeat(200_000))
  await closed
  assert.match(await text(opened.url), /dropped_total\{reason="refused"\} 1/)
})

test('a port that somebody has is told, and nothing stays open', async () => {
  await using first = await open({ statsd: { udp: ':0' } })
  const port = portsOf(first.role).udp as number
  await assert.rejects(open({ statsd: { tcp: ':0', udp: `:${port}` } }), new RegExp(`UDP :${port} cannot be opened: .*EADDRINUSE`))
})
