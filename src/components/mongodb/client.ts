import type { Document } from './bson.ts'
import type { ReadPreference } from './choose.ts'
import type { MongoConnection } from './connection.ts'
import { LostError, NoServerError, readsAgain, writesAgain } from './errors.ts'
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

interface Place {
  server: Server
  connection: MongoConnection
}

/** What the last word to the servers may take, milliseconds. */
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
    const place = await this.#connected(limit)
    const lives = place.server.description?.sessions
    if (!retryWrites || once || lives === undefined || topology.kind === 'single') return this.#on(place, command, limit)
    const session = this.#sessions.take(lives)
    const numbered = { ...command, lsid: { id: session.id }, txnNumber: ++session.number }
    for (let at = place; ; at = await this.#connected(limit)) {
      try {
        const reply = await this.#on(at, numbered, limit)
        this.#sessions.give(session)
        return reply
      } catch (error) {
        if (writesAgain(error) && performance.now() < limit) continue
        if (!(error instanceof LostError)) this.#sessions.give(session)
        throw error
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
    try {
      await transaction.run(work)
    } catch (error) {
      if (!(error instanceof LostError)) this.#sessions.give(session)
      throw error
    }
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
      const place = await this.#connected(limit, preference)
      try {
        return { reply: await this.#on(place, this.#preferring(place.server, command), limit), server: place.server }
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

  /** A connection for the command; where none comes up nothing has been asked, and another server is looked for. */
  async #connected(limit: number, preference?: ReadPreference): Promise<Place> {
    for (;;) {
      const server = await this.#select(limit, preference)
      try {
        return { server, connection: server.pool.takeIdle() ?? (await this.#connect(server, limit)) }
      } catch (error) {
        if (!(error instanceof LostError) || performance.now() >= limit) throw error
      }
    }
  }

  async #at(server: Server, command: Document, limit: number): Promise<Reply> {
    return this.#on({ server, connection: server.pool.takeIdle() ?? (await this.#connect(server, limit)) }, command, limit)
  }

  async #on({ server, connection }: Place, command: Document, limit: number): Promise<Reply> {
    const { topology, database, socketTimeout } = this.#options
    const now = performance.now()
    try {
      if (now >= limit) throw new NoServerError('its time was over before it could be asked')
      return await connection.run('$db' in command ? command : { ...command, $db: database }, Math.min(limit, now + socketTimeout))
    } catch (error) {
      topology.failed(server, error, connection)
      throw error
    } finally {
      server.pool.give(connection)
    }
  }

  async #connect(server: Server, limit: number): Promise<MongoConnection> {
    const { topology, queueTimeout } = this.#options
    try {
      return await server.pool.take(Math.min(limit, performance.now() + queueTimeout))
    } catch (error) {
      topology.failed(server, error, undefined)
      throw error
    }
  }
}
