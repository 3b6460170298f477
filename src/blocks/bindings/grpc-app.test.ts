import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createGrpcChannel } from '../../app/grpc-channel.ts'
import { Code } from '../../errors.ts'
import { bytes, enumeration, map, message, repeated, string } from '../../transport/grpc/message.ts'
import { createGrpcServer, type GrpcCall, type GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { grpcBindingsApp } from './grpc-app.ts'

const SERVICE = '/dapr.proto.runtime.v1.AppCallback/'
const List = message('test.List', { bindings: repeated(string(1)) })
const Event = message('test.Event', { name: string(1), data: bytes(2), metadata: map(3) })
const Answer = message('test.Answer', {
  to: repeated(string(3)),
  data: bytes(4),
  concurrency: enumeration(5, { fullName: 'test.Concurrency', values: { 0: 'SEQUENTIAL', 1: 'PARALLEL' } }),
})

async function appWith(methods: Record<string, (request: Buffer, call: GrpcCall) => Buffer>) {
  const table = Object.entries(methods).map(([name, handle]): [string, GrpcMethod] => [SERVICE + name, { kind: 'unary', handle }])
  const server = createGrpcServer({ methods: new Map(table) })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const channel = createGrpcChannel({ port, token: 'secret' })
  return {
    app: grpcBindingsApp(channel),
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]()
      await server.close(0)
    },
  }
}

const signal = AbortSignal.timeout(10_000)

test('the app is asked once a start which bindings it wants, and one that fails to answer wants none', async () => {
  let asked = 0
  let fails = true
  await using served = await appWith({
    ListInputBindings() {
      asked++
      if (fails) throw new GrpcStatus(Code.Unimplemented, 'no such method')
      return List.encode({ bindings: ['ticks', 'mails'] })
    },
  })
  const { app } = served
  const want = (name: string) => app.wants(name, name, signal)
  app.begin?.()
  assert.deepEqual([await want('ticks'), await want('mails')], [false, false])
  assert.equal(asked, 1)
  fails = false
  app.begin?.()
  assert.deepEqual([await want('ticks'), await want('other')], [true, false])
  assert.equal(asked, 2)
})

test('an event reaches the app with name, data and metadata, and its answer says what goes where', async () => {
  await using served = await appWith({
    OnBindingEvent(request, call) {
      const event = Event.decode(request)
      assert.equal(call.headers['dapr-api-token'], 'secret')
      assert.deepEqual([event.name, event.data.toString(), { ...event.metadata }], ['ticks', 'tick', { a: 'b' }])
      return Answer.encode({ to: ['one', 'two'], data: Buffer.from('[1]'), concurrency: 1 })
    },
  })
  const answer = await served.app.deliver('ticks', 'a/route', { data: Buffer.from('tick'), metadata: { a: 'b' } }, undefined)
  assert.deepEqual({ ...answer, data: answer.data.toString() }, { to: ['one', 'two'], data: '[1]', parallel: true })
})

test("an app's error is told as its gRPC status", async () => {
  await using served = await appWith({
    OnBindingEvent() {
      throw new GrpcStatus(Code.ResourceExhausted, 'later')
    },
  })
  await assert.rejects(served.app.deliver('ticks', 'ticks', { data: Buffer.alloc(0), metadata: {} }, signal), {
    message: 'error invoking app: rpc error: code = ResourceExhausted desc = later',
    status: Code.ResourceExhausted,
  })
})
