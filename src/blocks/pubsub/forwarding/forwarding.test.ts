import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Named } from '../../../components/sets.ts'
import { OutriderError } from '../../../errors.ts'
import { ForwardMetrics } from '../../../telemetry/forward-metrics.ts'
import { createLogger } from '../../../telemetry/log.ts'
import type { BulkEntry, PublishRequest, PubSub } from '../driver.ts'
import { named, TestBroker } from '../harness.ts'
import { createPublisher } from '../publish.ts'
import { createForwarding } from './forwarding.ts'
import { aged } from './line.ts'

const root = mkdtempSync(join(tmpdir(), 'outrider-forwarding-'))
after(() => rmSync(root, { recursive: true, force: true }))
const LIMIT = { timeout: 20_000 }
let files = 0

const away = () => Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' })
const textOf = ({ data }: PublishRequest) => String((JSON.parse(data.toString()) as { data: unknown }).data)

/** A publisher with store-and-forward on broker `ps`, whose component is up. */
async function setUp(broker: PubSub, spec: { maxBytes?: number; maxAge?: number; timeout?: number } = {}) {
  const lines: string[] = []
  const log = createLogger({ level: 'debug', json: false, appId: 'app', version: 'test', write: (line) => lines.push(line) })
  const components = new Map<string, Named<PubSub>>([['ps', named(broker)]])
  const metrics = new ForwardMetrics()
  const forwarding = createForwarding({
    resources: [
      {
        name: 'keep',
        namespace: '',
        scopes: [],
        source: { file: 'keep.yaml', line: 1 },
        spec: { pubsubs: ['ps'], maxBytes: 1e6, maxAge: 60_000, timeout: 5000, synchronous: 'normal', ...spec },
      },
    ],
    components,
    properties: (name) => components.get(name)?.properties,
    appId: 'app',
    namespace: 'default',
    file: join(root, `${++files}.db`),
    observer: metrics.of('app'),
    log,
  })
  forwarding.start()
  const publisher = createPublisher({ components, appId: 'app', namespace: 'default', lines: forwarding.lines })
  const waiting = () => forwarding.waiting()[0]?.[1].events
  return {
    lines,
    metrics,
    forwarding,
    publisher,
    waiting,
    publish: (text: string, metadata: Record<string, string> = {}, topic = 't') =>
      publisher.publish({ pubsubName: 'ps', topic, data: Buffer.from(text), contentType: 'text/plain', metadata }),
    async until(done: () => boolean) {
      while (!done()) await new Promise((resolve) => setTimeout(resolve, 5))
    },
    [Symbol.asyncDispose]: () => forwarding[Symbol.asyncDispose](),
  }
}

test('an event that the broker refuses is answered as ever; one that it cannot be given is kept and comes later', LIMIT, async () => {
  const broker = new TestBroker()
  await using kit = await setUp(broker)
  broker.refusal = () => new Error('message too large')
  await assert.rejects(kit.publish('1'), { code: 'ERR_PUBSUB_PUBLISH_MESSAGE', message: /message too large/ })
  assert.equal(kit.waiting(), 0)
  broker.refusal = away
  await kit.publish('2', { 'cloudevent.id': 'mine' })
  assert.equal(kit.waiting(), 1)
  broker.refusal = undefined
  await kit.until(() => kit.waiting() === 0)
  const [event] = broker.published.map(({ data }) => JSON.parse(data.toString()) as Record<string, unknown>)
  assert.deepEqual([event?.id, event?.data, event?.topic, event?.source], ['mine', '2', 't', 'app'])
  assert.match([...kit.metrics.parts()].join(''), /forwarded_total\{app_id="app",component="ps"\} 1/)
})

test('while something of a key waits, what follows goes behind it, also when the broker is back', LIMIT, async () => {
  const held = Promise.withResolvers<void>()
  let down = true
  const order: string[] = []
  const broker = new (class extends TestBroker {
    override async publish(request: PublishRequest) {
      if (down || (textOf(request) === 'a1' && order.length === 0)) throw away()
      if (textOf(request) === 'a1') await held.promise
      order.push(textOf(request))
    }
  })()
  await using kit = await setUp(broker)
  const a = { partitionKey: 'a' }
  await kit.publish('b0', { partitionKey: 'b' })
  await kit.publish('a1', a)
  down = false
  // The first event has shown that the broker is back; that of key a is on its way.
  await kit.until(() => order.includes('b0'))
  await kit.publish('a2', a)
  await kit.publish('a3', { partitionkey: 'a' })
  assert.equal(kit.waiting(), 3)
  await kit.publish('c', { partitionKey: 'c' })
  assert.deepEqual(order, ['b0', 'c'], 'another key goes at once')
  held.resolve()
  await kit.until(() => kit.waiting() === 0)
  await kit.publish('a4', a)
  assert.deepEqual(order, ['b0', 'c', 'a1', 'a2', 'a3', 'a4'])
})

