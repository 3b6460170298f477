import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { pubsubFake } from '../../../../test/servers/clouds.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { pubsubConformance } from '../../../blocks/pubsub/conformance.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await ownServer(pubsubFake)
after(() => server?.stop())

async function open(appId: string, properties: Record<string, string> = {}): Promise<PubSub> {
  const all = { projectID: 'project', endpoint: server?.address ?? '127.0.0.1:1', ...properties }
  const pubsub = driver.create({ name: 'events', type: 'pubsub.gcp.pubsub', version: 'v1', properties: all, appId, namespace: '', log })
  try {
    await pubsub.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await pubsub[Symbol.asyncDispose]()
    throw error
  }
  return pubsub
}

let sharing = false
const inOrder = { enableMessageOrdering: 'true', orderingKey: 'k', maxOutstandingMessages: '1' }

pubsubConformance('pubsub.gcp.pubsub (pstest)', {
  missing: !server && help(pubsubFake),
  // What keeps an order is an ordering key, whose messages all go to one member of a group.
  open: ({ appId, properties }) => open(appId, { ...properties, ...(properties?.concurrency === '1' && !sharing ? inOrder : {}) }),
  prepareShared: async () => {
    sharing = true
  },
  durable: true,
  groups: true,
  contentType: false,
  metadata: () => ({}),
})

const fresh = () => ({ topic: `topic-${randomUUID()}`, app: `app-${randomUUID()}` })
const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

describe('pubsub.gcp.pubsub', { concurrency: true, skip: server === undefined ? help(pubsubFake) : false }, () => {
  it('keeps a message that takes longer than its deadline', { timeout: 40_000 }, async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app, { ackDeadline: '10s' })
    let count = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const began = Date.now()
    await using _ = await pubsub.subscribe(topic, {}, async () => {
      count++
      await new Promise((wake) => setTimeout(wake, 12_000))
      resolve()
    })
    await send(pubsub, topic, 'slow')
    await promise
    assert.ok(Date.now() - began >= 11_900)
    assert.equal(count, 1)
  })

  it('gives messages of an ordering key one after the other, also after a failure', { timeout: 30_000 }, async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app, { enableMessageOrdering: 'true', orderingKey: 'common' })
    const seen: string[] = []
    let running = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(topic, {}, async ({ data }) => {
      assert.equal(++running, 1)
      await new Promise((wake) => setImmediate(wake))
      running--
      seen.push(String(data))
      if (seen.length === 2) throw new Error('not now')
      if (seen.at(-1) === '9') resolve()
    })
    for (let number = 0; number < 10; number++) await send(pubsub, topic, String(number))
    await promise
    // From the one that failed on everything comes again, in order.
    assert.deepEqual(seen, ['0', '1', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  })

  it('publishes lists of any size, and to a topic that was deleted meanwhile or is not to be made', async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app)
    const got = new Set<string>()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(topic, {}, async ({ data }) => {
      got.add(String(data).slice(0, 6))
      if (got.size === 1200) resolve()
    })
    const entries = Array.from({ length: 1200 }, (_, index) => ({
      entryId: String(index),
      data: Buffer.from(`${String(index).padStart(6, '0')}${'x'.repeat(4_000)}`),
      contentType: '',
      metadata: {},
    }))
    assert.deepEqual(await pubsub.bulkPublish?.(topic, entries, {}), [])
    await promise
    await using unmanaged = await open(app, { disableEntityManagement: 'true' })
    await send(unmanaged, topic, '000000')
    await assert.rejects(send(unmanaged, `no-${randomUUID()}`, 'x'), /topic/)
    await assert.rejects(
      unmanaged.subscribe(`no-${randomUUID()}`, {}, async () => {}),
      /subscription/,
    )
  })

  it('says what is wrong at the start, and nothing of a key', async () => {
    await assert.rejects(open('a', { projectID: '' }), { message: 'gcp pubsub error: missing attribute projectId' })
    await assert.rejects(open('a', { ackDeadline: '-1s' }), /invalid AckDeadline -1s/)
    await assert.rejects(open('a', { privateKeyID: 'k' }), { message: 'missing property `private_key` in metadata' })
    await assert.rejects(open('a', { privateKeyID: 'k', privateKey: 'canary', clientEmail: 'e' }), {
      message: "the service account's private key is no RSA key as PEM",
    })
    await assert.rejects(open('a', { endpoint: 'http://' }), /metadata field endpoint: "http:\/\/" is not host:port/)
    await using away = await open('a', { endpoint: '127.0.0.1:1' })
    await assert.rejects(send(away, 't', 'x'), /could not get valid topic t: .*ECONNREFUSED/)
  })
})
