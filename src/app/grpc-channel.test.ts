import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { Code } from '../errors.ts'
import { createGrpcServer } from '../transport/grpc/server.ts'
import { createGrpcChannel } from './grpc-channel.ts'

test('calls leave no listener at a signal that outlives them, whether they waited for a place or not', async (t) => {
  const server = createGrpcServer({ methods: new Map([['/app/Echo', { kind: 'unary', handle: (request) => request }]]) })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => server.close(0))
  for (const maxConcurrency of [0, 1]) {
    await using channel = createGrpcChannel({ port, maxConcurrency })
    const lasting = new AbortController()
    const call = () => channel.unary('/app/Echo', Buffer.from('x'), { signal: lasting.signal })
    await Promise.all([call(), call(), call()])
    await call()
    assert.equal(getEventListeners(lasting.signal, 'abort').length, 0, `with --app-max-concurrency ${maxConcurrency}`)
  }
})

test('a call that waits for its place gives up with its signal', async (t) => {
  const gate = Promise.withResolvers<void>()
  const server = createGrpcServer({
    methods: new Map([
      [
        '/app/Hold',
        {
          kind: 'unary',
          async handle(request) {
            await gate.promise
            return request
          },
        },
      ],
    ]),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => server.close(0))
  await using channel = createGrpcChannel({ port, maxConcurrency: 1 })
  const first = channel.unary('/app/Hold', Buffer.from('1'))
  const leaving = new AbortController()
  const second = channel.unary('/app/Hold', Buffer.from('2'), { signal: leaving.signal })
  leaving.abort()
  await assert.rejects(second, { code: Code.Canceled })
  gate.resolve()
  assert.equal((await first).toString(), '1')
  // Its place is free again.
  assert.equal((await channel.unary('/app/Hold', Buffer.from('3'))).toString(), '3')
})
