import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Redis } from 'ioredis'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { makeStream } from '../../src/components/pubsub/testing/stream.ts'
import { kafka } from '../../test/servers/kafka.ts'
import { mariadb } from '../../test/servers/mariadb.ts'
import { nats } from '../../test/servers/nats.ts'
import { postgresServer } from '../../test/servers/postgres.ts'
import { rabbitmq } from '../../test/servers/rabbitmq.ts'
import { redisServer } from '../../test/servers/redis.ts'
import { help, serverOf } from '../../test/servers/server.ts'
import { startDemo, yaml } from './demo.ts'

// The two services, untouched, on every set of components; each time the data is looked for where the YAML says it is.

const limit = { timeout: 90_000 }
const home = mkdtempSync(join(tmpdir(), 'outrider-swap-'))
const BROKERS = [kafka, rabbitmq, nats, mariadb]
const [redis, postgres, ...brokers] = await Promise.all([redisServer(), postgresServer(), ...BROKERS.map(serverOf)])
const [kafkaServer, rabbit, jetstream, maria] = brokers
after(async () => {
  for (const server of [redis, postgres, ...brokers]) await server?.stop()
  rmSync(home, { recursive: true, force: true })
})

const POSTGRES = 'host=localhost port=5432 user=postgres password=postgres dbname=postgres connect_timeout=10'
const MARIADB = 'root:secret@tcp(localhost:3306)/'

interface Done {
  /** Of the task that was created, announced and marked. */
  id: string
  /** What the sidecars say they have loaded, by component name. */
  types: Record<string, string>
  dataDir: string
}

/** Starts both services on a folder of YAML (or nothing), sends one task through both, and ends them. */
async function runDemo(name: string, resources?: string): Promise<Done> {
  await using demo = await startDemo(join(home, name), resources)
  const id = await demo.task(`buy milk (${name})`)
  const types = await demo.types()
  await demo.end()
  return { id, types, dataDir: demo.dataDir }
}

/** Whether any file below the folder holds the text; the demo's own log files don't count. */
function holds(folder: string, text: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.log'))
    .some((entry) => readFileSync(join(entry.parentPath, entry.name)).includes(text))
}

async function inPostgres(id: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: postgres?.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ value: string }>("SELECT convert_from(value, 'UTF8') AS value FROM state WHERE key = $1", [
      `task-api||${id}`,
    ])
    return rows.map((row) => JSON.parse(row.value))
  } finally {
    await client.end()
  }
}

async function inMariadb(id: string): Promise<unknown[]> {
  const client = await createConnection(maria?.address ?? '')
  try {
    const [rows] = await client.query<RowDataPacket[]>('SELECT CAST(value AS CHAR) AS value FROM dapr_state_store.state WHERE id = ?', [
      `task-api||${id}`,
    ])
    return rows.map((row) => JSON.parse(row.value as string))
  } finally {
    await client.end()
  }
}

async function inRedis(id: string): Promise<unknown> {
  const client = new Redis({ host: redis?.host ?? '', port: redis?.port ?? 0 })
  try {
    const { data, version } = await client.hgetall(`task-api||${id}`)
    assert.equal(version, '2', 'saved once when created, once when notified')
    return JSON.parse(data as string)
  } finally {
    client.disconnect()
  }
}

test('with nothing configured the task is in SQLite, in the data folder', limit, async () => {
  const { id, types, dataDir } = await runDemo('embedded')
  assert.equal(types.statestore, 'state.sqlite')
  assert.equal(types.pubsub, 'pubsub.sqlite')
  assert.ok(holds(dataDir, `task-api||${id}`), `no file in ${dataDir} holds the task`)
})

test('with the Redis YAML the task is in Redis, and so is its event', {
  ...limit,
  skip: redis ? false : 'redis-server is not on this machine',
}, async () => {
  assert.ok(redis)
  const { id, types, dataDir } = await runDemo(
    'redis',
    yaml('redis', join(home, 'redis-yaml'), { 'localhost:6379': `${redis.host}:${redis.port}` }),
  )
  assert.equal(types.statestore, 'state.redis')
  assert.equal(types.pubsub, 'pubsub.redis')
  assert.deepEqual(await inRedis(id), { id, title: 'buy milk (redis)', status: 'notified' })
  const client = new Redis({ host: redis.host, port: redis.port })
  try {
    const events = (await client.xrange('task-created', '-', '+')).filter(([, fields]) => fields.join().includes(id))
    assert.equal(events.length, 1)
    // Delivered to the Notification Service's consumer group, and acknowledged.
    const groups = (await client.xinfo('GROUPS', 'task-created')) as unknown[][]
    assert.ok(groups.some((group) => group.includes('notifications')))
    assert.equal(((await client.xpending('task-created', 'notifications')) as unknown[])[0], 0)
  } finally {
    client.disconnect()
  }
  assert.ok(!holds(dataDir, id), 'nothing of it is left in the embedded store')
})

