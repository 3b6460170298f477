import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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
