import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { type OwnPulsar, pulsar, startPulsar } from '../../../../test/servers/pulsar.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import type { DeliveredMessage, PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { NoRoomError } from '../../no-room.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

function create(properties: Record<string, string>, appId = 'app'): PubSub {
  return driver.create({ name: 'orders', type: 'pubsub.pulsar', version: 'v1', properties, appId, namespace: '', log })
}

/** Collects messages; `until` waits for a number of them. */
function collector() {
  const messages: DeliveredMessage[] = []
  let wake = () => {}
  return {
    messages,
    texts: () => messages.map(({ data }) => data.toString()),
    add: async (message: DeliveredMessage) => {
      messages.push(message)
      wake()
    },
    async until(count: number) {
      while (messages.length < count) await new Promise<void>((resolve) => (wake = resolve))
    },
  }
}

const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

describe('pubsub.pulsar, its settings', () => {
  const refused: [string, Record<string, string>, RegExp][] = [
    ['no host', {}, /pulsar error: missing pulsar host/],
    ['a host that is no address', { host: 'pulsar://user@x' }, /host is not host:port/],
    ['another scheme', { host: 'amqp://x' }, /amqp:\/\/ is not supported/],
    ['a subscription type', { subscribeType: 'odd' }, /invalid subscription type. Accepted values are `exclusive`, `shared`/],
    ['a position', { subscribeInitialPosition: 'odd' }, /invalid subscription initial position/],
    ['a mode', { subscribeMode: 'odd' }, /invalid subscription mode/],
    ['a compression', { compressionType: 'odd' }, /invalid compression type/],
    ['a level', { compressionLevel: 'odd' }, /invalid compression level/],
    ['a process mode', { processMode: 'odd' }, /invalid processMode "odd": accepted values are "async" and "sync"/],
    ['encryption', { publicKey: 'key.pem' }, /metadata field publicKey: end-to-end encryption is not supported/],
    ['a schema', { 't.avroschema': '{"type":"record"}' }, /failed to parse avro schema for topic "t"/],
    ['a raw schema', { 't.rawschema': 'perhaps' }, /invalid value for "t.rawschema"/],
    ['scopes that are missing', { oauth2TokenURL: 'http://x', oauth2Audiences: 'a' }, /requires at least one scope/],
    ['audiences that are missing', { oauth2TokenURL: 'http://x', oauth2Scopes: 'a' }, /requires at least one audience/],
    ['two sources of a secret', { oauth2CredentialsFile: 'a', oauth2ClientSecretPath: 'b' }, /mutually exclusive/],
  ]
  for (const [what, properties, message] of refused)
    it(`refuses ${what} in words`, () => {
      const all: Record<string, string> = what === 'no host' ? {} : { host: 'localhost:6650', ...properties }
      assert.throws(() => create(all), message)
    })

  it('names the broker that does not answer, and the next step', async () => {
    await using pubsub = create({ host: '127.0.0.1:1', publishTimeout: '1s' })
    await assert.rejects(pubsub.init(AbortSignal.timeout(5000)), /127\.0\.0\.1:1.*ECONNREFUSED.*start the broker or correct.*host/)
  })
})

