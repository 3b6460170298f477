import { appendFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import pg from 'pg'
import { makeStream } from '../src/components/pubsub/testing/stream.ts'
import { cassandra } from '../test/servers/cassandra.ts'
import { etcd } from '../test/servers/etcd.ts'
import { kafka } from '../test/servers/kafka.ts'
import { mariadb } from '../test/servers/mariadb.ts'
import { memcached } from '../test/servers/memcached.ts'
import { mongodb } from '../test/servers/mongodb.ts'
import { mosquitto } from '../test/servers/mosquitto.ts'
import { mysql } from '../test/servers/mysql.ts'
import { nats } from '../test/servers/nats.ts'
import { postgres } from '../test/servers/postgres.ts'
import { pulsar } from '../test/servers/pulsar.ts'
import { rabbitmq } from '../test/servers/rabbitmq.ts'
import { redis } from '../test/servers/redis.ts'
import type { ServerKind } from '../test/servers/server.ts'

/** A driver under certification: its server, how that is made to keep what it acknowledges, and the component's YAML. */
export interface Subject {
  driver: string
  /** What tables and `--only` call it, where two servers speak to one driver. Default: the driver. */
  label?: string
  server: ServerKind
  /** Settings of the component that reaches the server at `address` (127.0.0.1:port of the proxy). */
  properties(address: string): Record<string, string>
  /** Arguments with which a killed server keeps what it acknowledged; `proxy` is the port that clients use. */
  durable?(args: string[], proxy: number, port: number): string[]
  /** It works so slowly then that only the killed server does: it is restarted so before that cut. */
  durableOnly?: true
  /** Runs once the server is up. */
  prepare?(address: string): Promise<void>
  /** What a killed server keeps, if not all that it acknowledged. */
  keeps?: 'nothing'
}

/** Redis writes over its own arguments, so they are given whole; its working directory is its --dir. */
const persistent: Subject['durable'] = (_args, _proxy, port) =>
  `--port ${port} --bind 127.0.0.1 --appendonly yes --appendfsync always`.split(' ').concat('--save', '')

/** What an InnoDB server acknowledged is with the system, which outlives it. */
const flushed: Subject['durable'] = (args) => args.map((arg) => arg.replace('flush-log-at-trx-commit=0', 'flush-log-at-trx-commit=2'))

export const SUBJECTS: readonly Subject[] = [
  {
    driver: 'pubsub.redis',
    server: redis,
    durable: persistent,
    properties: (address) => ({ redisHost: address, processingTimeout: '15s', redeliverInterval: '2s' }),
  },
  {
    driver: 'pubsub.rabbitmq',
    server: rabbitmq,
    properties: (address) => ({ connectionString: `amqp://guest:guest@${address}`, deletedWhenUnused: 'false', deliveryMode: '2' }),
  },
  {
    driver: 'pubsub.jetstream',
    server: nats,
    prepare: (address) => makeStream(address, 'certify', ['events']),
    properties: (address) => ({ natsURL: `nats://${address}`, durableName: 'certify', queueGroupName: 'certify' }),
  },
  {
    driver: 'pubsub.mqtt3',
    server: mosquitto,
    // It writes all it has at each change.
    durableOnly: true,
    durable(args) {
      const file = args.at(-1) as string
      if (!readFileSync(file, 'utf8').includes('persistence')) {
        // It gives up being root, and starts again as who it became.
        chmodSync(dirname(file), 0o777)
        appendFileSync(file, 'persistence true\npersistence_location ./\nautosave_on_changes true\nautosave_interval 1\n')
      }
      return args
    },
    properties: (address) => ({ url: `mqtt://${address}`, consumerID: 'certify', cleanSession: 'false', qos: '1' }),
  },
  {
    driver: 'pubsub.kafka',
    server: kafka,
    durable(args, proxy) {
      const file = args.at(-1) as string
      const text = readFileSync(file, 'utf8').replace(/advertised\.listeners=.*/, `advertised.listeners=PLAINTEXT://127.0.0.1:${proxy}`)
      writeFileSync(file, text)
      return args
    },
    properties: (address) => ({ brokers: address, authType: 'none', initialOffset: 'oldest' }),
  },
  {
    driver: 'pubsub.pulsar',
    server: pulsar,
    durable(args, proxy) {
      const file = args[args.indexOf('-c') + 1] as string
      const text = readFileSync(file, 'utf8').replace(/\n(advertisedListeners|internalListenerName)=.*/g, '')
      writeFileSync(file, `${text}advertisedListeners=proxied:pulsar://127.0.0.1:${proxy}\ninternalListenerName=proxied\n`)
      return args
    },
    properties: (address) => ({ host: address, subscribeInitialPosition: 'earliest' }),
  },
  {
    driver: 'state.redis',
    server: redis,
    durable: persistent,
    properties: (address) => ({ redisHost: address }),
  },
  {
    driver: 'state.postgresql',
    server: postgres,
    // Stands above the test server's own setting, which answers before the log is written.
    async prepare(address) {
      const client = new pg.Client({ connectionString: address })
      await client.connect()
      await client.query('ALTER DATABASE postgres SET synchronous_commit = on')
      await client.end()
    },
    properties: (address) => ({ connectionString: `postgres://postgres@${address}/postgres` }),
  },
  {
    driver: 'state.mysql',
    server: mariadb,
    durable: flushed,
    properties: (address) => ({ connectionString: `root@tcp(${address})/?allowNativePasswords=true` }),
  },
  {
    driver: 'state.mysql',
    label: 'state.mysql (MySQL)',
    server: mysql,
    durable: flushed,
    properties: (address) => ({ connectionString: `root:secret@tcp(${address})/` }),
  },
  { driver: 'state.etcd', server: etcd, properties: (address) => ({ endpoints: address }) },
  { driver: 'state.memcached', server: memcached, keeps: 'nothing', properties: (address) => ({ hosts: address }) },
  // The stand-in for MongoDB has everything in memory.
  { driver: 'state.mongodb', server: mongodb, keeps: 'nothing', properties: (host) => ({ host }) },
  {
    driver: 'state.cassandra',
    server: cassandra,
    durable(args) {
      const file = args.find((arg) => arg.startsWith('-Dcassandra.config=file://'))?.slice('-Dcassandra.config=file://'.length) as string
      const text = readFileSync(file, 'utf8').replace(/commitlog_sync: periodic\ncommitlog_sync_period: .*\n/, 'commitlog_sync: batch\n')
      writeFileSync(file, text)
      return args
    },
    properties: (hosts) => ({ hosts }),
  },
]
