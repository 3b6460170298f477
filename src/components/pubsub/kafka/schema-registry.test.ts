import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, it } from 'node:test'
import { kafka } from '../../../../test/servers/kafka.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import type { DeliveredMessage, PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { makeTopic } from '../../kafka/testing.ts'
import { driver } from './driver.ts'

const server = await serverOf(kafka)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

/** A stand-in for a schema registry: the two questions of Confluent's API that are asked, with a password. */
async function startRegistry() {
  const schemas: { id: number; subject: string; schema: string; schemaType?: string }[] = []
  const asked: string[] = []
  const http = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '')
    asked.push(path)
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' }).end(JSON.stringify(body))
    if (request.headers.authorization !== `Basic ${Buffer.from('me:pass').toString('base64')}`)
      return answer(401, { error_code: 401, message: 'Unauthorized' })
    const [, subject] = /^\/api\/subjects\/(.*)\/versions\/latest$/.exec(path) ?? []
    const [, id] = /^\/api\/schemas\/ids\/(\d+)$/.exec(path) ?? []
    const found = subject ? schemas.findLast((one) => one.subject === subject) : schemas.find((one) => String(one.id) === id)
    if (found) answer(200, { ...found, version: 1 })
    else answer(404, { error_code: 40401, message: `Subject '${subject}' not found.` })
  }).listen(0, '127.0.0.1')
  await once(http, 'listening')
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/api`,
    asked,
    add: (topic: string, schema: unknown, more: { schemaType?: string } = {}) =>
      schemas.push({ id: schemas.length + 1, subject: `${topic}-value`, schema: JSON.stringify(schema), ...more }),
    stop: () => http.close(),
  }
}

const order = (...more: unknown[]) => ({
  type: 'record',
  name: 'Order',
  fields: [{ name: 'id', type: 'long' }, { name: 'note', type: ['null', 'string'], default: null }, ...more],
})

describe('pubsub.kafka with a schema registry', { skip: server === undefined ? 'Kafka is not on this machine' : false }, async () => {
  const registry = await startRegistry()
  after(() => registry.stop())
  after(() => server?.stop())
  const open = async (properties: Record<string, string> = {}): Promise<PubSub> => {
    const pubsub = driver.create({
      name: 'orders',
      type: 'pubsub.kafka',
      version: 'v1',
      properties: {
        ...{ brokers: server?.address ?? '', authType: 'none', initialOffset: 'oldest' },
        ...{ schemaRegistryURL: registry.url, schemaRegistryAPIKey: 'me', schemaRegistryAPISecret: 'pass' },
        ...properties,
      },
      appId: `app-${randomUUID()}`,
      namespace: 'default',
      log,
    })
    await pubsub.init(AbortSignal.timeout(10_000))
    return pubsub
  }
  const avro = { valueSchemaType: 'Avro', rawPayload: 'true' }
  const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = avro) =>
    pubsub.publish({ topic, data: Buffer.from(text), metadata })
  const topicOf = async () => {
    const topic = `topic-${randomUUID()}`
    await makeTopic(server?.address ?? '', topic, 1)
    return topic
  }
  /** The first `count` messages of a topic, as a subscription with this metadata gets them. */
  const read = async (pubsub: PubSub, topic: string, metadata: Record<string, string>, count: number) => {
    const messages: DeliveredMessage[] = []
    const all = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe(topic, metadata, async (message) => {
      if (messages.push(message) === count) all.resolve()
    })
    await all.promise
    return messages.map(({ data }) => data)
  }

  it('values travel as Avro of the newest schema, and each is read by its own', { timeout: 60_000 }, async () => {
    const topic = await topicOf()
    registry.add(topic, order())
    await using pubsub = await open()
    await using uncached = await open({ schemaCachingEnabled: 'false' })
    await send(pubsub, topic, '{"id":9007199254740993,"note":"ü"}')
    registry.add(topic, order({ name: 'sum', type: 'double', default: 0.5 }))
    await send(pubsub, topic, '{"id":2}')
    await send(uncached, topic, '{"id":3,"sum":5}')
    await send(pubsub, topic, 'null')
    await send(pubsub, topic, '{"plain":true}', { valueSchemaType: 'none' })
    const raw = await read(pubsub, topic, {}, 5)
    assert.equal(raw[0]?.toString('hex'), '000000000182808080808080200204c3bc')
    await using other = await open()
    const texts = await read(other, topic, avro, 4).then((values) => values.map(String))
    assert.deepEqual(texts, ['{"id":9007199254740993,"note":"ü"}', '{"id":2,"note":null}', '{"id":3,"note":null,"sum":5}', 'null'])
    // Twice the newest of one, and each by its number once.
    assert.equal(registry.asked.filter((path) => path.includes(topic)).length, 2)
    assert.equal(registry.asked.filter((path) => path === '/api/schemas/ids/1').length, 1)
  })

  it('in JSON with the names of members, where that is asked for', { timeout: 60_000 }, async () => {
    const topic = await topicOf()
    registry.add(topic, order())
    await using pubsub = await open({ useAvroJSON: 'true' })
    await send(pubsub, topic, '{"id":1,"note":{"string":"x"}}')
    assert.deepEqual((await read(pubsub, topic, avro, 1)).map(String), ['{"id":1,"note":{"string":"x"}}'])
  })

  it('says what is wrong with event, schema, registry and settings', { timeout: 60_000 }, async () => {
    const topic = await topicOf()
    await using pubsub = await open()
    await assert.rejects(
      send(pubsub, topic, '{}'),
      /subject .*-value at the schema registry 127\.0\.0\.1:\d+: status 404: Subject .* not found\. \(register the schema first\)/,
    )
    registry.add(topic, order())
    await assert.rejects(send(pubsub, topic, '{"id":"x"}'), /the event does not fit schema \d+ of .*-value: id is no long/)
    await assert.rejects(send(pubsub, topic, 'text'), /valueSchemaType Avro wants JSON/)
    await assert.rejects(
      send(pubsub, topic, '{}', { valueSchemaType: 'Protobuf' }),
      /'Protobuf' is not a supported value: use Avro or None/,
    )
    await assert.rejects(
      pubsub.subscribe(topic, { valueSchemaType: 'x' }, async () => {}),
      /'x' is not a supported value/,
    )
    const proto = await topicOf()
    registry.add(proto, {}, { schemaType: 'PROTOBUF' })
    await assert.rejects(send(pubsub, proto, '{}'), /is of type PROTOBUF and not Avro/)
    await using stranger = await open({ schemaRegistryAPISecret: 'hidden' })
    await assert.rejects(send(stranger, topic, '{"id":1}'), (error: Error) => {
      assert.match(error.message, /status 401: Unauthorized \(correct schemaRegistryAPIKey and schemaRegistryAPISecret\)/)
      assert.doesNotMatch(error.message, /hidden/)
      return true
    })
    await using without = await open({ schemaRegistryURL: '' })
    await assert.rejects(send(without, topic, '{"id":1}'), /schema registry details not set: .*schemaRegistryURL/)
    await assert.rejects(open({ schemaRegistryURL: 'nowhere' }), /schemaRegistryURL: "nowhere" is not an http or https URL/)
    await using gone = await open({ schemaRegistryURL: 'http://127.0.0.1:1' })
    await assert.rejects(send(gone, topic, '{"id":1}'), /no answer about subject .*\(start it or correct schemaRegistryURL\)/)
  })
})
