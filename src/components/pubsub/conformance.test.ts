import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { kafka } from '../../../test/servers/kafka.ts'
import { mosquitto } from '../../../test/servers/mosquitto.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { serverOf } from '../../../test/servers/server.ts'
import { type ConformanceOptions, pubsubConformance } from '../../blocks/pubsub/conformance.ts'
import type { PubSub } from '../../blocks/pubsub/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { makeTopic } from '../kafka/testing.ts'
import { pubsubDrivers } from './registry.ts'

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
after(async () => {
  await redis?.stop()
  await broker?.stop()
  await mqtt?.stop()
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
if (broker === undefined)
  describe('pub/sub conformance: pubsub.kafka', () => it('needs Kafka', { skip: 'Kafka is not on this machine' }, () => {}))
else
  pubsubConformance('pubsub.kafka', {
    open: open('pubsub.kafka', { brokers: broker.address, authType: 'none', consumeRetryInterval: '50ms' }),
    durable: true,
    groups: true,
    contentType: false,
    adds: /^__/,
    prepareShared: (topic) => makeTopic(broker.address, topic, 2),
  })
if (mqtt === undefined)
  describe('pub/sub conformance: pubsub.mqtt3', () => it('needs Mosquitto', { skip: 'Mosquitto is not on this machine' }, () => {}))
else
  pubsubConformance('pubsub.mqtt3', {
    open: open('pubsub.mqtt3', { url: mqtt.address }),
    durable: true,
    // A session belongs to one client; sharing is a matter of the topic's name, see mqtt.test.ts.
    groups: false,
    contentType: false,
    metadata: false,
    underWay: 20,
  })
