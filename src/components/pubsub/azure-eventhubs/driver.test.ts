import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { connectionStringTo, cutOff, eventHubs, makeHub, type SdkEvent, sdk } from '../../../../test/servers/eventhubs.ts'
import { help, ownServer, serverOf } from '../../../../test/servers/server.ts'
import type { BulkEntry } from '../../../blocks/pubsub/driver.ts'
import { Inbox } from '../../../blocks/pubsub/inbox.ts'
import { readBlobSettings } from '../../azure/blob-settings.ts'
import { CheckpointStore } from '../../azure/eventhubs/checkpoint-store.ts'
import { StorageClient } from '../../azure/storage-client.ts'
import { connectionTo } from '../../azure/testing.ts'
import { opener } from './testing.ts'

const server = await ownServer(eventHubs)
const storage = await serverOf(azurite)
after(() => Promise.all([server?.stop(), storage?.stop()]))
const missing = (!server && help(eventHubs)) || (!storage && help(azurite)) || false
const open = opener(server, storage)
const address = server?.address ?? ''

const fresh = () => ({ topic: `topic-${randomUUID()}`, app: `app-${randomUUID()}` })
const ordered = { enableInOrderMessageDelivery: 'true' }
const numbered = (count: number) => Array.from({ length: count }, (_, index) => String(index))
const entriesOf = (values: readonly string[], key = ''): BulkEntry[] =>
  values.map((value) => {
    const metadata: Record<string, string> = key === '' ? {} : { partitionKey: key }
    return { entryId: value, data: Buffer.from(value), contentType: 'text/plain', metadata }
  })

/** The store that a component of this app writes for the topic. */
function storeOf(topic: string, group: string) {
  const client = new StorageClient(
    readBlobSettings({ containerName: 'checkpoints', connectionString: connectionTo(storage?.address ?? '') }),
  )
  const { host } = new URL(address)
  const store = new CheckpointStore(client, { namespace: host, hub: topic, group })
  return { store, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() }
}

