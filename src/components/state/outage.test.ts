import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { cassandra } from '../../../test/servers/cassandra.ts'
import { etcd } from '../../../test/servers/etcd.ts'
import { mariadb } from '../../../test/servers/mariadb.ts'
import { memcached } from '../../../test/servers/memcached.ts'
import { mongodb } from '../../../test/servers/mongodb.ts'
import { mysql } from '../../../test/servers/mysql.ts'
import { postgres } from '../../../test/servers/postgres.ts'
import { redis } from '../../../test/servers/redis.ts'
import { type ServerKind, serverOf } from '../../../test/servers/server.ts'
import type { StateStore } from '../../blocks/state/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { stateDrivers } from './registry.ts'

/** A cut between store and server that a test opens and closes. `silent`: bytes vanish; `closed`: nobody listens any more. */
class Cut implements AsyncDisposable {
  readonly #target: { host: string; port: number }
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #silent = false
  port = 0

  constructor(target: { host: string; port: number }) {
    this.#target = target
    this.#server = createServer((socket) => {
      const peer = connect(target.port, target.host)
      for (const [from, to] of [
        [socket, peer],
        [peer, socket],
      ] as const) {
        this.#sockets.add(from)
        from.on('error', () => {})
        from.on('close', () => {
          this.#sockets.delete(from)
          to.destroy()
        })
        from.on('data', (chunk: Buffer) => {
          if (!this.#silent) to.write(chunk)
        })
      }
    })
  }

  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.port, '127.0.0.1', () => {
        this.port = (this.#server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  /** What is on its way is lost, as by a cable pulled out; connections stay. */
  silence(): void {
    this.#silent = true
  }

  /** The server is gone: connections break, new ones are refused. */
  close(): Promise<void> {
    this.#silent = false
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    return closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.close()
  }

  get target(): string {
    return `${this.#target.host}:${this.#target.port}`
  }
}

interface Kind {
  type: string
  version?: string
  server: ServerKind
  /** Settings that reach the server at the port given; waits are short. */
  properties(address: string, port: number): Record<string, string>
  /** Milliseconds that an operation may take in an outage, at most. */
  patience: number
}

const KINDS: readonly Kind[] = [
  ...[mariadb, mysql].map(
    (server): Kind => ({
      type: 'state.mysql',
      server,
      properties: (address, port) => ({
        connectionString: `${new URL(address).username}:${new URL(address).password}@tcp(127.0.0.1:${port})/`,
        timeoutInSeconds: '2',
        schemaName: `o${process.pid}`,
      }),
      patience: 3000,
    }),
  ),
  { type: 'state.etcd', server: etcd, properties: (_, port) => ({ endpoints: `127.0.0.1:${port}` }), patience: 11_000 },
  { type: 'state.memcached', server: memcached, properties: (_, port) => ({ hosts: `127.0.0.1:${port}` }), patience: 2500 },
  { type: 'state.cassandra', server: cassandra, properties: (_, port) => ({ hosts: `127.0.0.1:${port}` }), patience: 7000 },
  {
    type: 'state.mongodb',
    server: mongodb,
    properties: (_, port) => ({ host: `127.0.0.1:${port}`, operationTimeout: '2s' }),
    patience: 3000,
  },
  {
    type: 'state.postgresql',
    version: 'v2',
    server: postgres,
    properties: (address, port) => ({ connectionString: withPort(address, port), timeout: '2s', tablePrefix: `o${process.pid}_` }),
    patience: 5000,
  },
  {
    type: 'state.redis',
    server: redis,
    properties: (_, port) => ({ redisHost: `127.0.0.1:${port}`, readTimeout: '1s', redisMaxRetries: '1' }),
    patience: 5000,
  },
]

async function make(type: string, version: string, properties: Record<string, string>): Promise<StateStore> {
  const row = stateDrivers.find((candidate) => candidate.type === type)
  assert.ok(row)
  const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
  return (await row.load()).create({ name: 'orders', type, version, properties, appId: 'test', namespace: '', log })
}

describe('a server that goes away', () => {
  for (const { type, version = 'v1', server, properties, patience } of KINDS) {
    it(`${type} (${server.name}): a bounded wait, an error that says what is where, and back within 5 s without a restart`, {
      timeout: 90_000,
    }, async (context) => {
      const running = await serverOf(server)
      if (!running) return context.skip(`no ${server.name} on this machine`)
      try {
        await using cut = new Cut(placeOf(running.address))
        await cut.open()
        await using store = await make(type, version, properties(running.address, cut.port))
        await store.init(AbortSignal.timeout(20_000))
        const save = (value: string) =>
          store.set({ kind: 'upsert', key: `outage-${process.pid}`, value: Buffer.from(value), json: true, metadata: {} })
        const read = async () => (await store.get({ key: `outage-${process.pid}`, metadata: {} }))?.data.toString()
        const transact = async () =>
          store.transact?.(
            ['a', 'b'].map((name) => ({
              kind: 'upsert',
              key: `outage-${process.pid}-${name}`,
              value: Buffer.from('1'),
              json: true,
              metadata: {},
            })),
            {},
          )
        await save('1')

        for (const outage of ['silent', 'closed'] as const) {
          // One operation is under way when it happens.
          const under = Promise.resolve(store.transact ? transact() : save('2')).catch(() => undefined)
          if (outage === 'silent') cut.silence()
          else await cut.close()
          const began = Date.now()
          const outcomes = await Promise.allSettled([
            save('"lost"'),
            ...(store.transact ? [transact()] : []),
            read(),
            ...Array.from({ length: 30 }, () => read()),
          ])
          await under
          const waited = Date.now() - began
          assert.ok(waited < patience, `${outage}: waited ${waited} ms`)
          for (const outcome of outcomes) {
            assert.ok(outcome.status === 'rejected', `${outage}: nothing can have been read or written`)
            assert.match(String(outcome.reason), new RegExp(`127\\.0\\.0\\.1:${cut.port}`), outage)
          }
          if (outage === 'silent') await cut.close()
          await cut.open()
          const back = Date.now()
          while (
            !(await save(`"${outage}"`).then(
              () => true,
              () => false,
            ))
          ) {
            assert.ok(Date.now() - back < 5000, `${outage}: not back within 5 s`)
            await pause(20)
          }
          assert.equal(await read(), `"${outage}"`)
        }
      } finally {
        await running.stop()
      }
    })
  }
})

function withPort(address: string, port: number): string {
  const url = new URL(address)
  url.host = `127.0.0.1:${port}`
  return url.href
}

function placeOf(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(address.includes('://') ? address : `tcp://${address}`)
  return { host: hostname, port: Number(port) }
}
