import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe } from 'node:test'
import { type CaseContext, matrixCases } from '../../../test/matrix.ts'
import type { ConformanceOptions } from './conformance-options.ts'
import type { DeliveredMessage, MessageHandler, PubSub } from './driver.ts'
import { Inbox } from './inbox.ts'

const text = (value: string) => Buffer.from(value)
const numbered = (count: number) => Array.from({ length: count }, (_, index) => `m${index}`)
const sorted = (values: Iterable<string>) => [...values].sort()
const limit = { timeout: 30_000 }

/** What every pub/sub driver must do, proven over the real broker. */
export function pubsubConformance(name: string, options: ConformanceOptions): void {
  const { open, metadata: arriving = (sent) => ({ ...sent }) } = options
  const own = ({ metadata }: DeliveredMessage) =>
    Object.fromEntries(Object.entries(metadata).filter(([key]) => options.adds === undefined || !options.adds.test(key)))
  const send = (pubsub: PubSub, topic: string, value: string, metadata: Record<string, string> = {}) =>
    pubsub.publish({ topic, data: text(value), contentType: 'text/plain', metadata })
  const fresh = () => ({ topic: `topic-${randomUUID()}`, appId: `app-${randomUUID()}` })

  const check = matrixCases('pubsub', name)
  const it = (title: string, settings: { timeout: number }, body: (context: CaseContext) => Promise<void>) =>
    check(title, async (context) => (options.missing ? context.missing(options.missing) : body(context)), settings)

  describe(`pub/sub conformance: ${name}`, { concurrency: options.concurrency ?? 1 }, () => {
    it('delivers what is published, bytes and metadata unchanged', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId })
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      const bytes = Buffer.from([0, 1, 2, 255, 254, 10, 13, 0])
      await pubsub.publish({ topic, data: bytes, contentType: 'application/x-test', metadata: { one: '1', ütf: '✓' } })
      await inbox.until((texts) => texts.length === 1)
      const [message] = inbox.messages as [DeliveredMessage]
      assert.equal(message.topic, topic)
      assert.deepEqual(message.data, bytes)
      assert.deepEqual(own(message), arriving({ one: '1', ütf: '✓' }, topic))
      if (options.contentType) assert.equal(message.contentType, 'application/x-test')
    })

    it('delivers an empty message', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId })
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      await send(pubsub, topic, '')
      await inbox.until((texts) => texts.length === 1)
      assert.deepEqual(inbox.texts, [''])
    })

    it('keeps the order with one handler', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId, properties: { concurrency: '1' } })
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      const sent = numbered(200)
      for (const value of sent) await send(pubsub, topic, value)
      await inbox.until((texts) => texts.length === sent.length)
      assert.deepEqual(inbox.texts, sent)
    })

    it('does not make a publish wait for handlers', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId })
      const gate = Promise.withResolvers<void>()
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, async (message) => {
        await gate.promise
        inbox.add(message)
      })
      for (const value of numbered(30)) await send(pubsub, topic, value)
      assert.deepEqual(inbox.texts, [])
      gate.resolve()
      await inbox.until((texts) => texts.length === 30)
    })

    it('gives a rejected message again, and the others meanwhile', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId, properties: { concurrency: '5', redeliverInterval: '50ms' } })
      const tries: string[] = []
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, async (message) => {
        const value = message.data.toString()
        tries.push(value)
        if (value === 'bad' && tries.filter((one) => one === 'bad').length < 3) throw new Error('not yet')
        inbox.add(message)
      })
      await send(pubsub, topic, 'bad')
      await send(pubsub, topic, 'good')
      await inbox.until((texts) => texts.length === 2)
      assert.deepEqual(inbox.texts, ['good', 'bad'])
      assert.equal(tries.filter((one) => one === 'bad').length, 3)
    })

    it('does not let a slow topic starve another', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId, properties: { concurrency: '2' } })
      const gate = Promise.withResolvers<void>()
      const slow = new Inbox()
      const quick = new Inbox()
      await using _slow = await pubsub.subscribe(`${topic}-slow`, {}, async (message) => {
        await gate.promise
        slow.add(message)
      })
      await using _quick = await pubsub.subscribe(`${topic}-quick`, {}, quick.handler)
      const many = Math.min(50, (options.underWay ?? 51) - 1)
      for (const value of numbered(many)) await send(pubsub, `${topic}-slow`, value)
      await send(pubsub, `${topic}-quick`, 'passes')
      await quick.until((texts) => texts.length === 1)
      assert.deepEqual(slow.texts, [])
      gate.resolve()
      await slow.until((texts) => texts.length === many)
    })

    it('has as many messages under way as a batch takes, or one where the order is kept', limit, async () => {
      for (const [concurrency, full] of [
        ['2', Math.min(120, options.underWay ?? 120)],
        ['1', 1],
      ] as const) {
        const { topic, appId } = fresh()
        await using pubsub = await open({ appId, properties: { concurrency } })
        const inbox = new Inbox()
        const gate = Promise.withResolvers<void>()
        let underWay = 0
        let most = 0
        await using _subscription = await pubsub.subscribe(
          topic,
          {},
          async (message) => {
            most = Math.max(most, ++underWay)
            inbox.add(message)
            await gate.promise
            underWay--
          },
          { batch: 120 },
        )
        for (const value of numbered(121)) await send(pubsub, topic, value)
        await inbox.until((texts) => texts.length >= full)
        gate.resolve()
        await inbox.until((texts) => texts.length === 121)
        if (full === 1 && !options.batchesInOrder) assert.equal(most, 1)
      }
    })

    it('publishes in bulk', limit, async (context) => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId })
      if (pubsub.bulkPublish === undefined) return context.unclaimed()
      const inbox = new Inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      const sent = numbered(50)
      const failed = await pubsub.bulkPublish(
        topic,
        sent.map((value) => ({ entryId: value, data: text(value), contentType: 'text/plain', metadata: { entry: value } })),
        { all: 'yes' },
      )
      assert.deepEqual(failed, [])
      await inbox.until((texts) => texts.length === sent.length)
      assert.deepEqual(sorted(inbox.texts), sorted(sent))
      for (const message of inbox.messages) assert.deepEqual(own(message), arriving({ all: 'yes', entry: message.data.toString() }, topic))
    })

    it('stops delivering when the subscription is disposed, after running handlers have finished', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId })
      const started = Promise.withResolvers<void>()
      const gate = Promise.withResolvers<void>()
      let finished = 0
      const subscription = await pubsub.subscribe(topic, {}, async () => {
        started.resolve()
        await gate.promise
        finished++
      })
      await send(pubsub, topic, 'running')
      await started.promise
      const disposed = subscription[Symbol.asyncDispose]()
      gate.resolve()
      await disposed
      assert.equal(finished, 1)
      await send(pubsub, topic, 'late')
      const other = new Inbox()
      await using _other = await pubsub.subscribe(`${topic}-other`, {}, other.handler)
      await send(pubsub, `${topic}-other`, 'marker')
      await other.until((texts) => texts.length === 1)
      assert.equal(finished, 1)
    })

    it('aborts the signal of a handler that outlasts the drain time', limit, async () => {
      const { topic, appId } = fresh()
      await using pubsub = await open({ appId, properties: { drainTimeout: '20ms' } })
      const started = Promise.withResolvers<void>()
      const aborted = Promise.withResolvers<void>()
      const subscription = await pubsub.subscribe(topic, {}, (_message, signal) => {
        started.resolve()
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted.resolve()
            reject(signal.reason)
          })
        })
      })
      await send(pubsub, topic, 'stuck')
      await started.promise
      await subscription[Symbol.asyncDispose]()
      await aborted.promise
    })

    it('gives every group, or every subscription where there are no groups, each message', limit, async () => {
      const { topic, appId } = fresh()
      await using first = await open({ appId })
      await using second = options.groups ? await open({ appId: `${appId}-other` }) : first
      const a = new Inbox()
      const b = new Inbox()
      await using _a = await first.subscribe(topic, {}, a.handler)
      await using _b = await second.subscribe(topic, {}, b.handler)
      const sent = numbered(20)
      for (const value of sent) await send(first, topic, value)
      await a.until((texts) => texts.length === sent.length)
      await b.until((texts) => texts.length === sent.length)
      assert.deepEqual(sorted(a.texts), sorted(sent))
      assert.deepEqual(sorted(b.texts), sorted(sent))
    })

    it('shares the messages among the members of a group, each to one', limit, async (context) => {
      if (!options.groups) return context.unclaimed()
      const { topic, appId } = fresh()
      await options.prepareShared?.(topic)
      await using first = await open({ appId, properties: { concurrency: '1' } })
      await using second = await open({ appId, properties: { concurrency: '1' } })
      const all = new Inbox()
      const bothBusy = Promise.withResolvers<void>()
      const seen = [0, 0]
      // Each member holds its first message until the other has one too: both must get work.
      const member =
        (index: number): MessageHandler =>
        async (message) => {
          seen[index] = (seen[index] as number) + 1
          if (seen[0] !== 0 && seen[1] !== 0) bothBusy.resolve()
          await bothBusy.promise
          all.add(message)
        }
      await using _a = await first.subscribe(topic, {}, member(0))
      await using _b = await second.subscribe(topic, {}, member(1))
      const sent = numbered(100)
      for (const value of sent) await send(first, topic, value)
      await all.until((texts) => new Set(texts).size === sent.length)
      assert.deepEqual(sorted(all.texts), sorted(sent))
    })

    it('gives what was published while nobody listened to the group when it is back', limit, async (context) => {
      if (!options.durable) return context.unclaimed()
      const { topic, appId } = fresh()
      const inbox = new Inbox()
      {
        await using pubsub = await open({ appId })
        await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
        await send(pubsub, topic, 'before')
        await inbox.until((texts) => texts.length === 1)
      }
      await using publisher = await open({ appId: `${appId}-publisher` })
      for (const value of numbered(20)) await send(publisher, topic, value)
      await using pubsub = await open({ appId })
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      await inbox.until((texts) => new Set(texts).size === 21)
      assert.deepEqual(sorted(inbox.texts), sorted(['before', ...numbered(20)]))
    })

    it('hands back at once what a stopped consumer had not handled', limit, async (context) => {
      if (!options.durable) return context.unclaimed()
      const { topic, appId } = fresh()
      const started = Promise.withResolvers<void>()
      {
        await using pubsub = await open({ appId, properties: { drainTimeout: '20ms', concurrency: '3' } })
        let running = 0
        await pubsub.subscribe(topic, {}, (_message, signal) => {
          if (++running === 3) started.resolve()
          return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        })
        for (const value of numbered(10)) await send(pubsub, topic, value)
        await started.promise
      }
      const inbox = new Inbox()
      await using pubsub = await open({ appId })
      await using _subscription = await pubsub.subscribe(topic, {}, inbox.handler)
      await inbox.until((texts) => new Set(texts).size === 10)
      assert.deepEqual(sorted(inbox.texts), sorted(numbered(10)))
    })
  })
}
