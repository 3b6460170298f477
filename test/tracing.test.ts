import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { startSidecar } from './sidecar.ts'

// One trace through two real outriderds and the broker between them, as a Zipkin collector gets it.
const CALLER = '00f067aa0ba902b7'
const home = mkdtempSync(join(tmpdir(), 'outrider-tracing-'))
const servers: Server[] = []
after(() => {
  for (const server of servers) server.close().closeAllConnections()
  rmSync(home, { recursive: true, force: true })
})

interface Sent {
  traceId: string
  id: string
  parentId?: string
  name: string
  kind: string
  localEndpoint: { serviceName: string }
  tags: Record<string, string>
  annotations?: { timestamp: number; value: string }[]
}

async function serve(handle: (request: IncomingMessage, body: string, response: ServerResponse) => unknown): Promise<number> {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    await handle(request, body, response)
    response.end()
  }).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test('a trace goes from a publish through the broker to the subscriber, its call of another app, and that app', async () => {
  const spans: Sent[] = []
  const told: string[] = []
  let heard = (): void => {}
  const all = new Promise<void>((resolve) => {
    heard = () => void (told.length === 3 && resolve())
  })
  const collector = await serve((_, body) => spans.push(...(JSON.parse(body) as Sent[])))
  let mail = ''
  const shopPort = await serve((request) => {
    if (request.url !== '/told') return
    told.push(request.headers.traceparent as string)
    heard()
  })
  const mailPort = await serve(async ({ url, headers }, _, response) => {
    if (url === '/dapr/subscribe') response.write(JSON.stringify([{ pubsubname: 'pubsub', topic: 'orders', route: '/orders' }]))
    if (url !== '/orders') return
    const reply = await fetch(`${mail}/v1.0/invoke/shop/method/told`, {
      method: 'POST',
      headers: { traceparent: headers.traceparent as string },
    })
    assert.equal(reply.status, 200)
  })
  const config = join(home, 'tracing.yaml')
  writeFileSync(
    config,
    `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: { name: tracing }
spec: { tracing: { samplingRate: "1", zipkin: { endpointAddress: "http://127.0.0.1:${collector}/api/v2/spans" } } }
`,
  )
  const common = { dataDir: home, embedded: true, args: [`--config=${config}`] }
  await using shopSidecar = await startSidecar({ ...common, appId: 'shop', appPort: shopPort })
  await using mailSidecar = await startSidecar({ ...common, appId: 'mail', appPort: mailPort })
  mail = mailSidecar.http
  const publish = async (path: string, body: unknown, traceId: string) => {
    const reply = await fetch(shopSidecar.http + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${CALLER}-01`, tracestate: 'vendor=1' },
      body: JSON.stringify(body),
    })
    assert.equal(reply.status, 204)
    assert.match(reply.headers.get('traceparent') as string, new RegExp(`^00-${traceId}-(?!${CALLER})[0-9a-f]{16}-01$`))
    assert.equal(reply.headers.get('tracestate'), 'vendor=1')
  }
  const [one, many] = ['4bf92f3577b34da6a3ce929d0e0e4736', '0af7651916cd43dd8448eb211c80319c']
  await publish('/v1.0/publish/pubsub/orders', { id: 1 }, one)
  const entries = ['a', 'b'].map((entryId) => ({ entryId, event: entryId, contentType: 'text/plain' }))
  await publish('/v1.0/publish/bulk/pubsub/orders', entries, many)
  await all
  // What waits for the collector leaves with the sidecar; the delivery under way is over by then.
  await mailSidecar.stop()
  await shopSidecar.stop()

  /** Each span below `parent` as `service kind name`, with those below it. */
  const below = (traceId: string, parent: string): unknown[] =>
    spans
      .filter((span) => span.traceId === traceId && span.parentId === parent)
      .map((span) => [`${span.localEndpoint.serviceName} ${span.kind} ${span.name}`, ...below(traceId, span.id)])
  const delivery = ['mail CLIENT pubsub/orders', ['mail CLIENT calllocal/shop/told', ['shop SERVER calllocal/shop/told']]]
  assert.deepEqual(below(one, CALLER), [['shop CLIENT /v1.0/publish/pubsub/orders', delivery]])
  const entry = ['shop PRODUCER /v1.0/publish/bulk/pubsub/orders', delivery]
  assert.deepEqual(below(many, CALLER), [['shop CLIENT /v1.0/publish/bulk/pubsub/orders', entry, entry]])
  const answered = spans.filter(({ kind }) => kind === 'SERVER')
  assert.deepEqual(told.sort(), answered.map(({ traceId, id }) => `00-${traceId}-${id}-01`).sort())
  for (const { tags } of answered) assert.equal(tags['dapr.api'], '/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream')
})

test('each activation of a resiliency policy is an event of the span of the request that met it', async () => {
  const spans: Sent[] = []
  const collector = await serve((_, body) => spans.push(...(JSON.parse(body) as Sent[])))
  const failing = await serve((_, __, response) => response.writeHead(500))
  const hanging = await serve(() => new Promise<never>(() => {}))
  const resources = join(home, 'policies')
  const binding = (name: string, url: string) =>
    `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: ${name}}
spec: {type: bindings.http, version: v1, metadata: [{name: url, value: "${url}"}]}
`
  const policies = `apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: hard}
spec:
  policies:
    timeouts: {short: 30ms}
    retries: {twice: {policy: constant, duration: 1ms, maxRetries: 2}}
    circuitBreakers: {quick: {maxRequests: 1, timeout: 30s, trip: consecutiveFailures >= 2}}
  targets:
    components:
      failing: {outbound: {retry: twice, circuitBreaker: quick}}
      hanging: {outbound: {timeout: short}}
`
  const own = `apiVersion: outrider.dev/v1
kind: TrafficPolicy
metadata: {name: own}
spec:
  policies: {faults: {always: {error: {percent: 100}}}}
  targets: {apps: {faulty: {fault: always}}}
`
  mkdirSync(resources)
  writeFileSync(
    join(resources, 'all.yaml'),
    [binding('failing', `http://127.0.0.1:${failing}/`), binding('hanging', `http://127.0.0.1:${hanging}/slow`), policies, own].join(
      '---\n',
    ),
  )
  const config = join(home, 'events.yaml')
  const write = (rate: string) =>
    writeFileSync(
      config,
      `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: { name: tracing }
spec: { tracing: { samplingRate: "${rate}", stdout: true, zipkin: { endpointAddress: "http://127.0.0.1:${collector}/api/v2/spans" } } }
`,
    )
  const run = async (rate: string) => {
    write(rate)
    await using sidecar = await startSidecar({ appId: 'events', dataDir: home, resources, args: [`--config=${config}`] })
    const invoke = (name: string) =>
      fetch(`${sidecar.http}/v1.0/bindings/${name}`, { method: 'POST', body: JSON.stringify({ operation: 'get' }) })
    assert.equal((await invoke('failing')).status, 500)
    assert.equal((await invoke('hanging')).status, 500)
    assert.equal((await fetch(`${sidecar.http}/v1.0/invoke/faulty/method/x`)).status, 503)
    await sidecar.stop()
    return sidecar.log()
  }
  const log = await run('1')
  const events = (path: string) =>
    spans.filter(({ name }) => name.includes(path)).flatMap(({ annotations = [] }) => annotations.map(({ value }) => value))
  const said = (kind: string, target: string, rest: object = {}) =>
    `"resiliency.${kind}": ${JSON.stringify({ 'resiliency.name': 'hard', 'resiliency.target': target, 'resiliency.flow_direction': 'outbound', ...rest })}`
  assert.deepEqual(events('failing'), [
    said('retry', 'Binding_failing'),
    said('circuitbreaker', 'Binding_failing', { 'resiliency.status': 'open' }),
  ])
  assert.deepEqual(events('hanging'), [said('timeout', 'Binding_hanging')])
  assert.deepEqual(events('faulty'), [
    '"traffic.fault": {"traffic.target":"app_faulty","traffic.flow_direction":"outbound","traffic.action":"error"}',
  ])
  assert.match(log, /\[[^\]]*failing\] Trace: .* Annotations: \[resiliency\.retry resiliency\.circuitbreaker\]/)
  spans.length = 0
  await run('0')
  assert.deepEqual(spans, [], 'nobody traces')
})
