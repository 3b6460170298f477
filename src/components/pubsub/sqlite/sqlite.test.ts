import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { openSqlite } from '../../../storage/sqlite.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { startChild } from '../testing/process.ts'
import { driver } from './driver.ts'

const directory = mkdtempSync(join(tmpdir(), 'outrider-pubsub-sqlite-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let files = 0
const file = () => join(directory, `${++files}.db`)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

async function open(path: string, properties: Record<string, string> = {}): Promise<PubSub> {
  const pubsub = driver.create({
    name: 'pubsub',
    type: 'pubsub.sqlite',
    version: 'v1',
    properties: { connectionString: path, ...properties },
    appId: 'app',
    namespace: 'default',
    log,
  })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

/** Collects texts; `all` resolves when `wanted` different ones are in. */
function collect(wanted: number) {
  const texts: string[] = []
  const all = Promise.withResolvers<void>()
  const add = (text: string) => {
    texts.push(text)
    if (new Set(texts).size >= wanted) all.resolve()
  }
  return { texts, all: all.promise, add }
}

describe('pubsub.sqlite', () => {
  it('delivers every acknowledged message after the publisher was killed with SIGKILL', limit, async () => {
    const path = file()
    const child = startChild('pubsub.sqlite', 'publish', 'orders', 2000, { connectionString: path })
    await child.until(500)
    await child.kill()
    const acknowledged = child.lines.slice(1)
    assert.ok(acknowledged.length >= 499 && acknowledged.length < 2000, `killed midway, not after ${acknowledged.length}`)
    const got = collect(acknowledged.length)
    await using pubsub = await open(path, { concurrency: '1' })
    await using _subscription = await pubsub.subscribe('orders', {}, async (message) => got.add(message.data.toString()))
    await got.all
    assert.deepEqual(got.texts.slice(0, acknowledged.length), acknowledged)
  })

  it('takes over what a killed consumer was handling, long before its lease ends', limit, async () => {
    const path = file()
    const properties = { connectionString: path, consumerID: 'workers', leaseTimeout: '10m' }
    await using pubsub = await open(path, properties)
    const child = startChild('pubsub.sqlite', 'hold', 'orders', 0, { ...properties, concurrency: '5' })
    await child.until(1)
    for (let index = 0; index < 5; index++) await send(pubsub, 'orders', `m${index}`)
    await child.until(6)
    const got = collect(5)
    await using _subscription = await pubsub.subscribe('orders', {}, async (message) => got.add(message.data.toString()))
    assert.deepEqual(got.texts, [])
    await child.kill()
    await got.all
    assert.deepEqual(got.texts.sort(), ['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('wakes a consumer in another process, in order', limit, async () => {
    const path = file()
    await using pubsub = await open(path)
    const child = startChild('pubsub.sqlite', 'echo', 'orders', 0, { connectionString: path, concurrency: '1' })
    await child.until(1)
    for (let index = 0; index < 100; index++) {
      await send(pubsub, 'orders', `m${index}`)
      // One at a time: each arrives because of its own ring.
      await child.until(index + 2)
    }
    assert.deepEqual(
      child.lines.slice(1),
      Array.from({ length: 100 }, (_, index) => `m${index}`),
    )
    await child.kill()
  })

  it('keeps the order with concurrency 1 even over a rejected message', limit, async () => {
    await using pubsub = await open(file(), { concurrency: '1', redeliverInterval: '20ms' })
    const got = collect(10)
    let rejections = 0
    await using _subscription = await pubsub.subscribe('orders', {}, async (message) => {
      if (message.data.toString() === 'm3' && rejections++ < 2) throw new Error('not yet')
      got.add(message.data.toString())
    })
    for (let index = 0; index < 10; index++) await send(pubsub, 'orders', `m${index}`)
    await got.all
    assert.deepEqual(
      got.texts,
      Array.from({ length: 10 }, (_, index) => `m${index}`),
    )
    assert.equal(rejections, 3)
  })

  it('gives a message up after maxDeliver tries', limit, async () => {
    await using pubsub = await open(file(), { maxDeliver: '2', concurrency: '1', redeliverInterval: '5ms' })
    const got = collect(2)
    const tries: string[] = []
    await using _subscription = await pubsub.subscribe('orders', {}, async (message) => {
      tries.push(message.data.toString())
      got.add(message.data.toString())
      if (message.data.toString() === 'bad') throw new Error('never')
    })
    await send(pubsub, 'orders', 'bad')
    await send(pubsub, 'orders', 'good')
    await got.all
    assert.deepEqual(tries, ['bad', 'bad', 'good'])
  })

  it('does not deliver a message whose time to live is over, and refuses a bad one', limit, async () => {
    await using pubsub = await open(file(), { concurrency: '1' })
    await send(pubsub, 'orders', 'short', { ttlInSeconds: '1ms' })
    const sent = Date.now()
    while (Date.now() <= sent + 1) await new Promise<void>((resolve) => setImmediate(resolve))
    await send(pubsub, 'orders', 'long', { ttlInSeconds: '100' })
    await assert.rejects(send(pubsub, 'orders', 'bad', { ttlInSeconds: '-5' }), /ttlInSeconds/)
    const got = collect(1)
    await using _subscription = await pubsub.subscribe('orders', {}, async (message) => got.add(message.data.toString()))
    await got.all
    assert.deepEqual(got.texts, ['long'])
  })

  it('removes what all groups have handled, and beyond its size the oldest', limit, async () => {
    const path = file()
    const count = () => {
      using database = openSqlite(path, { readOnly: true })
      return (database.prepare('SELECT count(*) AS n FROM pubsub_messages').get() as { n: number }).n
    }
    {
      await using pubsub = await open(path, { retentionSize: '1000' })
      const got = collect(50)
      await using _subscription = await pubsub.subscribe('handled', {}, async (message) => got.add(message.data.toString()))
      for (let index = 0; index < 50; index++) await send(pubsub, 'handled', `m${index}`)
      for (let index = 0; index < 50; index++) await send(pubsub, 'unheard', 'x'.repeat(98))
      await got.all
      assert.ok(count() >= 50)
      // The sweep comes by itself about two seconds after traffic; its effect is waited for.
      while (count() > 10) await new Promise<void>((resolve) => setTimeout(resolve, 50))
    }
    assert.equal(count(), 10)
  })
})
