import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createHttpChannel } from '../app/http-channel.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import { toTraceBin } from '../telemetry/trace-bin.ts'
import type { Span } from '../telemetry/tracing/span.ts'
import { Tracer } from '../telemetry/tracing/tracer.ts'
import { createGrpcClient } from '../transport/grpc/client.ts'
import { CALL_LOCAL, encodeRequest } from './messages.ts'
import { createPeerServer } from './server.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const [app, sidecar] = [`00-${TRACE}-1111111111111111-01`, `00-${TRACE}-2222222222222222-01`]

test('the parent of a call is the span of the sidecar that called; its reply, whatever its status, is no failure of it', async () => {
  const seen: unknown[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers.traceparent)
    response.writeHead(404).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const channel = createHttpChannel({ port: (server.address() as AddressInfo).port })
  const ended: Span[] = []
  const peers = await createPeerServer({
    host: '127.0.0.1',
    port: 0,
    app: { wire: 'http', channel },
    appId: 'shop',
    namespace: 'default',
    observer: { metrics: {} as RuntimeMetrics, tracer: new Tracer(1, (span) => ended.push(span)) },
  })
  const client = createGrpcClient()
  const invocation = { verb: 'GET', method: 'orders', query: '', headers: [], contentType: undefined, length: undefined, body: undefined }
  // As daprd calls: the message carries what its app gave, the call what daprd made of it.
  const request = encodeRequest(invocation, ['traceparent', app], undefined)
  for (const headers of [{ 'grpc-trace-bin': toTraceBin(sidecar) as string, traceparent: app }, { traceparent: sidecar }, {}])
    await client.unary(`127.0.0.1:${peers.port}`, CALL_LOCAL, request, { headers })
  assert.deepEqual(
    ended.map(({ name, parent, error, attributes }) => [name, parent?.spanId, error, attributes['dapr.api']]),
    ['2', '2', '1'].map((digit) => ['CallLocal/shop/orders', digit.repeat(16), undefined, CALL_LOCAL]),
  )
  assert.deepEqual(
    seen,
    ended.map(({ traceparent }) => traceparent),
  )
  await client[Symbol.asyncDispose]()
  await peers.close(0)
  await channel[Symbol.asyncDispose]()
  server.close()
})
