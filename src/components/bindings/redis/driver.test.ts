import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { redis } from '../../../../test/servers/redis.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { RedisConnection } from '../../redis/connection.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 20_000 }
const server = await serverOf(redis)
after(() => server?.stop())

async function open(redisHost = server?.address ?? '') {
  const context = { name: 'keys', type: 'bindings.redis', version: 'v1', appId: 'app', namespace: 'default', log }
  const binding = driver.create({ ...context, properties: { redisHost } })
  await binding.init(AbortSignal.timeout(10_000))
  return {
    binding,
    ask: (operation: string, metadata: Record<string, string>, data = Buffer.alloc(0)) =>
      binding.invoke?.({ operation, data, metadata }) as Promise<{ data?: Buffer | undefined } | undefined>,
    [Symbol.asyncDispose]: async () => binding[Symbol.asyncDispose]?.(),
  }
}

/** What another program sees in the server. */
async function seen<T>(look: (client: RedisConnection) => Promise<T>): Promise<T> {
  const [host, port] = (server?.address ?? '').split(':') as [string, string]
  const client = new RedisConnection({ host, port: Number(port), name: 'looks', backoff: () => 10 })
  await client.connect()
  try {
    return await look(client)
  } finally {
    await client.close()
  }
}

describe('bindings.redis', { skip: server === undefined ? 'Redis is not on this machine' : false }, () => {
  it('sets a key as it stands, any bytes, reads and deletes it', limit, async () => {
    await using keys = await open()
    const key = `key-${randomUUID()}`
    const bytes = Buffer.from([0, 255, 13, 10, 128])
    assert.equal(await keys.ask('create', { key }, bytes), undefined)
    assert.deepEqual(await seen((client) => client.callBuffer('GET', key)), bytes)
    assert.deepEqual((await keys.ask('get', { key }))?.data, bytes)
    assert.equal(await keys.ask('delete', { key }), undefined)
    assert.deepEqual(await keys.ask('get', { key }), { data: undefined })
  })

  it('takes a key out while reading it', limit, async () => {
    await using keys = await open()
    const key = `key-${randomUUID()}`
    await keys.ask('create', { key }, Buffer.from('once'))
    assert.equal(String((await keys.ask('get', { key, delete: 'true' }))?.data), 'once')
    assert.equal(await seen((client) => client.call('EXISTS', key)), 0)
  })

  it('counts, and gives keys a life', limit, async () => {
    await using keys = await open()
    const [counter, key] = [`n-${randomUUID()}`, `key-${randomUUID()}`]
    await keys.ask('increment', { key: counter })
    await keys.ask('increment', { key: counter, ttlInSeconds: '100' })
    assert.equal(String((await keys.ask('get', { key: counter }))?.data), '2')
    await keys.ask('create', { key, ttlInSeconds: '50' }, Buffer.from('x'))
    const [long, short] = await seen(async (client) => [Number(await client.call('TTL', counter)), Number(await client.call('TTL', key))])
    assert.ok(long > 90 && long <= 100, String(long))
    assert.ok(short > 40 && short <= 50, String(short))
    await keys.ask('create', { key }, Buffer.from('y'))
    assert.equal(await seen((client) => client.call('TTL', key)), -1)
  })

  it('says what is missing or wrong', limit, async () => {
    await using keys = await open()
    await assert.rejects(keys.ask('get', {}), /redis binding: missing key in request metadata/)
    await assert.rejects(keys.ask('list', { key: 'a' }), /invalid operation type: list\. Expected create, get, delete, increment/)
    await assert.rejects(keys.ask('create', { key: 'a', ttlInSeconds: 'soon' }), /ttl value must be a valid integer: actual is 'soon'/)
    const text = `text-${randomUUID()}`
    await keys.ask('create', { key: text }, Buffer.from('words'))
    await assert.rejects(keys.ask('increment', { key: text }), /not an integer/)
    await assert.rejects(open('127.0.0.1:1'), /cannot connect to Redis at 127\.0\.0\.1:1: .*start the server or correct redisHost/)
  })
})