describe('pubsub.pulsar', { skip: pulsar.available() ? false : help(pulsar) }, () => {
  const topic = () => `topic-${randomUUID()}`
  let broker: OwnPulsar
  before(async () => {
    // Also says that it is missing where it has to be there.
    if (!pulsar.available()) return void (await ownServer(pulsar))
    broker = await startPulsar({ backlogQuotaCheckIntervalInSeconds: 1 })
  })
  after(() => broker?.stop())

  const open = async (properties: Record<string, string> = {}, appId = `app-${randomUUID()}`) => {
    const pubsub = create({ host: broker.address, redeliveryDelay: '50ms', subscribeInitialPosition: 'earliest', ...properties }, appId)
    await pubsub.init(AbortSignal.timeout(10_000))
    return pubsub
  }
  const admin = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const init = body === undefined ? { method } : { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const reply = await fetch(`${broker.admin}/${path}`, init)
    const text = await reply.text()
    assert.ok(reply.ok, `${method} ${path}: ${reply.status} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }

  it('uses all partitions of a topic, and one for each key', limit, async () => {
    const name = topic()
    await admin('PUT', `persistent/public/default/${name}/partitions`, 3)
    await using pubsub = await open({ disableBatching: 'true' })
    const got = collector()
    await using _ = await pubsub.subscribe(name, {}, got.add)
    for (let n = 0; n < 6; n++) await send(pubsub, name, `free ${n}`)
    for (let n = 0; n < 6; n++) await send(pubsub, name, `keyed ${n}`, { partitionKey: 'b' })
    await got.until(12)
    assert.deepEqual(got.texts().sort(), [...Array(6).keys()].flatMap((n) => [`free ${n}`, `keyed ${n}`]).sort())
    const { partitions } = (await admin('GET', `persistent/public/default/${name}/partitioned-stats`)) as {
      partitions: Record<string, { msgInCounter: number }>
    }
    // Two each in turn, and the six of the key: 98 % 3 is 2.
    assert.deepEqual(
      [0, 1, 2].map((n) => partitions[`persistent://public/default/${name}-partition-${n}`]?.msgInCounter),
      [2, 2, 8],
    )
  })

  it('gives again only what failed of a batch', limit, async () => {
    const name = topic()
    await using pubsub = await open()
    const tries = new Map<string, number>()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = await pubsub.subscribe(name, {}, async ({ data }) => {
      const text = data.toString()
      tries.set(text, (tries.get(text) ?? 0) + 1)
      if (text === '2' && tries.get(text) === 1) throw new Error('not now')
      if (text === '2') resolve()
    })
    const entries = ['0', '1', '2', '3'].map((text) => ({ entryId: text, data: Buffer.from(text), contentType: '', metadata: {} }))
    assert.deepEqual(await pubsub.bulkPublish?.(name, entries, {}), [])
    await promise
    const { msgInCounter, bytesInCounter } = (await admin('GET', `persistent/public/default/${name}/stats`)) as Record<string, number>
    assert.ok(bytesInCounter && msgInCounter === 4)
    assert.deepEqual(Object.fromEntries(tries), { 0: 1, 1: 1, 2: 2, 3: 1 })
  })

  it('delivers later, by a time or a duration', limit, async () => {
    const name = topic()
    await using pubsub = await open()
    const got = collector()
    await using _ = await pubsub.subscribe(name, {}, got.add)
    const began = Date.now()
    await send(pubsub, name, 'after', { deliverAfter: '1500ms' })
    await send(pubsub, name, 'at', { deliverAt: new Date(began + 1500).toISOString() })
    await send(pubsub, name, 'now', { colour: 'red' })
    await got.until(3)
    assert.deepEqual(got.texts()[0], 'now')
    assert.deepEqual({ ...got.messages[0]?.metadata }, { colour: 'red' })
    // The broker looks once a second, and up to half a second early by its own settings.
    assert.ok(Date.now() - began >= 1000, `${Date.now() - began} ms`)
    await assert.rejects(send(pubsub, name, 'x', { deliverAt: 'soon' }), /deliverAt: "soon" is not a time/)
    await assert.rejects(send(pubsub, name, 'x', { deliverAfter: '5' }), /deliverAfter: "5" is not a duration/)
  })

  it('keeps what is acknowledged while the broker is killed, and goes on by itself', limit, async () => {
    const name = topic()
    await using pubsub = await open({ publishTimeout: '30s' })
    const got = collector()
    await using _ = await pubsub.subscribe(name, {}, got.add)
    const sent: Promise<void>[] = []
    for (let n = 0; n < 200; n++) sent.push(send(pubsub, name, `${n}`))
    await got.until(1)
    await broker.kill()
    for (let n = 200; n < 300; n++) sent.push(send(pubsub, name, `${n}`))
    await broker.restart()
    await Promise.all(sent)
    await got.until(300)
    assert.deepEqual(
      [...new Set(got.texts())].sort((a, b) => Number(a) - Number(b)),
      [...Array(300).keys()].map(String),
    )
    await pubsub.ping?.(AbortSignal.timeout(5000))
  })

  it('says that the backlog is full, and goes on when there is room', limit, async () => {
    const namespace = `full-${randomUUID()}`
    const quota = (limitSize: number) =>
      admin('POST', `namespaces/public/${namespace}/backlogQuota?backlogQuotaType=destination_storage`, {
        limitSize,
        limitTime: -1,
        policy: 'producer_exception',
      })
    await admin('PUT', `namespaces/public/${namespace}`, {})
    await quota(10_000)
    await using pubsub = await open({ namespace })
    const name = topic()
    await (await pubsub.subscribe(name, {}, async () => {}))[Symbol.asyncDispose]()
    const fill = async () => {
      for (;;) await send(pubsub, name, 'x'.repeat(5000))
    }
    await assert.rejects(fill(), (error: Error) => {
      assert.ok(error instanceof NoRoomError, String(error))
      assert.match(error.message, /orders: cannot publish to topic .*backlog quota.*set-backlog-quota/)
      return true
    })
    await quota(100_000_000)
    for (;;) {
      const went = await send(pubsub, name, 'again').then(
        () => true,
        (error) => assert.ok(error instanceof NoRoomError, String(error)),
      )
      if (went) break
    }
  })

  it('has topics that keep nothing', limit, async () => {
    const name = topic()
    await using pubsub = await open({ persistent: 'false' })
    const got = collector()
    await using _ = await pubsub.subscribe(name, {}, got.add)
    await send(pubsub, name, 'passing')
    await got.until(1)
    assert.deepEqual(got.texts(), ['passing'])
  })

  it('gives each key to one member with key_shared, in order', limit, async () => {
    const name = topic()
    await using pubsub = await open({ maxConcurrentHandlers: '1', compressionType: 'lz4' })
    const [one, two] = [collector(), collector()]
    await using _one = await pubsub.subscribe(name, { subscribeType: 'key_shared' }, one.add)
    await using _two = await pubsub.subscribe(name, { subscribeType: 'key_shared' }, two.add)
    const sent: Promise<void>[] = []
    for (let n = 0; n < 100; n++) sent.push(send(pubsub, name, `${n % 10} ${n}`, { partitionKey: `key ${n % 10}` }))
    await Promise.all(sent)
    while (one.messages.length + two.messages.length < 100)
      await Promise.race([one.until(one.messages.length + 1), two.until(two.messages.length + 1)])
    const seen = [one, two].map((member) => new Set(member.texts().map((text) => text.split(' ')[0])))
    assert.equal((seen[0]?.size ?? 0) + (seen[1]?.size ?? 0), 10, 'no key is with both')
    assert.ok(seen[0]?.size && seen[1]?.size, 'both have some')
    for (const member of [one, two]) {
      const last = new Map<string, number>()
      for (const [key = '', n] of member.texts().map((text) => text.split(' '))) {
        assert.ok((last.get(key) ?? -1) < Number(n))
        last.set(key, Number(n))
      }
    }
  })

  it('tells the second of an exclusive subscription', limit, async () => {
    const name = topic()
    await using first = await open({ subscribeType: 'exclusive', publishTimeout: '1s' }, 'same')
    await using second = await open({ subscribeType: 'exclusive', publishTimeout: '1s' }, 'same')
    await using _ = await first.subscribe(name, {}, async () => {})
    await assert.rejects(
      second.subscribe(name, {}, async () => {}),
      /orders: cannot subscribe to topic .*ConsumerBusy/,
    )
  })

  it('looks up by HTTP where the host says so', limit, async () => {
    const name = topic()
    await using pubsub = await open({ host: new URL(broker.admin).origin })
    const got = collector()
    await using _ = await pubsub.subscribe(name, {}, got.add)
    await send(pubsub, name, 'by http')
    await got.until(1)
    assert.deepEqual(got.texts(), ['by http'])
  })

  it('refuses a message that is too large for the broker, and takes the others', limit, async () => {
    const name = topic()
    await using pubsub = await open()
    await assert.rejects(send(pubsub, name, 'x'.repeat(6 * 2 ** 20)), /larger than Pulsar takes \(5242880 bytes\)/)
    await send(pubsub, name, 'x')
    await assert.rejects(send(pubsub, name, 'x'.repeat(6 * 2 ** 20)), /larger than Pulsar takes/)
  })

  const event = {
    type: 'record',
    name: 'Example',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'name', type: ['null', 'string'], default: null },
    ],
  }
  for (const protocol of ['avro', 'json'])
    it(`checks what is published against the ${protocol} schema of a topic`, limit, async () => {
      const [name, raw] = [topic(), topic()]
      await using pubsub = await open({
        [`${name}.${protocol}schema`]: JSON.stringify(event),
        [`${raw}.${protocol}schema`]: JSON.stringify(event),
        [`${raw}.rawschema`]: 'true',
      })
      const got = collector()
      await using _ = await pubsub.subscribe(name, {}, got.add)
      await using _raw = await pubsub.subscribe(raw, {}, got.add)
      const envelope = { id: '1', source: 'test', specversion: '1.0', type: 'test' }
      await send(pubsub, name, JSON.stringify({ ...envelope, data: '{"id":7}' }))
      await got.until(1)
      const first = JSON.parse(got.texts()[0] as string) as { id: string; data: { id: number } }
      assert.deepEqual([first.id, first.data.id], ['1', 7])
      await send(pubsub, raw, '{"id":-3,"name":"ünï"}', { rawPayload: 'true' })
      await got.until(2)
      assert.deepEqual(JSON.parse(got.texts()[1] as string), { id: -3, name: 'ünï' })
      await assert.rejects(
        send(pubsub, name, JSON.stringify({ ...envelope, data: { id: 'x' } })),
        new RegExp(`${protocol} schema validation failed`),
      )
      await assert.rejects(send(pubsub, raw, '{"id":1}'), /rawschema=true topics require per-message rawPayload=true/)
      const found = (await admin('GET', `schemas/public/default/${name}/schema`)) as { type: string; data: string }
      const { name: title, fields } = JSON.parse(found.data) as { name: string; fields: { name: string }[] }
      assert.deepEqual([found.type, title, fields.length, fields[13]?.name], [protocol.toUpperCase(), 'CloudEvent', 15, 'data'])
    })

  for (const compressionType of ['lz4', 'zlib', 'zstd'])
    it(`compresses with ${compressionType}`, limit, async () => {
      const name = topic()
      await using pubsub = await open({ compressionType, compressionLevel: 'better' })
      const got = collector()
      await using _ = await pubsub.subscribe(name, {}, got.add)
      const text = 'the same again '.repeat(1000)
      await Promise.all([send(pubsub, name, text), send(pubsub, name, `${text}!`), send(pubsub, name, '')])
      await got.until(3)
      assert.deepEqual(got.texts().sort(), ['', text, `${text}!`])
      const { bytesInCounter = 0 } = (await admin('GET', `persistent/public/default/${name}/stats`)) as Record<string, number>
      assert.ok(bytesInCounter < 3000, `${bytesInCounter} bytes`)
    })
})
