import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { cutOff, sdkClient, serviceBus, serviceBusProperties } from '../../../../test/servers/servicebus.ts'
import { pubsubConformance } from '../../../blocks/pubsub/conformance.ts'
import type { DeliveredMessage, PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver as queues } from './queues.ts'
import { driver as topics } from './topics.ts'

const server = await serverOf(serviceBus)
after(() => server?.stop())
const address = server?.address ?? ''
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 30_000 }

async function open(kind: 'topics' | 'queues', properties: Record<string, string> = {}, appId = 'app'): Promise<PubSub> {
  const all = { ...serviceBusProperties(address), minConnectionRecoveryInSec: '0', ...properties }
  const context = { name: 'bus', type: `pubsub.azure.servicebus.${kind}`, version: 'v1', properties: all, appId, namespace: '', log }
  const pubsub = (kind === 'topics' ? topics : queues).create(context)
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

/** Messages in order; `next` waits for one. */
function inbox() {
  const here: DeliveredMessage[] = []
  const waiting: ((message: DeliveredMessage) => void)[] = []
  return {
    here,
    async take(message: DeliveredMessage) {
      const wake = waiting.shift()
      if (wake) wake(message)
      else here.push(message)
    },
    next(): Promise<DeliveredMessage> {
      const first = here.shift()
      return first ? Promise.resolve(first) : new Promise((resolve) => waiting.push(resolve))
    },
  }
}

const skip = server === undefined && help(serviceBus)

let sharing = false
const fields = /^metadata\.(MessageId|LockToken|DeliveryCount|EnqueuedTimeUtc|SequenceNumber|LockedUntilUtc|ContentType)$/

pubsubConformance('pubsub.azure.servicebus.topics (stand-in)', {
  missing: skip,
  open: ({ appId, properties: { concurrency, ...properties } = {} }) =>
    open(
      'topics',
      {
        ...properties,
        ...(concurrency ? { maxConcurrentHandlers: concurrency } : {}),
        ...(sharing && concurrency === '1' ? { maxActiveMessages: '1' } : {}),
      },
      appId,
    ),
  // Who comes first holds as many as maxActiveMessages says.
  prepareShared: async () => {
    sharing = true
  },
  durable: true,
  groups: true,
  contentType: false,
  metadata: (sent) => Object.fromEntries(Object.entries(sent).map(([name, value]) => [`metadata.${name}`, value])),
  adds: fields,
})

describe('pubsub.azure.servicebus', { skip, ...limit }, () => {
  it('sends what Azure’s SDK reads: properties of Service Bus by their metadata, the rest the application’s', limit, async () => {
    await using pubsub = await open('queues')
    const queue = `q-${randomUUID()}`
    await send(pubsub, queue, 'hello', {
      MessageId: 'm1',
      id: 'not this',
      CorrelationId: 'c1',
      Label: 'l1',
      ReplyTo: 'r1',
      To: 't1',
      ContentType: 'text/plain',
      PartitionKey: 'p1',
      ttlInSeconds: '90',
      own: 'mine',
      empty: '',
    })
    const client = await sdkClient(address)
    const receiver = client.createReceiver(queue)
    const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs: 5000 })
    assert.ok(message)
    assert.equal(String(message.body), 'hello')
    assert.deepEqual(
      [message.messageId, message.correlationId, message.subject, message.replyTo, message.to, message.contentType, message.partitionKey],
      ['m1', 'c1', 'l1', 'r1', 't1', 'text/plain', 'p1'],
    )
    assert.equal(message.timeToLive, 90_000)
    assert.deepEqual(message.applicationProperties, { own: 'mine' })
    await receiver.completeMessage(message)
    await client.close()
  })

  it('tells of what Azure’s SDK sends with daprd’s names', limit, async () => {
    await using pubsub = await open('topics')
    const topic = `t-${randomUUID()}`
    const box = inbox()
    await using _ = await pubsub.subscribe(topic, {}, box.take)
    const client = await sdkClient(address)
    await client.createSender(topic).sendMessages({
      body: Buffer.from('from the SDK'),
      messageId: 'm',
      correlationId: 'c',
      subject: 's',
      contentType: 'application/json',
      replyTo: 'r',
      to: 't',
      applicationProperties: { text: 'x', number: 5, half: 0.5, yes: true },
    })
    const { data, metadata } = await box.next()
    await client.close()
    assert.equal(data.toString(), 'from the SDK')
    const { 'metadata.LockToken': token = '', 'metadata.EnqueuedTimeUtc': enqueued, 'metadata.LockedUntilUtc': until, ...rest } = metadata
    assert.deepEqual(rest, {
      'metadata.MessageId': 'm',
      'metadata.CorrelationId': 'c',
      'metadata.Label': 's',
      'metadata.ContentType': 'application/json',
      'metadata.ReplyTo': 'r',
      'metadata.To': 't',
      'metadata.DeliveryCount': '1',
      'metadata.SequenceNumber': '1',
      'metadata.text': 'x',
      'metadata.number': '5',
      'metadata.half': '0.5',
      'metadata.yes': 'true',
    })
    assert.equal(Buffer.from(token, 'base64').length, 16)
    assert.match(`${enqueued}|${until}`, /^\w{3}, \d{2} \w{3} \d{4} [\d:]{8} GMT\|\w{3}, \d{2} \w{3} \d{4} [\d:]{8} GMT$/)
  })

  it(
    'a scheduled message comes at its time; a time that is none, and a partition key beside another session, are refused',
    limit,
    async () => {
      await using pubsub = await open('queues')
      const queue = `q-${randomUUID()}`
      const box = inbox()
      await using _ = await pubsub.subscribe(queue, {}, box.take)
      const due = Date.now() + 600
      await send(pubsub, queue, 'later', { ScheduledEnqueueTimeUtc: new Date(due).toISOString() })
      await box.next()
      assert.ok(Date.now() >= due - 20)
      await assert.rejects(send(pubsub, queue, 'x', { ScheduledEnqueueTimeUtc: 'soon' }), {
        message: 'invalid time format for ScheduledEnqueueTimeUtc; expected HTTP time format or RFC3339',
      })
      await assert.rejects(send(pubsub, queue, 'x', { SessionId: 'a', PartitionKey: 'b' }), {
        message: 'session id a and partition key b should be equal when both present',
      })
    },
  )

  it('bulk: one transfer for many, one for each session, all there', limit, async () => {
    await using pubsub = await open('queues')
    const queue = `q-${randomUUID()}`
    const entries = Array.from({ length: 60 }, (_, at) => ({
      entryId: String(at),
      data: Buffer.alloc(5000, `${at} `),
      contentType: 'text/plain',
      metadata: { MessageId: String(at), SessionId: String(at % 2) },
    }))
    assert.deepEqual(await pubsub.bulkPublish?.(queue, entries, {}), [])
    const ids = new Set<string | undefined>()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(queue, {}, async ({ metadata }) => {
      ids.add(metadata['metadata.MessageId'])
      if (ids.size === 60) resolve()
    })
    await promise
    const [failed] = (await pubsub.bulkPublish?.(queue, [{ ...entries[0], metadata: { ScheduledEnqueueTimeUtc: 'x' } } as never], {})) ?? []
    assert.equal(failed?.entryId, '0')
  })

  it('keeps the lock of a message that is long under way', limit, async () => {
    await using pubsub = await open('queues', { lockDurationInSec: '2', lockRenewalInSec: '1' })
    const queue = `q-${randomUUID()}`
    const seen: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(queue, {}, async ({ data }) => {
      seen.push(data.toString())
      if (data.toString() === 'last') return resolve()
      // Longer than the lock: without renewal it would come again.
      await new Promise((done) => setTimeout(done, 3200))
      await send(pubsub, queue, 'last')
    })
    await send(pubsub, queue, 'slow')
    await promise
    assert.deepEqual(seen, ['slow', 'last'])
    const client = await sdkClient(address)
    assert.deepEqual(await client.createReceiver(queue).receiveMessages(1, { maxWaitTimeInMs: 100 }), [])
    await client.close()
  })

  it('what fails comes again, at no more than maxRetriableErrorsPerSec, and is dead-lettered after maxDeliveryCount', limit, async () => {
    await using pubsub = await open('queues', { maxDeliveryCount: '3' })
    const queue = `q-${randomUUID()}`
    const counts: string[] = []
    await using _ = await pubsub.subscribe(queue, {}, async ({ metadata }) => {
      counts.push(metadata['metadata.DeliveryCount'] ?? '')
      throw new Error('no')
    })
    await send(pubsub, queue, 'poison', { MessageId: 'p' })
    const client = await sdkClient(address)
    const [dead] = await client.createReceiver(queue, { subQueueType: 'deadLetter' }).receiveMessages(1, { maxWaitTimeInMs: 10_000 })
    await client.close()
    assert.equal(dead?.deadLetterReason, 'MaxDeliveryCountExceeded')
    assert.deepEqual(counts, ['1', '2', '3'])
  })

  it('sessions: each in its order, several at once, and what fails before what follows', limit, async () => {
    await using pubsub = await open('topics')
    const topic = `t-${randomUUID()}`
    const seen: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    let failed = false
    const metadata = { requireSessions: 'true', sessionIdleTimeoutInSec: '1', maxConcurrentSessions: '2' }
    await using _ = await pubsub.subscribe(topic, metadata, async ({ data, metadata: told }) => {
      const text = data.toString()
      assert.equal(told['metadata.SessionId'], text[0])
      if (text === 'b2' && !failed) {
        failed = true
        throw new Error('once')
      }
      seen.push(text)
      if (seen.length === 9) resolve()
    })
    for (const text of ['a1', 'b1', 'c1', 'a2', 'b2', 'c2', 'a3', 'b3', 'c3'])
      await send(pubsub, topic, text, { SessionId: text[0] as string })
    await promise
    for (const session of 'abc')
      assert.deepEqual(
        seen.filter((text) => text.startsWith(session)),
        ['1', '2', '3'].map((n) => session + n),
      )
  })

  it('a subscription that exists without sessions is no subscription with them', limit, async () => {
    await using pubsub = await open('topics')
    const topic = `t-${randomUUID()}`
    await using _ = await pubsub.subscribe(topic, {}, async () => {})
    await using other = await open('topics')
    await assert.rejects(
      other.subscribe(topic, { requireSessions: 'true' }, async () => {}),
      {
        message: "subscription app already exists but session requirement doesn't match",
      },
    )
  })

  it('what is throttled is sent again', limit, async () => {
    await using pubsub = await open('queues', { publishInitialRetryIntervalInMs: '10' })
    const queue = `busy-${randomUUID()}`
    for (const text of ['1', '2', '3']) await send(pubsub, queue, text)
    await using impatient = await open('queues', { publishMaxRetries: '0' })
    await assert.rejects(
      send(impatient, queue, 'x').then(() => send(impatient, queue, 'y')),
      { condition: 'com.microsoft:server-busy' },
    )
  })

  it('comes back after the connection is cut: nothing that was accepted is lost', limit, async () => {
    await using pubsub = await open('topics', { publishInitialRetryIntervalInMs: '50', lockDurationInSec: '2' })
    const topic = `t-${randomUUID()}`
    const seen = new Set<string>()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(topic, {}, async ({ data }) => {
      seen.add(data.toString())
      if (seen.size === 200) resolve()
    })
    for (let at = 0; at < 200; at++) {
      if (at % 70 === 30) await cutOff(address)
      await send(pubsub, topic, String(at))
    }
    // What was under way when its link went comes again when its lock ends.
    await Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`${seen.size} of 200`)), 20_000).unref())])
  })

  it('a wrong key is refused, and not shown', limit, async () => {
    await using pubsub = await open('topics', serviceBusProperties(address, { key: 'wrong-canary' }))
    await assert.rejects(send(pubsub, 'any', 'x'), (error) => {
      assert.match(String(error), /InvalidSignature/)
      assert.doesNotMatch(String(error), /wrong-canary|SharedAccessSignature/)
      return true
    })
    await using unmanaged = await open('topics', {
      ...serviceBusProperties(address, { key: 'wrong-canary' }),
      disableEntityManagement: 'true',
    })
    await assert.rejects(send(unmanaged, 'any', 'x'), /refuses the token for sb:.*InvalidSignature/)
  })

  it('what does not exist is said when nothing is made', limit, async () => {
    await using pubsub = await open('topics', { disableEntityManagement: 'true' })
    await assert.rejects(send(pubsub, 'nothing-here', 'x'), /'nothing-here' could not be found/)
  })

  it('a server that hangs: a bounded wait and a clear error', limit, async () => {
    const { hostname, port } = new URL(address)
    await using proxy = await startProxy(hostname, Number(port))
    const properties = serviceBusProperties(address, { port: proxy.port })
    await using pubsub = await open('queues', { ...properties, timeoutInSec: '1', publishMaxRetries: '0' })
    const queue = `q-${randomUUID()}`
    await send(pubsub, queue, 'before')
    proxy.stall()
    await assert.rejects(send(pubsub, queue, 'during'), { name: 'UnreachableError', message: /did not answer within 1000 ms/ })
    proxy.heal()
    await send(pubsub, queue, 'after')
  })
})
