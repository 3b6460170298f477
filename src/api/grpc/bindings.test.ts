import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http2'
import { test } from 'node:test'
import { createBindingsBlock } from '../../blocks/bindings/block.ts'
import type { Binding, BindingRequest } from '../../blocks/bindings/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { bindingMethods } from './bindings.ts'
import { InvokeBindingRequest, InvokeBindingResponse } from './bindings-messages.ts'
import { serveGrpc } from './harness.ts'
import { DAPR } from './method.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' })

async function serve(invoke: NonNullable<Binding['invoke']>) {
  const component: Binding = { operations: ['create'], invoke, init: async () => {}, [Symbol.asyncDispose]: async () => {} }
  const components = new Map([['out', { name: 'out', type: 'bindings.test', version: 'v1', component, properties: {} }]])
  return serveGrpc({ methods: bindingMethods(createBindingsBlock({ components, log })) })
}

test("the request's metadata wins over the call's, except for the trace", async () => {
  let seen: BindingRequest | undefined
  await using api = await serve(async (request) => {
    seen = request
    return { data: Buffer.from('made'), metadata: { id: '7' } }
  })
  const reply = await api.call(
    'InvokeBinding',
    InvokeBindingRequest.encode({
      name: 'out',
      operation: 'create',
      data: Buffer.from('x'),
      metadata: { own: 'request', traceparent: 'request' },
    }),
    { own: 'call', other: 'call', traceparent: 'call', 'grpc-custom': 'c' },
  )
  const response = InvokeBindingResponse.decode(reply)
  assert.deepEqual([response.data.toString(), { ...response.metadata }], ['made', { id: '7' }])
  assert.equal(seen?.data.toString(), 'x')
  assert.partialDeepStrictEqual(seen?.metadata, { own: 'request', other: 'call', traceparent: 'call', 'dapr-grpc-custom': 'c' })
})

test('what a failing component answered goes into the headers of the failed call', async () => {
  await using api = await serve(async () => {
    throw Object.assign(new Error('it said no'), { response: { metadata: { statusCode: '404' } } })
  })
  const { promise, resolve } = Promise.withResolvers<{ status: GrpcStatus | undefined; headers: IncomingHttpHeaders }>()
  let headers: IncomingHttpHeaders = {}
  const stream = api.client.stream(
    api.address,
    `${DAPR}InvokeBinding`,
    {},
    {
      onHeaders: (got) => {
        // A client reads headers that come with the status as trailers.
        if (got['grpc-status'] === undefined) headers = got
      },
      onMessage() {},
      onClose: (status) => resolve({ status, headers }),
    },
  )
  stream.end(frame(InvokeBindingRequest.encode({ name: 'out', operation: 'create' })))
  const answer = await promise
  assert.equal(answer.status?.message, 'error invoking output binding out: it said no')
  assert.equal(answer.headers['metadata.statuscode'], '404')
})
