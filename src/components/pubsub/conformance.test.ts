import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { kafka } from '../../../test/servers/kafka.ts'
import { mosquitto } from '../../../test/servers/mosquitto.ts'
import { nats } from '../../../test/servers/nats.ts'
import { rabbitmq } from '../../../test/servers/rabbitmq.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { help, ownServer, serverOf } from '../../../test/servers/server.ts'
import { type ConformanceOptions, pubsubConformance } from '../../blocks/pubsub/conformance.ts'
import type { PubSub } from '../../blocks/pubsub/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { makeTopic } from '../kafka/testing.ts'
import { pubsubDrivers } from './registry.ts'
import { makeStream } from './testing/stream.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

async function openDriver(type: string, appId: string, properties: Record<string, string>): Promise<PubSub> {
  const row = pubsubDrivers.find((candidate) => candidate.type === type)
  if (row === undefined) throw new Error(`no driver ${type}`)
  const driver = await row.load()
  const pubsub = driver.create({ name: 'pubsub', type, version: 'v1', properties, appId, namespace: 'default', log })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

const directory = mkdtempSync(join(tmpdir(), 'outrider-pubsub-'))
const redis = await redisServer()
const broker = await serverOf(kafka)
const mqtt = await serverOf(mosquitto)
const rabbit = await serverOf(rabbitmq)
// Its stream takes every subject of one word, which would not suit others.
const stream = await ownServer(nats)
// Before the first suite: the hook below runs as soon as no test is left that is known by then.
if (stream !== undefined) await makeStream(stream.address, 'all', ['*'])
after(async () => {
  await redis?.stop()
  await broker?.stop()
  await mqtt?.stop()
  await rabbit?.stop()
  await stream?.stop()
  rmSync(directory, { recursive: true, force: true })
})

const open =
  (type: string, base: Record<string, string>): ConformanceOptions['open'] =>
  ({ appId, properties }) =>
    openDriver(type, appId, { ...base, ...properties })

pubsubConformance('pubsub.in-memory', { open: open('pubsub.in-memory', {}), durable: false, groups: false, contentType: true })
pubsubConformance('pubsub.sqlite', {
  open: open('pubsub.sqlite', { connectionString: join(directory, 'broker.db') }),
  durable: true,
  groups: true,
  contentType: true,
})
if (redis === undefined)
  describe('pub/sub conformance: pubsub.redis', () => it('needs redis-server', { skip: 'redis-server is not on this machine' }, () => {}))
else
  pubsubConformance('pubsub.redis', {
    open: open('pubsub.redis', { redisHost: `${redis.host}:${redis.port}` }),
    durable: true,
    groups: true,
    contentType: false,
  })

if (rabbit === undefined) describe('pub/sub conformance: pubsub.rabbitmq', () => it('needs RabbitMQ', { skip: help(rabbitmq) }, () => {}))
else
  pubsubConformance('pubsub.rabbitmq', {
    // Queues that delete themselves would not outlive their consumers.
    open: open('pubsub.rabbitmq', { connectionString: rabbit.address, deletedWhenUnused: 'false' }),
    durable: true,
    groups: true,
    contentType: false,
    metadata: () => ({}),
  })

if (stream === undefined) describe('pub/sub conformance: pubsub.jetstream', () => it('needs NATS', { skip: help(nats) }, () => {}))
else {
  pubsubConformance('pubsub.jetstream', {
    open: ({ appId, properties }) =>
      openDriver('pubsub.jetstream', appId, {
        natsURL: stream.address,
        durableName: `${appId}-{topic}`,
        queueGroupName: appId,
        ...properties,
      }),
    durable: true,
    groups: true,
    contentType: false,
    metadata: (_sent, topic) => ({ Topic: topic }),
  })
}

if (broker === undefined) describe('pub/sub conformance: pubsub.kafka', () => it('needs Kafka', { skip: help(kafka) }, () => {}))
else
  pubsubConformance('pubsub.kafka', {
    open: open('pubsub.kafka', { brokers: broker.address, authType: 'none', consumeRetryInterval: '50ms' }),
    durable: true,
    groups: true,
    contentType: false,
    adds: /^__/,
    prepareShared: (topic) => makeTopic(broker.address, topic, 2),
  })
if (mqtt === undefined) describe('pub/sub conformance: pubsub.mqtt3', () => it('needs Mosquitto', { skip: help(mosquitto) }, () => {}))
else
  pubsubConformance('pubsub.mqtt3', {
    open: open('pubsub.mqtt3', { url: mqtt.address }),
    durable: true,
    // A session belongs to one client; sharing is a matter of the topic's name, see mqtt.test.ts.
    groups: false,
    contentType: false,
    metadata: () => ({}),
    adds: /^/,
    underWay: 20,
  })
