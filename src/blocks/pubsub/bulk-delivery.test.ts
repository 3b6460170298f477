import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, event, type Seen, startApp, TestBroker, testBlock } from './harness.ts'
import type { Runner } from './policy-hook.ts'

interface Bulk {
  id: string
  type: string
  topic: string
  pubsubname: string
  metadata: Record<string, string>
  entries: { entryId: string; event: { id: string } | string; contentType: string; metadata?: Record<string, string> }[]
}

const parse = (seen: Seen | undefined) => JSON.parse(seen?.body ?? '') as Bulk
const idOf = ({ event: given }: Bulk['entries'][number]) => (given as { id: string }).id
/** Answers each entry with the status that is its event's id. */
const statuses = (seen: Seen): Answer => ({
  body: JSON.stringify({ statuses: parse(seen).entries.map((entry) => ({ entryId: entry.entryId, status: idOf(entry) })) }),
})

async function started(
  options: { count?: number; wait?: number; more?: object; features?: 'BULK_SUBSCRIBE_IMMEDIATE'[]; policy?: Runner },
  answer: (seen: Seen) => Answer | Promise<Answer>,
) {
  const { count = 3, wait = 60_000, more = {}, features = [], policy } = options
  const app = await startApp(
    [
      {
        pubsubname: 'ps',
        topic: 'orders',
        route: '/bulk',
        bulkSubscribe: { enabled: true, maxMessagesCount: count, maxAwaitDurationMs: wait },
        ...more,
      },
    ],
    answer,
  )
  const broker = new TestBroker(features)
  const block = testBlock(broker, { app: app.channel, policies: policy && { inbound: () => policy, outbound: () => undefined } })
  await block.start()
  return { app, broker, block }
}

test('a full batch goes out as one request', async () => {
  const { app, broker } = await started({}, (seen) => ({
    body: JSON.stringify({ statuses: parse(seen).entries.map(({ entryId }) => ({ entryId, status: 'SUCCESS' })) }),
  }))
  await using _ = app
  await Promise.all(['a', 'b', 'c'].map((id) => broker.deliver('orders', event({ id }), { metadata: { own: id } })))
  assert.equal(app.seen.length, 1)
  assert.equal(app.seen[0]?.headers['content-type'], 'application/json')
  assert.equal(app.seen[0]?.headers.pubsubname, 'ps')
  const bulk = parse(app.seen[0])
  assert.deepEqual(
    [bulk.type, bulk.topic, bulk.pubsubname, bulk.metadata],
    ['com.dapr.event.sent.bulk', 'orders', 'ps', { pubsubName: 'ps' }],
  )
  assert.deepEqual(
    bulk.entries.map(({ event: given, metadata, contentType }) => [given, metadata, contentType]),
    ['a', 'b', 'c'].map((id) => [event({ id }), { own: id }, 'application/cloudevents+json']),
  )
  assert.equal(new Set([bulk.id, ...bulk.entries.map(({ entryId }) => entryId)]).size, 4)
  assert.equal(broker.subscribed[0]?.batch, 3)
})

test('a part of a batch goes out after the wait, or at once where the broker says so', async () => {
  const timed = await started({ wait: 1 }, statuses)
  await using _ = timed.app
  await timed.broker.deliver('orders', event({ id: 'SUCCESS' }))
  assert.equal(parse(timed.app.seen[0]).entries.length, 1)
  const immediate = await started({ features: ['BULK_SUBSCRIBE_IMMEDIATE'] }, statuses)
  await using __ = immediate.app
  await immediate.broker.deliver('orders', event({ id: 'SUCCESS' }))
  assert.equal(parse(immediate.app.seen[0]).entries.length, 1)
})

test('each entry has its own outcome', async () => {
  const { app, broker } = await started({ count: 4 }, statuses)
  await using _ = app
  const outcomes = await Promise.allSettled(['SUCCESS', 'DROP', 'RETRY', 'what'].map((id) => broker.deliver('orders', event({ id }))))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'rejected'],
  )
})

