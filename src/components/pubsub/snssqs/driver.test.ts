import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { moto } from '../../../../test/servers/moto.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { pubsubConformance } from '../../../blocks/pubsub/conformance.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { SNS, SQS } from '../../aws/services.ts'
import { accountOf, clientOf } from '../../aws/testing.ts'
import { allIn, textIn, within } from '../../aws/xml.ts'
import { driver } from './driver.ts'
import { allowedName } from './entities.ts'
import { forSns, fromSns } from './envelope.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
// One of its own: hundreds of publishes one after the other would wait for the others' requests.
const server = await ownServer(moto)
after(() => server?.stop())
const account = accountOf(server?.address ?? 'http://k:s@none')

async function open(appId: string, properties: Record<string, string> = {}): Promise<PubSub> {
  const all = { ...account, messageWaitTimeSeconds: '1', ...properties }
  const pubsub = driver.create({ name: 'events', type: 'pubsub.aws.snssqs', version: 'v1', properties: all, appId, namespace: '', log })
  try {
    await pubsub.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await pubsub[Symbol.asyncDispose]()
    throw error
  }
  return pubsub
}

pubsubConformance('pubsub.aws.snssqs (moto)', {
  missing: !server && help(moto),
  open: ({ appId, properties }) => open(appId, properties),
  durable: true,
  // Most of its time it waits for the end of a poll.
  concurrency: 4,
  groups: true,
  contentType: false,
  metadata: () => ({}),
})

const fresh = () => ({ topic: `topic-${randomUUID()}`, app: `app-${randomUUID()}` })
const send = (pubsub: PubSub, topic: string, text: string) => pubsub.publish({ topic, data: Buffer.from(text), metadata: {} })
/** Resolves when it was called so often. */
function counter(): { texts: string[]; add(text: string): void; until(count: number): Promise<void> } {
  const texts: string[] = []
  const waiters = new Set<() => void>()
  return {
    texts,
    add(text) {
      texts.push(text)
      for (const wake of waiters) wake()
    },
    async until(count) {
      while (texts.length < count) {
        const { promise, resolve } = Promise.withResolvers<void>()
        waiters.add(resolve)
        await promise
        waiters.delete(resolve)
      }
    },
  }
}

it('takes from names what AWS allows', () => {
  assert.equal(allowedName('orders/new.v1 ü', false), 'ordersnewv1')
  assert.equal(allowedName('x'.repeat(100), false), 'x'.repeat(80))
  assert.equal(allowedName('a.b.fifo', true), 'ab.fifo')
  assert.equal(allowedName('x'.repeat(100), true), `${'x'.repeat(75)}.fifo`)
})

