import type { Duplex } from 'node:stream'
import { Client, type ClientConfig, DatabaseError, type PoolConfig, type QueryConfig, type QueryResult } from 'pg'
import { gatherWrites } from '../gather-writes.ts'

/** Statements under way on one connection; beyond it the newest is refused. */
const MAX_PENDING = 5000
/** With so many under way a further connection is opened, as long as there may be more. */
const BUSY = 8
/** SQLSTATE classes that leave a connection as good as it was: data, constraint, transaction, locks, login of others, no room. */
const HARMLESS = /^(22|23|40|42|55|57014|53[124]00)/

/** The typings do not know these yet. */
type PipelinedClient = Client & { ref(): void; unref(): void }

interface Lane {
  client: PipelinedClient
  ready: Promise<unknown>
  connected: boolean
  pending: number
  usable: boolean
  lastUse: number
}

/**
 * Single statements over a few connections that do not wait for an answer before they send the next one: half of the CPU and of
 * the time of a pool under load. Each statement is a transaction of its own; those that belong together, or may take long, would
 * hold up what is behind them and belong to a pool.
 */
export class Lanes implements AsyncDisposable {
  readonly #config: PoolConfig
  readonly #most: number
  readonly #Client: new (
    config: ClientConfig,
  ) => Client
  readonly #lanes: Lane[] = []
  #sweeper: NodeJS.Timeout | undefined
  #over = false

  constructor(config: PoolConfig, most: number, UsedClient: new (config: ClientConfig) => Client = Client) {
    this.#config = config
    this.#most = most
    this.#Client = UsedClient
  }

  async query<R extends object>(statement: QueryConfig): Promise<QueryResult<R>> {
    const lane = this.#pick()
    if (lane.pending >= MAX_PENDING) throw new Error(`${MAX_PENDING} statements wait already; send fewer at a time`)
    if (lane.pending++ === 0 && lane.connected) lane.client.ref()
    try {
      if (!lane.connected) await lane.ready
      return await lane.client.query<R>(statement)
    } catch (error) {
      if (!(error instanceof DatabaseError) || !HARMLESS.test(error.code ?? '')) this.#retire(lane)
      throw error
    } finally {
      lane.lastUse = Date.now()
      if (--lane.pending === 0) {
        if (!lane.usable) end(lane)
        else if (lane.connected) lane.client.unref()
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    clearInterval(this.#sweeper)
    for (const lane of [...this.#lanes]) this.#retire(lane)
  }

  #pick(): Lane {
    if (this.#over) throw new Error('the connection to PostgreSQL is closed')
    let best: Lane | undefined
    for (const lane of this.#lanes) if (!best || lane.pending < best.pending) best = lane
    return best && (best.pending < BUSY || this.#lanes.length >= this.#most) ? best : this.#open()
  }

  #open(): Lane {
    const { connectionString, connectionTimeoutMillis, query_timeout } = this.#config
    const options = { connectionString, connectionTimeoutMillis, query_timeout, keepAlive: true, pipeline: true }
    const client = new this.#Client(options) as PipelinedClient
    const lane: Lane = { client, ready: client.connect(), connected: false, pending: 0, usable: true, lastUse: Date.now() }
    client.on('error', () => this.#retire(lane))
    client.on('end', () => this.#retire(lane))
    lane.ready.then(
      () => {
        lane.connected = true
        // Statement by statement they would be a system call each.
        gatherWrites((client as unknown as { connection: { stream: Duplex } }).connection.stream)
      },
      () => this.#retire(lane),
    )
    this.#lanes.push(lane)
    this.#sweeper ??= setInterval(() => this.#sweep(), 30_000).unref()
    return lane
  }

  /** Takes no more statements; those under way have their answer first. */
  #retire(lane: Lane): void {
    if (!lane.usable) return
    lane.usable = false
    this.#lanes.splice(this.#lanes.indexOf(lane), 1)
    if (lane.pending === 0) end(lane)
  }

  #sweep(): void {
    const before = Date.now() - (this.#config.idleTimeoutMillis || Number.POSITIVE_INFINITY)
    for (const lane of [...this.#lanes]) if (lane.pending === 0 && lane.lastUse < before) this.#retire(lane)
  }
}

function end(lane: Lane): void {
  void lane.client.end().catch(() => {})
}
