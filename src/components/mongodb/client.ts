import type { Document } from './bson.ts'
import type { ReadPreference } from './choose.ts'
import { type MongoError, readsAgain, writesAgain } from './errors.ts'
import type { Server } from './members.ts'
import { Sessions } from './sessions.ts'
import type { Topology } from './topology.ts'
import { Transaction, type TransactionOptions } from './transaction.ts'

export interface ClientOptions {
  topology: Topology
  database: string
  preference: ReadPreference
  retryReads: boolean
  retryWrites: boolean
  /** Milliseconds for an answer. */
  socketTimeout: number
  /** Milliseconds for a connection to become free. */
  queueTimeout: number
  /** Milliseconds for a server to be found. */
  selectionTimeout: number
}

export type Reply = Record<string, unknown>

/** Without one of their own, commands of a cursor go on for so long, milliseconds. */
const GOODBYE = 500

/**
 * Commands at the servers of one component, tried again as long as their time lasts where that does no harm: reads, and writes that
 * the server knows by a number. Limits are milliseconds of `performance.now()`.
 */
export class MongoClient implements AsyncDisposable {
  readonly #options: ClientOptions
  readonly #sessions = new Sessions()

  constructor(options: ClientOptions) {
    this.#options = options
  }

  async read(command: Document, limit: number): Promise<Reply> {
    return (await this.#read(command, limit)).reply
  }

  /** All documents that `find` gives, as bytes. */
  async find(command: Document, limit: number): Promise<Buffer[]> {
    const { reply, server } = await this.#read(command, limit)
    let { id, firstBatch } = reply.cursor as { id: bigint; firstBatch: Buffer[] }
    if (id === 0n) return firstBatch
    const { find: collection, batchSize } = command
    for (;;) {
      const next = await this.#at(server, { getMore: id, collection, batchSize }, limit)
      const { id: after, nextBatch } = next.cursor as { id: bigint; nextBatch: Buffer[] }
      firstBatch = firstBatch.concat(nextBatch)
      id = after
      if (id === 0n) return firstBatch
    }
  }

  /** `once`: it is never done again. */
  async write(command: Document, limit: number, once = false): Promise<Reply> {
    const { topology, retryWrites } = this.#options
    const server = await this.#select(limit)
    const lives = server.description?.sessions
    if (!retryWrites || once || lives === undefined || topology.kind === 'single') return this.#at(server, command, limit)
    const session = this.#sessions.take(lives)
    const numbered = { ...command, lsid: { id: session.id }, txnNumber: ++session.number }
    for (let at = server; ; at = await this.#select(limit)) {
      try {
        const reply = await this.#at(at, numbered, limit)
        this.#sessions.give(session)
        return reply
      } catch (error) {
        if (!writesAgain(error) || performance.now() >= limit) throw error
      }
    }
  }

  /** All or nothing; done again from the start where it lost to another one, within the limit. */
  async transaction(options: TransactionOptions, limit: number, work: (transaction: Transaction) => Promise<void>): Promise<void> {
    const first = await this.#select(limit)
    const session = this.#sessions.take(first.description?.sessions ?? Number.POSITIVE_INFINITY)
    const transaction = new Transaction(session, options, {
      select: () => this.#select(limit),
      run: (server, command) => this.#at(server, command, limit),
      sharded: () => this.#options.topology.kind === 'sharded',
      limit,
    })
    await transaction.run(work)
    this.#sessions.give(session)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { topology } = this.#options
    const endSessions = this.#sessions.end()
    if (endSessions.length) await this.#farewell({ endSessions, $db: 'admin' }).catch(() => {})
    topology[Symbol.dispose]()
  }

  async #farewell(command: Document): Promise<void> {
    const limit = performance.now() + GOODBYE
    const server = await this.#options.topology.select(limit)
    const connection = server.pool.takeIdle()
    await connection?.run(command, limit)
  }

  async #read(command: Document, limit: number): Promise<{ reply: Reply; server: Server }> {
    const { preference, retryReads } = this.#options
    for (;;) {
      const server = await this.#select(limit, preference)
      try {
        return { reply: await this.#at(server, this.#preferring(server, command), limit), server }
      } catch (error) {
        if (!retryReads || !readsAgain(error) || performance.now() >= limit) throw error
      }
    }
  }

  /** Servers that are not the primary want to hear that this is meant. */
  #preferring(server: Server, command: Document): Document {
    const { topology, preference } = this.#options
    const { mode, tags } = preference
    if (topology.kind === 'sharded')
      return mode === 'primary' ? command : { ...command, $readPreference: { mode, ...(tags.length ? { tags } : {}) } }
    const { kind } = server.description ?? {}
    if (topology.kind === 'single')
      return kind === 'secondary' || kind === 'other' ? { ...command, $readPreference: { mode: 'primaryPreferred' } } : command
    return mode === 'primary' ? command : { ...command, $readPreference: { mode, ...(tags.length ? { tags } : {}) } }
  }

  #select(limit: number, preference?: ReadPreference): Promise<Server> {
    const { topology, selectionTimeout } = this.#options
    return topology.select(Math.min(limit, performance.now() + selectionTimeout), preference)
  }

  async #at(server: Server, command: Document, limit: number): Promise<Reply> {
    const { topology, database, socketTimeout, queueTimeout } = this.#options
    const connection = server.pool.takeIdle() ?? (await this.#connect(server, Math.min(limit, performance.now() + queueTimeout)))
    try {
      return await connection.run(
        '$db' in command ? command : { ...command, $db: database },
        Math.min(limit, performance.now() + socketTimeout),
      )
    } catch (error) {
      topology.failed(server, error as MongoError, connection)
      throw error
    } finally {
      server.pool.give(connection)
    }
  }

  async #connect(server: Server, limit: number) {
    try {
      return await server.pool.take(limit)
    } catch (error) {
      this.#options.topology.failed(server, error, undefined)
      throw error
    }
  }
}