/** Resolves when `holds` does. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 15_000; !(await holds()); ) {
    assert.ok(Date.now() < end, 'it does not come to pass in 15 s')
    await new Promise((wake) => setTimeout(wake, 20))
  }
}

describe('pubsub.azure.eventhubs', { skip: missing, concurrency: true, timeout: 60_000 }, () => {
  it('exchanges events with Azure’s SDK, with keys, ids, times and application properties', async () => {
    const { topic, app } = fresh()
    const { EventHubProducerClient, EventHubConsumerClient } = await sdk()
    await using pubsub = await open(app)
    const inbox = new Inbox()
    await using _ = await pubsub.subscribe(topic, { requireAllProperties: 'true' }, inbox.handler)

    const producer = new EventHubProducerClient(connectionStringTo(address), topic)
    const batch = await producer.createBatch({ partitionKey: 'device-1' })
    batch.tryAdd({ body: Buffer.from('raw'), properties: { text: 'ü', count: 5, on: true, at: new Date(0) } })
    batch.tryAdd({ body: { json: 1 } })
    await producer.sendBatch(batch)
    await producer.close()
    await inbox.until((texts) => texts.length === 2)
    const [first, second] = inbox.messages.toSorted((a, b) => Number(a.metadata['x-opt-offset']) - Number(b.metadata['x-opt-offset']))
    const { 'x-opt-enqueued-time': time, 'x-opt-offset': offset, ...metadata } = first?.metadata ?? {}
    assert.match(time ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.equal(offset, '0')
    assert.deepEqual(metadata, {
      ...{ 'x-opt-sequence-number': '0', 'x-opt-partition-key': 'device-1' },
      ...{ text: 'ü', count: '5', on: 'true', at: '1970-01-01T00:00:00Z' },
    })
    assert.deepEqual([first?.data.toString(), second?.data.toString(), second?.metadata.text], ['raw', '{"json":1}', undefined])

    await pubsub.publish({ topic, data: Buffer.from('"ours"'), contentType: 'application/json', metadata: { partitionKey: 'k' } })
    assert.deepEqual(await pubsub.bulkPublish?.(topic, entriesOf(['"one"', '"two"'], 'k'), {}), [])
    const consumer = new EventHubConsumerClient('another', connectionStringTo(address), topic)
    const seen: SdkEvent[] = []
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const processEvents = async (events: SdkEvent[]) => {
      seen.push(...events)
      if (seen.length >= 5) resolve()
    }
    const reading = consumer.subscribe({ processEvents, processError: async (error) => reject(error) }, { startPosition: { offset: '-1' } })
    await promise
    await reading.close()
    await consumer.close()
    const bodies = seen
      .slice(2)
      .map(({ body, partitionKey, contentType, messageId }) => [body, partitionKey, contentType, typeof messageId])
    assert.deepEqual(bodies, [
      ['ours', 'k', 'application/json', 'string'],
      ['one', 'k', 'text/plain', 'string'],
      ['two', 'k', 'text/plain', 'string'],
    ])
  })

  it('keeps application properties to itself unless they are asked for', async () => {
    const { topic, app } = fresh()
    const { EventHubProducerClient } = await sdk()
    await using plain = await open(app)
    await using all = await open(`${app}-all`, { getAllMessageProperties: 'true' })
    const [one, other] = [new Inbox(), new Inbox()]
    await using _plain = await plain.subscribe(topic, {}, one.handler)
    await using _all = await all.subscribe(topic, {}, other.handler)
    const producer = new EventHubProducerClient(connectionStringTo(address), topic)
    const batch = await producer.createBatch()
    batch.tryAdd({ body: 'x', properties: { own: 'yes' } })
    await producer.sendBatch(batch)
    await producer.close()
    await Promise.all([one, other].map((inbox) => inbox.until((texts) => texts.length === 1)))
    assert.deepEqual([one.messages[0]?.metadata.own, other.messages[0]?.metadata.own], [undefined, 'yes'])
  })

  it('keeps checkpoints behind what is handled, and begins a group with what comes from now on', async () => {
    const { topic, app } = fresh()
    await makeHub(address, topic, 2)
    await using place = storeOf(topic, app)
    const checkpoint = async (partition = '0') => (await place.store.checkpoints(AbortSignal.timeout(5000))).get(partition)
    await using pubsub = await open(app)
    for (const value of ['before', 'also before'])
      await pubsub.publish({ topic, data: Buffer.from(value), metadata: { partitionKey: 'one' } })
    const gate = Promise.withResolvers<void>()
    const inbox = new Inbox()
    {
      await using _ = await pubsub.subscribe(topic, {}, async (message) => {
        if (String(message.data) === 'slow') await gate.promise
        inbox.add(message)
      })
      const began = [await checkpoint('0'), await checkpoint('1')]
      assert.deepEqual(began.map((one) => one?.sequence).sort(), [-1, 1])
      const at = began[0]?.sequence === 1 ? '0' : '1'
      for (const value of ['slow', 'quick']) await pubsub.publish({ topic, data: Buffer.from(value), metadata: { partitionKey: 'one' } })
      await inbox.until((texts) => texts.includes('quick'))
      assert.equal((await checkpoint(at))?.sequence, 1, 'what is behind a message that is not handled does not count')
      gate.resolve()
      await until(async () => (await checkpoint(at))?.sequence === 3)
    }
    assert.deepEqual(inbox.texts, ['quick', 'slow'])
    const { ownerships } = await place.store.ownerships(AbortSignal.timeout(5000))
    assert.deepEqual(
      ownerships.map(({ owner }) => owner),
      ['', ''],
      'both are given back',
    )
  })

  it('writes checkpoints as often as a subscription wants, and none at all for 0', async () => {
    const { topic, app } = fresh()
    const sequence = async (group: string) => {
      await using place = storeOf(topic, group)
      return (await place.store.checkpoints(AbortSignal.timeout(5000))).get('0')?.sequence
    }
    await using seldom = await open(app, ordered)
    await using never = await open(`${app}-never`, ordered)
    const inbox = new Inbox()
    const other = new Inbox()
    {
      await using _seldom = await seldom.subscribe(topic, { checkPointFrequencyPerPartition: '5' }, inbox.handler)
      await using _never = await never.subscribe(topic, { checkPointFrequencyPerPartition: '0' }, other.handler)
      for (const value of numbered(7)) await seldom.publish({ topic, data: Buffer.from(value), metadata: {} })
      for (const one of [inbox, other]) await one.until((texts) => texts.length === 7)
      await until(async () => (await sequence(app)) === 4)
    }
    assert.equal(await sequence(app), 6, 'the last one is noted when the subscription ends')
    assert.equal(await sequence(`${app}-never`), undefined)
  })

  it('goes on where it was after the connection is cut off, and publishes again', async () => {
    const { topic, app } = fresh()
    const own = await eventHubs.start()
    try {
      await using pubsub = await opener(own, storage)(app, ordered)
      const inbox = new Inbox()
      await using _ = await pubsub.subscribe(topic, {}, inbox.handler)
      for (const value of numbered(30)) {
        await pubsub.publish({ topic, data: Buffer.from(value), metadata: {} })
        if (value === '10' || value === '20') await cutOff(own.address)
      }
      await inbox.until((texts) => texts.length >= 30)
      assert.deepEqual([...new Set(inbox.texts)], numbered(30))
    } finally {
      await own.stop()
    }
  })

  it('passes a message over when it was tried often enough, in its place', async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app, { ...ordered, backOffMaxRetries: '2', backOffDuration: '10ms' })
    const tries: string[] = []
    const inbox = new Inbox()
    await using _ = await pubsub.subscribe(topic, {}, async (message) => {
      tries.push(String(message.data))
      if (String(message.data) === 'bad') throw new Error('not this one')
      inbox.add(message)
    })
    for (const value of ['bad', 'good']) await pubsub.publish({ topic, data: Buffer.from(value), metadata: {} })
    await inbox.until((texts) => texts.length === 1)
    assert.deepEqual(tries, ['bad', 'bad', 'bad', 'good'])
  })

  it('gives whole batches in order', async () => {
    const { topic, app } = fresh()
    await using pubsub = await open(app, ordered)
    assert.equal(pubsub.givesBatches, true)
    const inbox = new Inbox()
    let [underWay, most] = [0, 0]
    const handler = async (message: Parameters<typeof inbox.handler>[0]) => {
      most = Math.max(most, ++underWay)
      inbox.add(message)
      await new Promise((wake) => setImmediate(wake))
      underWay--
    }
    await using _ = await pubsub.subscribe(topic, {}, handler, { batch: 10, wait: 200 })
    await pubsub.bulkPublish?.(topic, entriesOf(numbered(25)), {})
    await inbox.until((texts) => texts.length === 25)
    assert.deepEqual(inbox.texts, numbered(25))
    assert.equal(most, 10)
  })

  it('publishes lists larger than one request, each key to its partition, and refuses what fits nowhere', async () => {
    const { topic, app } = fresh()
    await makeHub(address, topic, 4)
    await using pubsub = await open(app)
    const inbox = new Inbox()
    await using _ = await pubsub.subscribe(topic, {}, inbox.handler)
    const large = numbered(40).map((value) => value.padEnd(100_000, '.'))
    const lists = [...entriesOf(large.slice(0, 20), 'a'), ...entriesOf(large.slice(20), 'b')]
    assert.deepEqual(await pubsub.bulkPublish?.(topic, lists, {}), [])
    await inbox.until((texts) => texts.length === 40)
    for (const key of ['a', 'b']) assert.equal(inbox.messages.filter(({ metadata }) => metadata['x-opt-partition-key'] === key).length, 20)
    assert.deepEqual(await pubsub.bulkPublish?.(topic, entriesOf(['one', 'two']), { maxBulkPubBytes: '300' }), [])

    const tooLarge = 'error adding messages to batch: the EventData could not be added because it is too large for the batch'
    const whole = Buffer.alloc(1 << 20)
    await assert.rejects(pubsub.publish({ topic, data: whole, metadata: {} }), { message: tooLarge })
    const failed = await pubsub.bulkPublish?.(topic, [...entriesOf(['x']), ...entriesOf(['y']).map((one) => ({ ...one, data: whole }))], {})
    assert.deepEqual(
      failed?.map(({ error }) => error.message),
      [tooLarge, tooLarge],
    )
    const [over] = (await pubsub.bulkPublish?.(topic, entriesOf(['x']), { maxBulkPubBytes: '9999999' })) ?? []
    assert.equal(
      over?.error.message,
      'error creating event batch: maximum message size for batch was set to 9999999 bytes, which is larger than the maximum size allowed by link (1048576)',
    )
  })

  it('shares the partitions of a hub with another member of its group', async () => {
    const { topic, app } = fresh()
    await makeHub(address, topic, 2)
    await using one = await open(app)
    await using other = await open(`${app}-other`, { consumerGroup: app })
    const [first, second] = [new Inbox(), new Inbox()]
    await using _first = await one.subscribe(topic, {}, first.handler)
    await using _second = await other.subscribe(topic, {}, second.handler)
    const keys = numbered(12)
    await one.bulkPublish?.(
      topic,
      keys.flatMap((key) => entriesOf([key], key)),
      {},
    )
    await until(async () => first.texts.length + second.texts.length === keys.length)
    assert.deepEqual([...first.texts, ...second.texts].sort(), keys.toSorted())
    assert.ok(first.texts.length > 0 && second.texts.length > 0, `${first.texts.length} and ${second.texts.length}`)
  })

  it('says what is wrong, and nothing of a key', async () => {
    const { topic, app } = fresh()
    await assert.rejects(open(app, { connectionString: '' }), { message: 'one of connectionString or eventHubNamespace is required' })
    await assert.rejects(open(app, { eventHubNamespace: 'hubs' }), {
      message: 'only one of connectionString or eventHubNamespace should be passed',
    })
    await assert.rejects(open(app, { connectionString: '', eventHubNamespace: 'hubs', enableEntityManagement: 'true' }), {
      message: /^metadata field enableEntityManagement: .* make them in Azure/,
    })
    await assert.rejects(open(app, { connectionString: 'Endpoint=sb://a;SharedAccessKey=canary' }), (error: Error) => {
      assert.match(error.message, /^metadata field connectionString: it needs SharedAccessKeyName/)
      return !error.message.includes('canary')
    })
    await using specific = await open(app, { connectionString: connectionStringTo(address, { hub: 'other' }) })
    const words = `the requested topic '${topic}' does not match the Event Hub name in the connection string`
    const send = { topic, data: Buffer.from('x'), metadata: {} }
    await assert.rejects(specific.publish(send), { message: `error trying to establish a connection: ${words}` })
    await assert.rejects(
      specific.subscribe(topic, {}, async () => {}),
      { message: words },
    )

    await using wrong = await open(app, { connectionString: connectionStringTo(address, { key: 'canary' }) })
    await assert.rejects(wrong.publish(send), (error: Error) => {
      assert.match(error.message, /^error trying to establish a connection: .*refuses the token for sb:\/\/.*InvalidSignature/)
      return !error.message.includes('canary')
    })
    await using pubsub = await open(app, { storageConnectionString: '' })
    await assert.rejects(
      pubsub.publish({ ...send, topic: 'absent-hub' }),
      /^Error: error .*: The messaging entity 'absent-hub' could not be found/,
    )
    await assert.rejects(pubsub.publish({ ...send, topic: '' }), { message: "parameter 'topic' is required" })
    const needs = (name: string) => ({ message: `property ${name} is required to subscribe to an Event Hub topic` })
    await assert.rejects(
      pubsub.subscribe(topic, {}, async () => {}),
      needs('storageAccountName'),
    )
    await using uncontained = await open(app, { storageContainerName: '' })
    await assert.rejects(
      uncontained.subscribe(topic, {}, async () => {}),
      needs('storageContainerName'),
    )
    await using away = await open(app, { storageConnectionString: connectionTo('http://127.0.0.1:1') })
    await assert.rejects(
      away.subscribe(topic, {}, async () => {}),
      /^Error: unable to connect to the checkpoint store: .*ECONNREFUSED/,
    )
    await using missingHub = await open(app)
    await assert.rejects(
      missingHub.subscribe('absent-hub', {}, async () => {}),
      /event hub absent-hub: .*could not be found/,
    )
  })
})