test('a kept event that the broker refuses holds up its own lane, and nothing is lost', LIMIT, async () => {
  const broker = new TestBroker()
  await using kit = await setUp(broker)
  broker.refusal = away
  await kit.publish('1', {}, 'bad')
  await kit.publish('2', {}, 'bad')
  await kit.publish('3', {}, 'good')
  broker.refusal = ({ topic }) => (topic === 'bad' ? new Error('no such topic') : undefined)
  await kit.until(() => kit.waiting() === 2)
  assert.deepEqual(broker.published.map(textOf), ['3'])
  await kit.until(() => kit.lines.some((line) => /refuses an accepted event of topic bad, next attempt in .*: no such topic/.test(line)))
  broker.refusal = undefined
  await kit.until(() => kit.waiting() === 0)
  assert.deepEqual(broker.published.map(textOf), ['3', '1', '2'])
})

test('a broker that says nothing counts as away after the timeout', LIMIT, async () => {
  let silent = true
  const broker = new (class extends TestBroker {
    override publish(request: PublishRequest): Promise<void> {
      return silent ? new Promise(() => {}) : super.publish(request)
    }
  })()
  await using kit = await setUp(broker, { timeout: 50 })
  await kit.publish('1')
  assert.ok(kit.lines.some((line) => line.includes('no answer within 50 ms')))
  silent = false
  await kit.until(() => kit.waiting() === 0)
  assert.deepEqual(broker.published.map(textOf), ['1'])
})

test('of a bulk request what was not taken is kept in its order; what the broker refuses is told', LIMIT, async () => {
  let lost = true
  const broker = new (class extends TestBroker {
    async bulkPublish(topic: string, entries: readonly BulkEntry[]) {
      const failed: { entryId: string; error: Error }[] = []
      for (const { entryId, data } of entries) {
        if (entryId === 'large') failed.push({ entryId, error: new Error('message too large') })
        else if (lost && entryId !== '1') failed.push({ entryId, error: new Error('read ECONNRESET') })
        else await this.publish({ topic, data, metadata: {} })
      }
      return failed
    }
    override async publish(request: PublishRequest) {
      if (lost && textOf(request) !== '1') throw away()
      await super.publish(request)
    }
  })()
  await using kit = await setUp(broker, { maxBytes: 3000 })
  const bulk = (ids: readonly string[], pad = '') =>
    kit.publisher.bulkPublish({
      pubsubName: 'ps',
      topic: 't',
      metadata: {},
      entries: ids.map((entryId) => ({ entryId, event: Buffer.from(entryId + pad), contentType: 'text/plain' })),
    })
  const { failedEntries, error } = await bulk(['1', '2', 'large', '3'])
  assert.deepEqual(failedEntries, [{ entryId: 'large', error: 'message too large' }])
  assert.equal(error?.message, 'message too large')
  assert.equal(kit.waiting(), 2)
  const partly = await bulk(['4', '5'], ' '.repeat(800))
  assert.equal(partly.failedEntries.length, 1)
  await assert.rejects(bulk(['6', '7'], ' '.repeat(2000)), { code: 'ERR_PUBSUB_STORE_FULL' })
  lost = false
  await kit.until(() => kit.waiting() === 0)
  assert.deepEqual(
    broker.published.map((request) => textOf(request).trim()),
    ['1', '2', '3', '4'],
  )
})

test('no room: refused with 503, counted, and what waits stays', LIMIT, async () => {
  const broker = new TestBroker()
  await using kit = await setUp(broker, { maxBytes: 2000 })
  broker.refusal = away
  await kit.publish('1')
  await assert.rejects(kit.publish('x'.repeat(2000)), (error) => {
    assert.ok(error instanceof OutriderError)
    assert.deepEqual([error.code, error.http, error.grpc, error.retryable], ['ERR_PUBSUB_STORE_FULL', 503, 14, true])
    return true
  })
  assert.match([...kit.metrics.parts()].join(''), /refused_total\{app_id="app",component="ps"\} 1/)
  assert.equal(kit.waiting(), 1)
})

test("an event's own time to live counts from when it was accepted", LIMIT, async () => {
  const broker = new TestBroker(['MESSAGE_TTL'])
  await using kit = await setUp(broker)
  broker.refusal = away
  await kit.publish('short', { ttlInSeconds: '1' })
  await kit.publish('long', { ttlInSeconds: '600' })
  await kit.until(() => kit.waiting() === 1)
  assert.ok(kit.lines.some((line) => line.includes('1 accepted events expired')))
  broker.refusal = undefined
  kit.forwarding.came('ps')
  await kit.until(() => kit.waiting() === 0)
  const left = Number(broker.published[0]?.metadata.ttlInSeconds)
  assert.ok(broker.published.length === 1 && left <= 600 && left > 580, `${left} s are left`)
  assert.deepEqual(aged({ TTL: '10s', own: '1' }, 3500), { TTL: '7', own: '1' })
  assert.deepEqual(aged({ own: '1' }, 3500), { own: '1' })
})
