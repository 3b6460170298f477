import { randomUUID } from 'node:crypto'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { jetstream } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import { connect as connectAmqp } from 'amqplib'
import { Redis } from 'ioredis'
import { Double, MongoClient } from 'mongodb'
import mysql from 'mysql2/promise'
import pg from 'pg'
import type { PubSub } from '../src/blocks/pubsub/driver.ts'
import type { StateStore } from '../src/blocks/state/driver.ts'
import { pubsubDrivers } from '../src/components/pubsub/registry.ts'
import { makeStream } from '../src/components/pubsub/testing/stream.ts'
import { stateDrivers } from '../src/components/state/registry.ts'
import { createLogger } from '../src/telemetry/log.ts'
import { SUBJECTS } from './certify-subjects.ts'

/**
 * `node bench/driver-cost.ts [--only REGEX] [--count 20000]`: CPU of an operation through a driver beside the same operation through
 * its client library alone, in one process by turns, 16 at a time. Drivers whose client is our own
 * and whose library is no dependency of ours are not here.
 */
const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, count: { type: 'string', default: '20000' } } })
const count = Number(values.count)
const value = Buffer.from('{"name":"order","n":42}')
const log = createLogger({ level: 'error', json: false, appId: 'bench', version: 'bench' })
const topic = `cost${process.pid}`

type Operations = Record<string, () => Promise<unknown>>
interface Bare extends AsyncDisposable {
  operations: Operations
}

