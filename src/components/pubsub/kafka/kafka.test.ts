import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { kafka } from '../../../../test/servers/kafka.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import type { DeliveredMessage, PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { COMPRESSIONS } from '../../kafka/compression.ts'
import { makeTopic } from '../../kafka/testing.ts'
import { startChild } from '../testing/process.ts'
import { driver } from './driver.ts'

const server = await serverOf(kafka)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

async function open(properties: Record<string, string> = {}, appId = `app-${randomUUID()}`): Promise<PubSub> {
  const pubsub = driver.create({
    name: 'orders',
    type: 'pubsub.kafka',
    version: 'v1',
    properties: { brokers: server?.address ?? '', authType: 'none', consumeRetryInterval: '20ms', ...properties },
    appId,
    namespace: 'default',
    log,
  })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

/** Messages as they come, and a way to wait for them. */
function inbox() {
  const messages: DeliveredMessage[] = []
  const waiters = new Set<() => void>()
  return {
    messages,
    texts: () => messages.map(({ data }) => data.toString()),
    add(message: DeliveredMessage) {
      messages.push(message)
      for (const wake of waiters) wake()
    },
    async until(done: () => boolean) {
      while (!done()) await new Promise<void>((resolve) => waiters.add(resolve))
    },
  }
}

const topicOf = async (partitions: number) => {
  const topic = `topic-${randomUUID()}`
  await makeTopic(server?.address ?? '', topic, partitions)
  return topic
}
const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

describe('pubsub.kafka', { skip: server === undefined ? 'Kafka is not on this machine' : false }, () => {
  after(() => server?.stop())

  it('makes headers of metadata, and tells the app key, place and time', limit, async () => {
    const topic = await topicOf(3)
    await using pubsub = await open({ excludeHeaderMetaRegex: '^secret' })
    const box = inbox()
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
    await send(pubsub, topic, '{}', { partitionKey: 'k 1', ttlInSeconds: '5', secretOne: 'x' })
    await send(pubsub, topic, 'pinned', { partitionNumber: '2' })
    await send(pubsub, topic, 'null', { __key: 'gone' })
    await box.until(() => box.messages.length === 3)
    const [first, pinned, tombstone] = ['{}', 'pinned', 'null'].map((text) => box.messages.find(({ data }) => data.toString() === text))
    const { __timestamp, __offset, __partition, ...rest } = first?.metadata ?? {}
    assert.deepEqual(rest, { __key: 'k 1', __topic: topic, partitionKey: 'k 1', ttlInSeconds: '5' })
    assert.ok(Math.abs(Number(__timestamp) - Date.now()) < 60_000)
    assert.deepEqual([__offset, pinned?.metadata.__partition, pinned?.metadata.__key], ['0', '2', undefined])
    assert.equal(tombstone?.metadata.__key, 'gone')
    await assert.rejects(send(pubsub, topic, 'x', { partitionNumber: '3' }), /partition number 3 is out of range, topic has 3 partitions/)
    await assert.rejects(send(pubsub, topic, 'x', { partitionNumber: '-1' }), /partitionNumber must be non-negative, got -1/)
  })

  it('escapes keys and headers when asked to', limit, async () => {
    const topic = await topicOf(1)
    await using pubsub = await open({ escapeHeaders: 'true' })
    const box = inbox()
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
    await send(pubsub, topic, 'x', { partitionKey: "a b/ü'", other: '1+1=2' })
    await box.until(() => box.messages.length === 1)
    assert.equal(box.messages[0]?.metadata.__key, 'a+b%2F%C3%BC%27')
    assert.equal(box.messages[0]?.metadata.other, '1%2B1%3D2')
  })

  for (const compression of COMPRESSIONS.slice(1)) {
    it(`publishes and reads batches compressed with ${compression}`, limit, async () => {
      const topic = await topicOf(1)
      await using pubsub = await open({ compression })
      const box = inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
      const texts = Array.from({ length: 300 }, (_, index) => JSON.stringify({ index, text: 'the same every time '.repeat(20) }))
      await Promise.all(texts.map((text) => send(pubsub, topic, text)))
      await box.until(() => box.messages.length === texts.length)
      assert.deepEqual(box.texts(), texts)
    })
  }

  it('keeps the order of a partition while a message fails, and does not hold up other partitions', limit, async () => {
    const topic = await topicOf(2)
    await using pubsub = await open()
    const box = inbox()
    let failing = true
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => {
      if (message.data.toString() === 'a0' && failing) throw new Error('not yet')
      box.add(message)
    })
    for (let index = 0; index < 5; index++) {
      await send(pubsub, topic, `a${index}`, { partitionNumber: '0' })
      await send(pubsub, topic, `b${index}`, { partitionNumber: '1' })
    }
    await box.until(() => box.messages.length === 5)
    assert.deepEqual(box.texts(), ['b0', 'b1', 'b2', 'b3', 'b4'])
    failing = false
    await box.until(() => box.messages.length === 10)
    assert.deepEqual(box.texts().slice(5), ['a0', 'a1', 'a2', 'a3', 'a4'])
  })

  it('gives whole batches, one at a time for each partition, and keeps the order in them', limit, async () => {
    const topic = await topicOf(2)
    await using pubsub = await open()
    assert.equal(pubsub.givesBatches, true)
    const box = inbox()
    const underWay = new Map<string, number>()
    let most = 0
    let together = 0
    await using _subscription = await pubsub.subscribe(
      topic,
      {},
      async (message) => {
        const partition = message.metadata.__partition as string
        const count = (underWay.get(partition) ?? 0) + 1
        underWay.set(partition, count)
        most = Math.max(most, count)
        together++
        await new Promise((resolve) => setImmediate(resolve))
        box.add(message)
        underWay.set(partition, (underWay.get(partition) ?? 0) - 1)
      },
      { batch: 20, wait: 1000 },
    )
    const failed = await pubsub.bulkPublish?.(
      topic,
      Array.from({ length: 100 }, (_, index) => ({
        entryId: String(index),
        data: Buffer.from(String(index)),
        contentType: 'text/plain',
        metadata: { partitionNumber: String(index % 2) },
      })),
      {},
    )
    assert.deepEqual(failed, [])
    await box.until(() => box.messages.length === 100)
    assert.equal(together, 100)
    assert.equal(most, 20)
    for (const parity of [0, 1]) {
      const own = box
        .texts()
        .map(Number)
        .filter((number) => number % 2 === parity)
      assert.deepEqual(
        own,
        own.toSorted((a, b) => a - b),
      )
    }
  })

  it('says which entries of a bulk were not published', limit, async () => {
    const topic = await topicOf(1)
    await using pubsub = await open({ maxMessageBytes: '1000' })
    const entry = (entryId: string, size: number) => ({ entryId, data: Buffer.alloc(size, 'x'), contentType: 'text/plain', metadata: {} })
    const failed = await pubsub.bulkPublish?.(topic, [entry('small', 10), entry('large', 2000), entry('other', 10)], {})
    assert.deepEqual(
      failed?.map(({ entryId }) => entryId),
      ['large'],
    )
    assert.match(failed?.[0]?.error.message ?? '', /larger than maxMessageBytes 1000/)
  })

  it('gives the messages a killed process held to another member', limit, async () => {
    const topic = await topicOf(1)
    const group = `group-${randomUUID()}`
    const properties = { brokers: server?.address ?? '', authType: 'none', consumerGroup: group, sessionTimeout: '6s', concurrency: '10' }
    const child = startChild('pubsub.kafka', 'hold', topic, 0, properties)
    await child.until(1)
    await using pubsub = await open(properties)
    for (let index = 0; index < 5; index++) await send(pubsub, topic, `m${index}`)
    await child.until(6)
    await child.kill()
    const box = inbox()
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
    await box.until(() => box.messages.length === 5)
    assert.deepEqual(box.texts().toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('leaves the group at once, so that another member goes on within a second', limit, async () => {
    const topic = await topicOf(2)
    const group = { consumerGroup: `group-${randomUUID()}`, drainTimeout: '10ms' }
    await using publisher = await open()
    await using stays = await open(group)
    const leaves = await open(group)
    const box = inbox()
    const held = new Set<string>()
    const bothHold = Promise.withResolvers<void>()
    const handler = (open: { done: boolean }) => (message: DeliveredMessage, signal: AbortSignal) => {
      if (open.done) return Promise.resolve(box.add(message))
      held.add(message.metadata.__partition as string)
      if (held.size === 2) bothHold.resolve()
      return new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('ended')))
        const timer = setInterval(() => {
          if (!open.done || signal.aborted) return signal.aborted ? clearInterval(timer) : undefined
          clearInterval(timer)
          box.add(message)
          resolve()
        }, 5)
      })
    }
    const staying = { done: false }
    await using _a = await stays.subscribe(topic, {}, handler(staying))
    await leaves.subscribe(topic, {}, handler({ done: false }))
    for (const partitionNumber of ['0', '1']) await send(publisher, topic, `p${partitionNumber}`, { partitionNumber })
    await bothHold.promise
    staying.done = true
    await leaves[Symbol.asyncDispose]()
    const left = Date.now()
    await box.until(() => new Set(box.texts()).size === 2)
    assert.ok(Date.now() - left < 1500, `${Date.now() - left} ms`)
  })

  it('loses nothing and keeps the order of keys while members come and go', limit, async () => {
    const topic = await topicOf(4)
    const group = `group-${randomUUID()}`
    await using publisher = await open()
    const box = inbox()
    const join = async () => {
      const member = await open({ consumerGroup: group })
      await member.subscribe(topic, {}, async (message) => box.add(message))
      return member
    }
    const members = [await join()]
    const total = 3000
    const publishing = (async () => {
      for (let from = 0; from < total; from += 50)
        await Promise.all(
          Array.from({ length: 50 }, (_, index) =>
            send(publisher, topic, String(from + index), { partitionKey: `key${(from + index) % 10}` }),
          ),
        )
    })()
    members.push(await join(), await join())
    await (members.shift() as PubSub)[Symbol.asyncDispose]()
    members.push(await join())
    await publishing
    await box.until(() => new Set(box.texts()).size === total)
    for (const member of members) await member[Symbol.asyncDispose]()
    for (let key = 0; key < 10; key++) {
      // A message that comes again may bring those after it again; without the repeats the order is the one published.
      const first = [...new Set(box.messages.filter(({ metadata }) => metadata.__key === `key${key}`).map(({ data }) => Number(data)))]
      assert.deepEqual(
        first,
        first.toSorted((a, b) => a - b),
      )
    }
    assert.ok(box.messages.length - total < 400, `${box.messages.length - total} came twice`)
  })

  it('starts a new group at the newest message, or at the oldest', limit, async () => {
    const topic = await topicOf(1)
    await using publisher = await open()
    await send(publisher, topic, 'before')
    await using newest = await open()
    await using oldest = await open({ initialOffset: 'oldest' })
    const [a, b] = [inbox(), inbox()]
    await using _a = await newest.subscribe(topic, {}, async (message) => a.add(message))
    await using _b = await oldest.subscribe(topic, {}, async (message) => b.add(message))
    await send(publisher, topic, 'after')
    await a.until(() => a.messages.length === 1)
    await b.until(() => b.messages.length === 2)
    assert.deepEqual([a.texts(), b.texts()], [['after'], ['before', 'after']])
  })

  it('reads several topics as one member, and goes on with the others when one ends', limit, async () => {
    const [one, two] = [await topicOf(1), await topicOf(1)]
    await using pubsub = await open()
    const box = inbox()
    const [first] = await Promise.all([
      pubsub.subscribe(one, {}, async (message) => box.add(message)),
      pubsub.subscribe(two, {}, async (message) => box.add(message)),
    ])
    await send(pubsub, one, '1')
    await send(pubsub, two, '2')
    await box.until(() => box.messages.length === 2)
    await first[Symbol.asyncDispose]()
    await send(pubsub, one, 'nobody')
    await send(pubsub, two, '3')
    await box.until(() => box.messages.length === 3)
    assert.deepEqual(box.texts().toSorted(), ['1', '2', '3'])
  })

  it('names what is wrong with the settings and the brokers', limit, async () => {
    await assert.rejects(
      open({ brokers: '127.0.0.1:1' }),
      /cannot connect to Kafka: no connection to the broker at 127\.0\.0\.1:1: .*correct the metadata field brokers/,
    )
    await assert.rejects(open({ brokers: '' }), /missing required metadata field brokers/)
    await assert.rejects(open({ authType: '' }), /missing required metadata field authType/)
    await assert.rejects(open({ authType: 'password', saslPassword: 'hidden' }), (error: Error) => {
      assert.match(error.message, /missing saslUsername/)
      assert.doesNotMatch(error.message, /hidden/)
      return true
    })
    await assert.rejects(open({ authType: 'certificate', caCert: '' }), /missing caCert/)
  })
})