test('with the PostgreSQL YAML the task is in PostgreSQL', {
  ...limit,
  skip: postgres ? false : 'PostgreSQL is not on this machine',
}, async () => {
  assert.ok(postgres)
  const resources = yaml('postgresql', join(home, 'postgresql-yaml'), {
    [POSTGRES]: postgres.url,
    '.outrider/events.db': join(home, 'postgresql', 'events.db'),
  })
  const { id, types, dataDir } = await runDemo('postgresql', resources)
  assert.equal(types.statestore, 'state.postgresql')
  assert.equal(types.pubsub, 'pubsub.sqlite')
  assert.deepEqual(await inPostgres(id), [{ id, title: 'buy milk (postgresql)', status: 'notified' }])
  assert.ok(!holds(dataDir, `task-api||${id}`), 'nothing of it is left in the embedded store')
})

const present = redis && postgres && brokers.every((server) => server)
const wants = ['redis-server', 'postgresql', ...BROKERS.map(help)].join(' | ')

test('the running services move Redis → PostgreSQL → MariaDB and Kafka → RabbitMQ → NATS, and back, as their YAML is rewritten', {
  timeout: 115_000,
  skip: present ? false : `needs all of ${wants}`,
}, async () => {
  assert.ok(redis && postgres && kafkaServer && rabbit && jetstream && maria)
  await makeStream(jetstream.address, 'tasks', ['task-created'])
  const dsn = maria.address.replace(/^mysql:\/\/([^@]*)@(.*)$/, '$1@tcp($2)/')
  const onKafka = { 'localhost:6379': `${redis.host}:${redis.port}`, 'localhost:9092': kafkaServer.address }
  const sets = {
    kafka: yaml('kafka', join(home, 'kafka-yaml'), onKafka),
    back: yaml('kafka', join(home, 'back-yaml'), onKafka),
    rabbitmq: yaml('rabbitmq', join(home, 'rabbitmq-yaml'), {
      [POSTGRES]: postgres.url,
      'amqp://guest:guest@localhost:5672': rabbit.address,
    }),
    nats: yaml('nats', join(home, 'nats-yaml'), { [MARIADB]: dsn, 'nats://localhost:4222': jetstream.address }),
  }
  /** In a file's place at once, as kubectl and editors do it. */
  const rewrite = (set: keyof typeof sets) => {
    for (const file of readdirSync(sets[set])) renameSync(join(sets[set], file), join(sets.kafka, file))
  }
  const stored = (id: string, title: string) => ({ id, title, status: 'notified' })
  const moves = async () => {
    await using demo = await startDemo(join(home, 'running'), sets.kafka)
    const pids = demo.pids()
    await demo.until({ statestore: 'state.redis', pubsub: 'pubsub.kafka' })
    const first = await demo.task('first')
    assert.deepEqual(await inRedis(first), stored(first, 'first'))

    rewrite('rabbitmq')
    await demo.until({ statestore: 'state.postgresql', pubsub: 'pubsub.rabbitmq' })
    const second = await demo.task('second')
    assert.deepEqual(await inPostgres(second), [stored(second, 'second')])

    rewrite('nats')
    await demo.until({ statestore: 'state.mysql', pubsub: 'pubsub.jetstream' })
    const third = await demo.task('third')
    assert.deepEqual(await inMariadb(third), [stored(third, 'third')])
    assert.deepEqual([await inPostgres(third), await inMariadb(second)], [[], []], 'each is in the store of its time alone')

    rewrite('back')
    await demo.until({ statestore: 'state.redis', pubsub: 'pubsub.kafka' })
    assert.deepEqual(await demo.read(first), stored(first, 'first'), 'what was left behind is there again')
    const fourth = await demo.task('fourth')
    assert.deepEqual(await inRedis(fourth), stored(fourth, 'fourth'))
    assert.deepEqual(demo.pids(), pids, 'no process was started anew')
    await demo.end()
  }
  await moves()
  // And as it always was: the same files, a new start.
  const { id } = await runDemo('restarted', sets.kafka)
  assert.deepEqual(await inRedis(id), stored(id, 'buy milk (restarted)'))
})
