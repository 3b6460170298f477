import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { kafka } from '../../../test/servers/kafka.ts'
import { mosquitto } from '../../../test/servers/mosquitto.ts'
import { nats } from '../../../test/servers/nats.ts'
import { pulsar } from '../../../test/servers/pulsar.ts'
import { rabbitmq } from '../../../test/servers/rabbitmq.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { help, ownServer, serverOf } from '../../../test/servers/server.ts'
import { pubsubConformance } from '../../blocks/pubsub/conformance.ts'
import type { ConformanceOptions } from '../../blocks/pubsub/conformance-options.ts'
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
const pulsarBroker = await serverOf(pulsar)
const rabbit = await serverOf(rabbitmq)
// Its stream takes every subject of one word, which would not suit others.
const stream = await ownServer(nats)
// Before the first suite: the hook below runs as soon as no test is left that is known by then.
if (stream !== undefined) await makeStream(stream.address, 'all', ['*'])
after(async () => {
  await redis?.stop()
  await broker?.stop()
  await mqtt?.stop()
  await pulsarBroker?.stop()
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
pubsubConformance('pubsub.redis', {
  missing: !redis && 'redis-server',
  open: open('pubsub.redis', { redisHost: `${redis?.host}:${redis?.port}` }),
  durable: true,
  groups: true,
  contentType: false,
})
pubsubConformance('pubsub.rabbitmq', {
  missing: !rabbit && help(rabbitmq),
  // Queues that delete themselves would not outlive their consumers.
  open: open('pubsub.rabbitmq', { connectionString: rabbit?.address ?? '', deletedWhenUnused: 'false' }),
  durable: true,
  groups: true,
  contentType: false,
  metadata: () => ({}),
})
pubsubConformance('pubsub.jetstream', {
  missing: !stream && help(nats),
  open: ({ appId, properties }) =>
    openDriver('pubsub.jetstream', appId, {
      natsURL: stream?.address ?? '',
      durableName: `${appId}-{topic}`,
      queueGroupName: appId,
      ...properties,
    }),
  durable: true,
  groups: true,
  contentType: false,
  metadata: (_sent, topic) => ({ Topic: topic }),
})
pubsubConformance('pubsub.kafka', {
  missing: !broker && help(kafka),
  open: open('pubsub.kafka', { brokers: broker?.address ?? '', authType: 'none', consumeRetryInterval: '50ms' }),
  durable: true,
  groups: true,
  contentType: false,
  adds: /^__/,
  prepareShared: (topic) => makeTopic(broker?.address ?? '', topic, 2),
})
pubsubConformance('pubsub.pulsar', {
  missing: !pulsarBroker && help(pulsar),
  open: ({ appId, properties: { concurrency, ...properties } = {} }) =>
    openDriver('pubsub.pulsar', appId, {
      host: pulsarBroker?.address ?? '',
      redeliveryDelay: '50ms',
      ...(concurrency ? { maxConcurrentHandlers: concurrency } : {}),
      ...properties,
    }),
  durable: true,
  groups: true,
  contentType: false,
})
pubsubConformance('pubsub.mqtt3', {
  missing: !mqtt && help(mosquitto),
  open: open('pubsub.mqtt3', { url: mqtt?.address ?? '' }),
  durable: true,
  // A session belongs to one client; sharing is a matter of the topic's name, see mqtt.test.ts.
  groups: false,
  contentType: false,
  metadata: () => ({}),
  adds: /^/,
  underWay: 20,
})
