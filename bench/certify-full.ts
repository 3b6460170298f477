import { chownSync, mkdirSync, symlinkSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { DiscardPolicy, jetstreamManager, StorageType } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { RedisConnection } from '../src/components/redis/connection.ts'
import { etcd, startEtcd } from '../test/servers/etcd.ts'
import { kafka, startKafka } from '../test/servers/kafka.ts'
import { mariadb, startMariadb } from '../test/servers/mariadb.ts'
import { memcached, startMemcached } from '../test/servers/memcached.ts'
import { nats } from '../test/servers/nats.ts'
import { postgres } from '../test/servers/postgres.ts'
import { unprivileged } from '../test/servers/process.ts'
import { rabbitmq, startRabbitmq } from '../test/servers/rabbitmq.ts'
import { redis } from '../test/servers/redis.ts'
import { type SmallDisk, smallDisk } from '../test/servers/small-disk.ts'

/** A server that can be made full and given room again while it runs. */
export interface Full extends AsyncDisposable {
  properties: Record<string, string>
  version?: string
  fill(): Promise<void> | void
  /** Resolves when there is room again. */
  room(): Promise<void> | void
  /** What makes room takes what was acknowledged with it. */
  forgets?: true
}

export interface FullKind {
  driver: string
  /** For the page: what it is full of, and what makes room. */
  how: string
  /** What else there is to know. */
  note?: string
  available(): boolean
  /** Undefined where no small disk can be mounted. */
  open(): Promise<Full | undefined>
}

const always = () => true
const QUOTA = 4 * 1024 * 1024

/** The driver's server, on a disk that takes 16 MiB. */
async function onDisk(open: (disk: SmallDisk) => Promise<Omit<Full, 'fill' | 'room'> & Partial<Full>>): Promise<Full | undefined> {
  const disk = smallDisk(16)
  if (!disk) return undefined
  const opened = await open(disk)
  return {
    fill: () => disk.fill(),
    room: () => disk.empty(),
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]()
      disk[Symbol.dispose]()
    },
  }
}

/** Servers that root starts run as somebody else. */
function giveTo(users: readonly string[], folder: string): void {
  const owner = unprivileged(users)
  if (owner && owner !== 'none') chownSync(folder, owner.uid, owner.gid)
}

async function fullRedis(properties: (address: string) => Record<string, string>): Promise<Full> {
  const server = await redis.start()
  const [host, port] = server.address.split(':') as [string, string]
  const admin = new RedisConnection({ host, port: Number(port) })
  await admin.connect()
  return {
    properties: properties(server.address),
    fill: async () => void (await admin.call('CONFIG', 'SET', 'maxmemory', '1')),
    room: async () => void (await admin.call('CONFIG', 'SET', 'maxmemory', '0')),
    async [Symbol.asyncDispose]() {
      admin.disconnect()
      await server.stop()
    },
  }
}

const redisState: FullKind = {
  driver: 'state.redis',
  how: 'of memory (`maxmemory`, no eviction); `maxmemory` is raised',
  available: redis.available,
  open: () => fullRedis((redisHost) => ({ redisHost })),
}

const redisPubSub: FullKind = {
  driver: 'pubsub.redis',
  how: redisState.how,
  available: redis.available,
  open: () => fullRedis((redisHost) => ({ redisHost, processingTimeout: '15s', redeliverInterval: '2s' })),
}

