import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { connect } from 'amqplib'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { rabbitmq } from '../../../../test/servers/rabbitmq.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { BindingEvent } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const server = await serverOf(rabbitmq)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 30_000 }

async function open(queueName: string, properties: Record<string, string> = {}) {
  const all = { host: server?.address ?? '', queueName, ...properties }
  const binding = driver.create({
    name: 'jobs',
    type: 'bindings.rabbitmq',
    version: 'v1',
    properties: all,
    appId: 'app',
    namespace: '',
    log,
  })
  await binding.init(AbortSignal.timeout(10_000))
  const create = (data: string, metadata: Record<string, string> = {}) =>
    binding.invoke?.({ operation: 'create', data: Buffer.from(data), metadata })
  return { binding, create }
}

if (server)
  bindingConformance('bindings.rabbitmq', { operations: ['create'], read: true }, async () => {
    const { binding, create } = await open(`queue-${randomUUID()}`)
    await create('first')
    await create('second')
    return binding
  })

describe('bindings.rabbitmq', { skip: server === undefined ? help(rabbitmq) : false }, () => {
  after(() => server?.stop())

  it("writes daprd's properties and headers, and reads headers that are text", limit, async () => {
    const queue = `queue-${randomUUID()}`
    const { binding, create } = await open(queue, { durable: 'true', ttl: '60s', maxPriority: '10' })
    await using _binding = binding
    const model = await connect(server?.address as string)
    const raw = await model.createChannel()
    const given = async () => {
      const message = await raw.get(queue, { noAck: true })
      assert.ok(message)
      return Object.fromEntries(Object.entries(message.properties).filter(([, value]) => value !== undefined))
    }
    await create('plain')
    assert.deepEqual(await given(), { contentType: 'text/plain', deliveryMode: 2 })
    const metadata = { ttlInSeconds: '5', priority: '3', contentType: 'a/b', 'X Own': '1' }
    await create('full', metadata)
    assert.deepEqual(JSON.parse(JSON.stringify(await given())), {
      contentType: 'a/b',
      deliveryMode: 2,
      expiration: '5000',
      priority: 3,
      headers: metadata,
    })
    await assert.rejects(async () => create('x', { ttl: 'soon' }), /ttl value must be a valid integer: actual is 'soon'/)
    await assert.rejects(async () => create('x', { priority: 'high' }), /priority value must be a valid integer: actual is 'high'/)
    const got = Promise.withResolvers<BindingEvent>()
    await using _reader = await binding.read?.(async (event) => {
      got.resolve(event)
      return undefined
    })
    raw.sendToQueue(queue, Buffer.from('in'), { headers: { 'a b*': 'text', number: 1 } })
    const event = await got.promise
    assert.deepEqual({ ...event.metadata }, { 'a+b%2A': 'text' })
    assert.equal(event.data.toString(), 'in')
    await model.close()
  })

  it('gives a message that was not handled again, and what it had to the next reader', limit, async () => {
    const queue = `queue-${randomUUID()}`
    const first = await open(queue, { drainTimeout: '10ms' })
    await using _first = first.binding
    let tries = 0
    const again = Promise.withResolvers<void>()
    const reader = await first.binding.read?.(async ({ data }) => {
      if (++tries === 1) throw new Error('not yet')
      if (data.toString() === 'one') again.resolve()
      else await new Promise(() => {})
      return undefined
    })
    await first.create('one')
    await again.promise
    for (const text of ['two', 'three']) await first.create(text)
    await reader?.[Symbol.asyncDispose]()
    const second = await open(queue)
    await using _second = second.binding
    const got: string[] = []
    const both = Promise.withResolvers<void>()
    await using _reader = await second.binding.read?.(async ({ data }) => {
      got.push(data.toString())
      if (got.length === 2) both.resolve()
      return undefined
    })
    await both.promise
    assert.deepEqual(got, ['two', 'three'])
  })

  it('reads on after a lost connection, also an exclusive queue, which is made anew', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    for (const exclusive of ['false', 'true']) {
      const queue = `queue-${randomUUID()}`
      const { binding, create } = await open(queue, { host: `amqp://guest:guest@127.0.0.1:${proxy.port}`, exclusive })
      await using _binding = binding
      const got = Promise.withResolvers<void>()
      await using _reader = await binding.read?.(async ({ data }) => {
        if (data.toString() === 'after') got.resolve()
        return undefined
      })
      await create('before')
      proxy.cut()
      await new Promise((resolve) => setImmediate(resolve))
      proxy.heal()
      await create('after')
      await got.promise
    }
  })

  it('refuses what cannot be, without secrets', limit, async () => {
    await assert.rejects(open('', { queueName: '' }), /missing required metadata field queueName/)
    await assert.rejects(open('q', { ttl: 'soon' }), /failed to parse TTL/)
    const address = new URL(server?.address as string)
    address.password = 'hush'
    await assert.rejects(open('q', { host: String(address) }), (error: Error) => {
      assert.match(error.message, /refuses the login of user guest/)
      assert.ok(!`${error.stack}${error.cause}`.includes('hush'))
      return true
    })
    const queue = `queue-${randomUUID()}`
    await using _one = (await open(queue)).binding
    await assert.rejects(open(queue, { durable: 'true' }), /^Error: binding jobs: .*PRECONDITION_FAILED.*it exists with other settings/)
  })
})