it('brings every text and every byte through the texts of SNS', () => {
  for (const bytes of [
    '{"a":"ü 😀\\n"}',
    'a\tb\r\n',
    '',
    '\0',
    '\u000b',
    '\uffff',
    Buffer.from([0xff, 0xfe]),
    Buffer.from([0xed, 0xa0, 0x80]),
  ]) {
    const data = Buffer.from(bytes as string)
    const { text, encoded } = forSns(data)
    assert.doesNotMatch(text, /^$|[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u)
    const MessageAttributes = encoded ? { 'outrider-encoding': { Type: 'String', Value: 'base64' } } : undefined
    assert.deepEqual(fromSns(JSON.stringify({ TopicArn: 'arn:aws:sns:r:1:t', Message: text, MessageAttributes })), { topic: 't', data })
  }
  for (const body of ['', 'x', 'null', '[]', '{"Message":"x"}', '{"TopicArn":"t","Message":1}']) assert.equal(fromSns(body), undefined)
})

describe('pubsub.aws.snssqs', { concurrency: 4, skip: server === undefined ? help(moto) : false }, () => {
  const sns = clientOf(server?.address ?? 'http://k:s@none', SNS)
  const sqs = clientOf(server?.address ?? 'http://k:s@none', SQS)
  after(() => Promise.all([sns[Symbol.asyncDispose](), sqs[Symbol.asyncDispose]()]))
  const arn = (service: string, name: string) => `arn:aws:${service}:us-east-1:123456789012:${name}`
  const url = async (QueueName: string) => String((await sqs.json('GetQueueUrl', { QueueName })).QueueUrl)
  const attributes = async (name: string) =>
    (await sqs.json('GetQueueAttributes', { QueueUrl: await url(name), AttributeNames: ['All'] })).Attributes as Record<string, string>

  it('makes topics, one queue, its policy, its subscriptions and its dead letters as daprd does', async () => {
    const { topic, app } = fresh()
    const dead = `dead-${app}`
    await using pubsub = await open(app, { sqsDeadLettersQueueName: dead, messageReceiveLimit: '3' })
    await using _a = await pubsub.subscribe(`${topic}/a`, {}, async () => {})
    await using _b = await pubsub.subscribe(`${topic}/b`, {}, async () => {})
    const { Policy = '', RedrivePolicy = '' } = await attributes(app)
    const statement = (name: string) => ({
      Effect: 'Allow',
      Principal: { Service: 'sns.amazonaws.com' },
      Action: 'sqs:SendMessage',
      Resource: arn('sqs', app),
      Condition: { ArnEquals: { 'aws:SourceArn': arn('sns', name) } },
    })
    assert.deepEqual(JSON.parse(Policy), { Version: '2012-10-17', Statement: [statement(`${topic}a`), statement(`${topic}b`)] })
    const { deadLetterTargetArn, maxReceiveCount } = JSON.parse(RedrivePolicy)
    assert.deepEqual([deadLetterTargetArn, Number(maxReceiveCount)], [arn('sqs', dead), 3])
    const list = await sns.query('ListSubscriptionsByTopic', [['TopicArn', arn('sns', `${topic}a`)]])
    const found = allIn(within(list, 'Subscriptions'), 'member').map((one) => [textIn(one, 'Protocol'), textIn(one, 'Endpoint')])
    assert.deepEqual(found, [['sqs', arn('sqs', app)]])
    // Nothing is added the second time.
    await using again = await open(app)
    await using _c = await again.subscribe(`${topic}/a`, {}, async () => {})
    assert.equal(JSON.parse((await attributes(app)).Policy ?? '').Statement.length, 2)
  })

  it('deletes what fails messageRetryLimit times, never without a try, or lets others try', { timeout: 30_000 }, async () => {
    for (const [keep, tries] of [
      ['false', 3],
      ['true', 5],
    ] as const) {
      const { topic, app } = fresh()
      const calls = counter()
      await using pubsub = await open(app, { messageRetryLimit: '3', redeliverInterval: '0', disableDeleteOnRetryLimit: keep })
      await using _subscription = await pubsub.subscribe(topic, {}, async ({ data }) => {
        calls.add(data.toString())
        if (data.toString() === 'bad' && calls.texts.filter((text) => text === 'bad').length < 5) throw new Error('no')
      })
      await send(pubsub, topic, 'bad')
      await calls.until(tries)
      // What is deleted is gone when the queue has it no more.
      while (Number((await attributes(app)).ApproximateNumberOfMessagesNotVisible) > 0) await pause(10)
      assert.equal(calls.texts.length, tries)
      assert.equal((await attributes(app)).ApproximateNumberOfMessages, '0')
    }
  })

  it('leaves to the dead letters what fails messageReceiveLimit times', { timeout: 30_000 }, async () => {
    const { topic, app } = fresh()
    const dead = `dead-${app}`
    const calls = counter()
    const settings = { sqsDeadLettersQueueName: dead, messageReceiveLimit: '2', messageRetryLimit: '10', redeliverInterval: '0' }
    await using pubsub = await open(app, settings)
    await using _subscription = await pubsub.subscribe(topic, {}, async ({ data }) => {
      calls.add(data.toString())
      throw new Error('no')
    })
    await send(pubsub, topic, 'bad')
    let found: { Body: string }[] = []
    while (found.length === 0)
      found = ((await sqs.json('ReceiveMessage', { QueueUrl: await url(dead), WaitTimeSeconds: 1 })).Messages ?? []) as { Body: string }[]
    assert.equal(JSON.parse(found[0]?.Body ?? '').Message, 'bad')
    assert.deepEqual(calls.texts, ['bad', 'bad'])
  })

  it('keeps a message for as long as its handler has it', { timeout: 30_000 }, async () => {
    const { topic, app } = fresh()
    await using first = await open(app, { messageVisibilityTimeout: '1' })
    await using second = await open(app, { messageVisibilityTimeout: '1' })
    const calls = counter()
    const handler = async ({ data }: { data: Buffer }) => {
      calls.add(data.toString())
      // Three times as long as it stays hidden by itself.
      if (data.toString() === 'long') await pause(3000)
    }
    await using _first = await first.subscribe(topic, {}, handler)
    await using _second = await second.subscribe(topic, {}, handler)
    await send(first, topic, 'long')
    await calls.until(1)
    await pause(3000)
    await send(first, topic, 'end')
    await calls.until(2)
    assert.deepEqual(calls.texts, ['long', 'end'])
  })

  it('keeps the order of a FIFO group, whatever fails and however many handlers there are', { timeout: 30_000 }, async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app, { fifo: 'true', redeliverInterval: '0' })
    const handled = counter()
    let failures = 0
    await using _subscription = await pubsub.subscribe(topic, {}, async ({ data }) => {
      const text = data.toString()
      if (text === 'm3' && failures++ < 2) throw new Error('not yet')
      handled.add(text)
    })
    const sent = Array.from({ length: 12 }, (_, index) => `m${index}`)
    const entries = sent.map((text) => ({ entryId: text, data: Buffer.from(text), contentType: 'text/plain', metadata: {} }))
    assert.deepEqual(await pubsub.bulkPublish?.(topic, entries, {}), [])
    await handled.until(12)
    assert.deepEqual(handled.texts, sent)
    assert.equal((await attributes(`${app}.fifo`)).FifoQueue, 'true')
  })

  it('makes a topic again that was deleted; where it may not, says what is missing', async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app)
    await send(pubsub, topic, 'one')
    await sns.query('DeleteTopic', [['TopicArn', arn('sns', topic)]])
    await send(pubsub, topic, 'two')
    await using bound = await open(app, { disableEntityManagement: 'true' })
    await send(bound, topic, 'three')
    await assert.rejects(
      send(bound, `${topic}-none`, 'x'),
      /error getting topic ARN for .*-none: operation error SNS: GetTopicAttributes, .*NotFound/,
    )
    await assert.rejects(
      bound.subscribe(topic, {}, async () => {}),
      /topic .*: error subscribing queue app-.*(NonExistentQueue|QueueDoesNotExist)/,
    )
    await sqs.json('CreateQueue', { QueueName: app })
    await assert.rejects(
      bound.subscribe(topic, {}, async () => {}),
      /subscription not found for topic arn .*: subscribe queue arn:/,
    )
    await sns.query('Subscribe', [
      ['TopicArn', arn('sns', topic)],
      ['Protocol', 'sqs'],
      ['Endpoint', arn('sqs', app)],
    ]) // prettier-ignore
    const calls = counter()
    await using _subscription = await bound.subscribe(topic, {}, async ({ data }) => calls.add(data.toString()))
    await send(bound, topic, 'four')
    await calls.until(1)
  })

  it('says what is wrong at the start, and nothing of the key', async () => {
    const { app } = fresh()
    for (const [settings, words] of [
      [{ messageVisibilityTimeout: '0' }, 'messageVisibilityTimeout must be greater than 0'],
      [{ messageRetryLimit: '1' }, 'messageRetryLimit must be greater than 1'],
      [
        { messageReceiveLimit: '1' },
        'to use SQS dead letters queue, messageReceiveLimit and sqsDeadLettersQueueName must both be set to a value',
      ],
      [{ messageMaxNumber: '11' }, 'messageMaxNumber must be less than or equal to 10'],
      [{ concurrencyMode: 'some' }, 'invalid concurrencyMode some; expected parallel, single or a number of handlers'],
    ] as const)
      await assert.rejects(open(app, settings), { message: words })
    await assert.rejects(
      open(app, { secretKey: 'wrong-canary' }),
      ({ message }: Error) =>
        /error fetching sts caller ID: operation error STS: GetCallerIdentity, .*SignatureDoesNotMatch/.test(message) &&
        !message.includes('canary'),
    )
    await assert.rejects(open(app, { endpoint: 'http://127.0.0.1:1' }), /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await using named = await open(app, { endpoint: 'http://127.0.0.1:1', accountID: '123456789012' })
    await assert.rejects(named.ping?.(AbortSignal.timeout(5000)) ?? Promise.resolve(), /no answer of 127\.0\.0\.1:1/)
    await assert.rejects(send(named, 't', 'x'), /error getting topic ARN for t: .*no answer of 127\.0\.0\.1:1/)
  })
})
