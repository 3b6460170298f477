import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Code } from '../../errors.ts'
import { BodyBudget } from '../body-budget.ts'
import { createGrpcClient } from './client.ts'
import { createGrpcServer } from './server.ts'
import type { GrpcStatus } from './status.ts'

let release = () => {}
const held = new Promise<void>((resolve) => {
  release = resolve
})
let reading: (() => void) | undefined
const bodies = new BodyBudget(200_000)
const server = createGrpcServer({
  bodies,
  methods: new Map([
    [
      '/test.Echo/Say',
      {
        kind: 'unary',
        async handle(message) {
          reading?.()
          await held
          return message.subarray(0, 3)
        },
      },
    ],
  ]),
})
const address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
const client = createGrpcClient()
after(async () => {
  await client[Symbol.asyncDispose]()
  await server.close(1000)
})

const say = (bytes: number) => client.unary(address, '/test.Echo/Say', Buffer.alloc(bytes, 'x'))

test('messages past the bound are refused while others are held, small ones and later ones are not', async () => {
  const begun = new Promise<void>((resolve) => {
    reading = resolve
  })
  const first = say(180_000)
  await begun
  assert.equal(bodies.held, 180_000)
  for (const bytes of [30_000, 150_000])
    await assert.rejects(say(bytes), (error: GrpcStatus) => error.code === Code.ResourceExhausted && /request bodies/.test(error.message))
  const small = say(100)
  release()
  assert.equal(String(await first), 'xxx')
  assert.equal(String(await small), 'xxx')
  assert.equal(String(await say(150_000)), 'xxx')
  assert.equal(bodies.held, 0)
  assert.equal(bodies.refused, 2)
})
