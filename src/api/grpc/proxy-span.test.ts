import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import { parseTraceparent } from '../../telemetry/tracing/span-context.ts'
import { Tracer } from '../../telemetry/tracing/tracer.ts'
import type { GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { serveGrpc, statusOf } from './harness.ts'
import { tracedProxy } from './proxy-span.ts'

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a proxied call has a span between its caller and who comes next, with what became of it', async () => {
  const ended: Span[] = []
  const passedOn: unknown[] = []
  const proxy: GrpcMethod = {
    kind: 'raw',
    handle(stream, headers, rawHeaders) {
      if (headers[':path'] === '/my.Shop/Gone') throw new GrpcStatus(Code.Unknown, 'no host')
      passedOn.push(rawHeaders[rawHeaders.indexOf('traceparent') + 1])
      stream.respond([':status', '200', 'content-type', 'application/grpc'])
      stream.end(
        undefined,
        headers[':path'] === '/my.Shop/Fail' ? ['grpc-status', '6', 'grpc-message', 'there is %C3%A4'] : ['grpc-status', '0'],
      )
    },
  }
  const traced = tracedProxy(proxy, new Tracer(1, (span) => ended.push(span)), 'me')
  await using api = await serveGrpc({ methods: [], proxy: () => traced })
  const call = (path: string, headers: Record<string, string>) =>
    statusOf(api.client.unary(api.address, path, Buffer.alloc(0), { headers: { traceparent, ...headers } }))
  assert.equal((await call('/my.Shop/Fail', { 'dapr-app-id': 'shop' })).message, 'there is ä')
  assert.equal((await call('/my.Shop/Gone', { 'dapr-app-id': 'shop' })).message, 'no host')
  // An answer without a message is an error of a unary call, yet the stream was well.
  await call('/my.Shop/Fine', { 'dapr-callee-app-id': 'me', 'dapr-mine': 'yes' })
  await call('/my.Shop/Fine', {})
  assert.deepEqual(
    ended.map(({ name, kind, error, parent, attributes }) => [name, kind, error, parent, { ...attributes }]),
    [
      ['/my.Shop/Fail', 'client', 'there is ä', parseTraceparent(traceparent), { 'dapr-app-id': 'shop' }],
      ['/my.Shop/Gone', 'client', 'no host', parseTraceparent(traceparent), { 'dapr-app-id': 'shop' }],
      ['/my.Shop/Fine', 'server', undefined, parseTraceparent(traceparent), { 'dapr-callee-app-id': 'me', 'dapr-mine': 'yes' }],
    ],
  )
  assert.deepEqual(passedOn, [ended[0]?.traceparent, ended[2]?.traceparent, traceparent])
})