test('dropped and failed entries go to the dead letters', async () => {
  const { app, broker } = await started({ count: 4, more: { deadLetterTopic: 'dead' } }, statuses)
  await using _ = app
  broker.refusal = ({ data }) => (data.includes('what') ? new Error('full') : undefined)
  const outcomes = await Promise.allSettled(['SUCCESS', 'DROP', 'RETRY', 'what'].map((id) => broker.deliver('orders', event({ id }))))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'fulfilled', 'rejected'],
  )
  assert.deepEqual(
    broker.published.map(({ topic, data }) => [topic, (JSON.parse(data.toString()) as { id: string }).id]),
    [
      ['dead', 'DROP'],
      ['dead', 'RETRY'],
    ],
  )
})

for (const [name, answer] of [
  ['no JSON', { body: 'ok' }],
  ['no statuses', { body: '{}' }],
  ['unknown entry', { body: '{"statuses":[{"entryId":"x","status":"SUCCESS"}]}' }],
  ['500', { status: 500 }],
] as [string, Answer][]) {
  test(`all entries come again: ${name}`, async () => {
    const { app, broker } = await started({ count: 2 }, () => answer)
    await using _ = app
    const outcomes = await Promise.allSettled([1, 2].map((id) => broker.deliver('orders', event({ id: String(id) }))))
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['rejected', 'rejected'],
    )
  })
}

test('404 drops all without dead letters, an unreachable app keeps all', async () => {
  const { app, broker } = await started({ count: 2, more: { deadLetterTopic: 'dead' } }, () => ({ status: 404 }))
  await Promise.all([1, 2].map(() => broker.deliver('orders', event())))
  await app[Symbol.asyncDispose]()
  const outcomes = await Promise.allSettled([1, 2].map(() => broker.deliver('orders', event())))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.deepEqual(broker.published, [])
})

test('entries are grouped by route', async () => {
  const { app, broker } = await started(
    {
      count: 4,
      more: {
        route: '',
        routes: {
          rules: [
            { match: 'event.type == "w"', path: '/w' },
            { match: 'event.type == "x"', path: '/x' },
          ],
        },
      },
    },
    statuses,
  )
  await using _ = app
  await Promise.all(['w', 'x', 'w', 'none'].map((type) => broker.deliver('orders', event({ id: 'SUCCESS', type }))))
  assert.deepEqual(app.seen.map((seen) => [seen.url, parse(seen).entries.length]).sort(), [
    ['/w', 2],
    ['/x', 1],
  ])
})

test('a policy tries only those entries again that failed', async () => {
  const twice: Runner = (operation, signal) => operation(signal).catch(() => operation(signal))
  let round = 0
  const { app, broker } = await started({ count: 2, policy: twice }, (seen) =>
    round++ === 0
      ? statuses(seen)
      : { body: JSON.stringify({ statuses: parse(seen).entries.map(({ entryId }) => ({ entryId, status: 'SUCCESS' })) }) },
  )
  await using _ = app
  await Promise.all(['SUCCESS', 'RETRY'].map((id) => broker.deliver('orders', event({ id }))))
  assert.deepEqual(
    app.seen.map((seen) => parse(seen).entries.map(idOf)),
    [['SUCCESS', 'RETRY'], ['RETRY']],
  )
})

test('a raw bulk subscription sends Base64', async () => {
  const { app, broker } = await started({ count: 1, more: { metadata: { rawPayload: 'true' } } }, (seen) => ({
    body: JSON.stringify({ statuses: parse(seen).entries.map(({ entryId }) => ({ entryId, status: 'SUCCESS' })) }),
  }))
  await using _ = app
  await broker.deliver('orders', Buffer.from('hi'))
  assert.deepEqual(
    parse(app.seen[0]).entries.map(({ event: given, contentType }) => [given, contentType]),
    [['aGk=', 'application/octet-stream']],
  )
})

test('messages that wait for a batch go back when the subscription ends', async () => {
  const { app, broker, block } = await started({}, statuses)
  await using _ = app
  const waiting = broker.deliver('orders', event())
  const refused = assert.rejects(waiting, /has ended/)
  await block.stop()
  await refused
  assert.equal(app.seen.length, 0)
})