const BARE: Record<string, (address: string, url: string) => Promise<Bare>> = {
  async 'state.redis'(address) {
    const redis = new Redis(Number(address.split(':')[1]), '127.0.0.1', { enableAutoPipelining: true })
    await redis.hset('bare', 'data', value, 'version', '1')
    return {
      operations: { get: () => redis.hgetallBuffer('bare'), save: () => redis.hset('bare', 'data', value) },
      [Symbol.asyncDispose]: async () => redis.disconnect(),
    }
  },
  async 'pubsub.redis'(address) {
    const redis = new Redis(Number(address.split(':')[1]), '127.0.0.1', { enableAutoPipelining: true })
    return {
      operations: { publish: () => redis.xadd('bare', '*', 'data', value) },
      [Symbol.asyncDispose]: async () => redis.disconnect(),
    }
  },
  async 'state.postgresql'(address) {
    const pool = new pg.Pool({ connectionString: `postgres://postgres@${address}/postgres`, max: 4 })
    // The server may end before the pool.
    pool.on('error', () => {})
    await pool.query('CREATE TABLE bare (key text PRIMARY KEY, value jsonb, etag text)')
    const save = () =>
      pool.query({
        name: 'save',
        text: 'INSERT INTO bare VALUES ($1, $2, gen_random_uuid()::text) ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag',
        values: ['key', value.toString()],
      })
    await save()
    return {
      operations: {
        get: () => pool.query({ name: 'get', text: 'SELECT key, value, etag FROM bare WHERE key = $1', values: ['key'] }),
        save,
      },
      [Symbol.asyncDispose]: () => pool.end(),
    }
  },
  async 'state.mysql'(address) {
    const pool = mysql.createPool({ host: '127.0.0.1', port: Number(address.split(':')[1]), user: 'root', connectionLimit: 4 })
    await pool.query('CREATE DATABASE IF NOT EXISTS bare')
    await pool.query('CREATE TABLE bare.state (id VARCHAR(255) PRIMARY KEY, value JSON, etag VARCHAR(36))')
    const save = () => pool.execute('REPLACE INTO bare.state VALUES (?, ?, uuid())', ['key', value.toString()])
    await save()
    return {
      operations: { get: () => pool.execute('SELECT id, value, etag FROM bare.state WHERE id = ?', ['key']), save },
      [Symbol.asyncDispose]: () => pool.end(),
    }
  },
  async 'state.mongodb'(address) {
    const client = await MongoClient.connect(`mongodb://${address}`)
    const collection = client.db('bare').collection<{ _id: string; value?: unknown }>('bare', { writeConcern: { w: 1, journal: true } })
    const save = () =>
      collection.updateOne(
        { _id: 'key' },
        { $set: { value: { name: 'order', n: new Double(42) }, _etag: randomUUID(), _ttl: null } },
        { upsert: true },
      )
    await save()
    const live = { $or: [{ _ttl: null }, { $expr: { $gte: ['$_ttl', '$$NOW'] } }] }
    return {
      operations: { get: () => collection.findOne({ _id: 'key', ...live }), save },
      [Symbol.asyncDispose]: () => client.close(),
    }
  },
  async 'pubsub.rabbitmq'(address) {
    const connection = await connectAmqp(`amqp://guest:guest@${address}`)
    const channel = await connection.createConfirmChannel()
    await channel.assertExchange('bare', 'fanout', { durable: true })
    return {
      operations: {
        publish: () =>
          new Promise((resolve, reject) =>
            channel.publish('bare', '', value, { persistent: true }, (error) => (error ? reject(error) : resolve(undefined))),
          ),
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
  async 'pubsub.jetstream'(address, url) {
    await makeStream(url, `${topic}b`, [`${topic}b`])
    const connection = await connectNats({ servers: address })
    const stream = jetstream(connection)
    return {
      operations: { publish: () => stream.publish(`${topic}b`, value) },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
}

console.log(`${count} operations, 16 at a time, by turns; load average ${loadavg()[0]?.toFixed(1)}`)
for (const { driver: type, label = type, server: kind, properties, prepare } of SUBJECTS) {
  const openBare = BARE[label]
  if (!openBare || !new RegExp(values.only).test(type)) continue
  if (!kind.available()) {
    console.log(`${type}: no ${kind.name} on this machine`)
    continue
  }
  const server = await kind.start()
  const address = /(127\.0\.0\.1:\d+)/.exec(server.address)?.[1] as string
  if (type === 'pubsub.jetstream') await makeStream(server.address, topic, [topic])
  else await prepare?.(server.address)
  const row = [...stateDrivers, ...pubsubDrivers].find((one) => one.type === type)
  const context = { name: 'target', type, version: 'v1', properties: properties(address), appId: 'bench', namespace: '', log }
  const component = (await (row as NonNullable<typeof row>).load()).create(context) as StateStore | PubSub
  await component.init(AbortSignal.timeout(10_000))
  const ours: Operations =
    'publish' in component
      ? { publish: async () => component.publish({ topic, data: value, metadata: {} }) }
      : {
          save: async () => component.set({ kind: 'upsert', key: 'key', value, json: true, metadata: {} }),
          get: async () => component.get({ key: 'key', metadata: {} }),
        }
  const bare = await openBare(address, server.address)
  for (const [name, work] of Object.entries(ours)) {
    const alone = bare.operations[name] as () => Promise<unknown>
    const costs = { ours: [] as number[], bare: [] as number[] }
    for (let round = 0; round < 4; round++) {
      // The first round warms both up.
      const [mine, its] = [await cost(work), await cost(alone)]
      if (round === 0) continue
      costs.ours.push(mine)
      costs.bare.push(its)
    }
    const [mine, its] = [Math.min(...costs.ours), Math.min(...costs.bare)]
    console.log(
      `${type.padEnd(18)} ${name.padEnd(8)} ${mine.toFixed(1).padStart(6)} µs, library ${its.toFixed(1).padStart(6)} µs: × ${(mine / its).toFixed(2)}`,
    )
  }
  await component[Symbol.asyncDispose]()
  await bare[Symbol.asyncDispose]()
  await server.stop()
}
process.exit()

/** Microseconds of CPU an operation. */
async function cost(work: () => Promise<unknown>): Promise<number> {
  let left = count
  const before = process.cpuUsage()
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) await work()
    }),
  )
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}