const etcdState: FullKind = {
  driver: 'state.etcd',
  how: 'of its quota (`--quota-backend-bytes`, alarm NOSPACE); keys are deleted, it is compacted and defragmented, the alarm disarmed',
  note: 'a full disk under its log ends etcd itself: that is a server killed',
  available: etcd.available,
  async open() {
    const server = await startEtcd([`--quota-backend-bytes=${QUOTA}`])
    const ask = async (path: string, body: object) => {
      const answer = await fetch(`http://${server.address}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) })
      return { ok: answer.ok, text: await answer.text() }
    }
    const base64 = (text: string) => Buffer.from(text).toString('base64')
    const value = Buffer.alloc(512 * 1024, 'x').toString('base64')
    return {
      properties: { endpoints: server.address },
      async fill() {
        for (let index = 0; (await ask('kv/put', { key: base64(`filler${index}`), value })).ok; index++);
      },
      async room() {
        const { text } = await ask('kv/deleterange', { key: base64('filler'), range_end: base64('filles') })
        const { revision, member_id: memberID } = (JSON.parse(text) as { header: { revision: string; member_id: string } }).header
        await ask('kv/compaction', { revision, physical: true })
        await ask('maintenance/defragment', {})
        await ask('maintenance/alarm', { action: 'DEACTIVATE', alarm: 'NOSPACE', memberID })
      },
      [Symbol.asyncDispose]: () => server.stop(),
    }
  },
}

const memcachedState: FullKind = {
  driver: 'state.memcached',
  how: 'of memory, told with `-M` to refuse instead of evicting; `flush_all` makes room',
  note: 'without `-M` it is never full: it evicts what was used least',
  available: memcached.available,
  async open() {
    const server = await startMemcached(['-m', '2', '-M', '-n', '500'])
    const [host, port] = server.address.split(':') as [string, string]
    /** One connection; resolves with what was answered up to `end`. */
    const talk = (text: string, end: RegExp) =>
      new Promise<string>((resolve, reject) => {
        const socket = connectTcp(Number(port), host, () => socket.write(text))
        let answer = ''
        socket.setEncoding('latin1').on('error', reject)
        socket.on('data', (part: string) => {
          answer += part
          if (!end.test(answer)) return
          socket.destroy()
          resolve(answer)
        })
      })
    const data = 'x'.repeat(60)
    return {
      properties: { hosts: server.address },
      forgets: true,
      async fill() {
        // Of the size of what is saved: memory is shared out by size.
        for (let from = 0; ; from += 1000) {
          const sets = Array.from({ length: 1000 }, (_, index) => `set filler${from + index} 0 0 ${data.length} noreply\r\n${data}\r\n`)
          if (
            /out of memory/.test(
              await talk(`${sets.join('')}set last${from} 0 0 ${data.length}\r\n${data}\r\n`, /(STORED|storing object)\r\n$/),
            )
          )
            return
        }
      },
      room: async () => void (await talk('flush_all\r\n', /OK\r\n/)),
      [Symbol.asyncDispose]: () => server.stop(),
    }
  },
}

const mysqlState: FullKind = {
  driver: 'state.mysql',
  how: 'of the disk of its tables (logs have another); a file is removed from it',
  available: mariadb.available,
  open: () =>
    onDisk(async (disk) => {
      const server = await startMariadb()
      const { port } = new URL(server.address)
      const admin = await mysql.createConnection({ host: '127.0.0.1', port: Number(port), user: 'root' })
      const [rows] = await admin.query('SELECT @@datadir AS folder')
      await admin.end()
      const folder = join(disk.path, 'tables')
      mkdirSync(folder)
      giveTo(['mysql', 'nobody'], folder)
      symlinkSync(folder, join((rows as { folder: string }[])[0]?.folder ?? '', 'dapr_state_store'))
      const connectionString = `root@tcp(127.0.0.1:${port})/?allowNativePasswords=true`
      return { properties: { connectionString }, [Symbol.asyncDispose]: () => server.stop() }
    }),
}

const postgresState: FullKind = {
  driver: 'state.postgresql',
  how: 'of the disk of its tables (the log has another); a file is removed from it',
  note: 'a full disk under its log ends PostgreSQL itself: that is a server killed',
  available: postgres.available,
  open: () =>
    onDisk(async (disk) => {
      const server = await postgres.start()
      const folder = join(disk.path, 'tables')
      mkdirSync(folder)
      giveTo(['postgres', 'nobody'], folder)
      const admin = new pg.Client({ connectionString: server.address })
      await admin.connect()
      await admin.query(`CREATE TABLESPACE small LOCATION '${folder}'`)
      await admin.query('ALTER DATABASE postgres SET default_tablespace = small')
      await admin.end()
      return { version: 'v2', properties: { connectionString: server.address }, [Symbol.asyncDispose]: () => server.stop() }
    }),
}

const sqliteState: FullKind = {
  driver: 'state.sqlite',
  how: 'of the disk of its file; another file is removed from it',
  available: always,
  open: () =>
    onDisk(async (disk) => ({ properties: { connectionString: join(disk.path, 'state.db') }, [Symbol.asyncDispose]: async () => {} })),
}

const sqlitePubSub: FullKind = {
  driver: 'pubsub.sqlite',
  how: sqliteState.how,
  note: 'small events that are delivered at once go on in the room that the file has already',
  available: always,
  open: () =>
    onDisk(async (disk) => ({ properties: { connectionString: join(disk.path, 'events.db') }, [Symbol.asyncDispose]: async () => {} })),
}

const jetstream: FullKind = {
  driver: 'pubsub.jetstream',
  how: 'of what its stream may hold (`max_msgs`, `discard: new`); the limit is raised',
  note: 'with `discard: old`, the default, a stream drops its oldest messages and says nothing',
  available: nats.available,
  async open() {
    const server = await nats.start()
    const connection = await connectNats({ servers: server.address.replace('nats://', '') })
    const manager = await jetstreamManager(connection)
    const limited = { name: 'full', subjects: ['events'], storage: StorageType.File, discard: DiscardPolicy.New }
    await manager.streams.add(limited)
    return {
      properties: { natsURL: server.address, durableName: 'full', queueGroupName: 'full' },
      async fill() {
        const { state } = await manager.streams.info('full')
        await manager.streams.update('full', { ...limited, max_msgs: Math.max(1, state.messages) })
      },
      room: async () => void (await manager.streams.update('full', { ...limited, max_msgs: -1 })),
      async [Symbol.asyncDispose]() {
        await connection.close()
        await server.stop()
      },
    }
  },
}

const rabbit: FullKind = {
  driver: 'pubsub.rabbitmq',
  how: 'of disk, as it counts (`disk_free_limit`, alarm: it reads nothing from who publishes); the limit is lowered',
  available: rabbitmq.available,
  async open() {
    const server = await startRabbitmq()
    return {
      properties: { connectionString: server.address, deletedWhenUnused: 'false', deliveryMode: '2' },
      fill: () => server.control('set_disk_free_limit', '9000GB'),
      room: () => server.control('set_disk_free_limit', '1MB'),
      [Symbol.asyncDispose]: () => server.stop(),
    }
  },
}

const kafkaPubSub: FullKind = {
  driver: 'pubsub.kafka',
  how: 'of disk: the broker ends itself; a file is removed and the broker started again',
  note: 'so callers read of a broker that is away',
  available: kafka.available,
  open: () =>
    onDisk(async (disk) => {
      const server = await startKafka({ settings: { 'log.dirs': join(disk.path, 'data'), 'log.segment.bytes': '1048576' } })
      return {
        properties: { brokers: server.address, authType: 'none', initialOffset: 'oldest' },
        async room() {
          await server.kill()
          disk.empty()
          await server.restart()
        },
        [Symbol.asyncDispose]: () => server.stop(),
      }
    }),
}

/** Quick ones first: they are what a test of a few seconds goes through. */
export const QUICK: readonly FullKind[] = [
  redisState,
  redisPubSub,
  etcdState,
  memcachedState,
  mysqlState,
  postgresState,
  sqliteState,
  sqlitePubSub,
  jetstream,
]
export const FULLS: readonly FullKind[] = [...QUICK, rabbit, kafkaPubSub]
