import { availableParallelism } from 'node:os'
import type { Connection, ConnectionOptions, QueryError } from 'mysql2'
import { Silence } from '../silence.ts'
import { Dialer, socketOf } from './dialer.ts'
import { describeAddress, type MysqlAddress } from './dsn.ts'
import { full, isDeadlock, isLate, isSlow, Late, unreachable } from './errors.ts'

export interface MysqlPoolOptions {
  address: MysqlAddress
  /** Who asks, for messages: `state store orders`. */
  owner: string
  /** Milliseconds that one operation may take, waiting for a connection included. */
  timeout: number
  /** Most connections. Default: one a processor, at least 4. */
  connections?: number | undefined
  /** Milliseconds that a connection may stay unused. Default one minute. */
  idleTimeout?: number | undefined
  settings?: ConnectionOptions
}

/** Rows of a statement that gives some; what it changed, of one that does not. */
export interface Answer<R = Record<string, unknown>> {
  rows: R[]
  columns: readonly { name: string; columnType?: number | undefined; characterSet?: number | undefined }[]
  /** Rows inserted, deleted, or set to another value than they had; MySQL counts a replaced row twice. */
  affected: number
}

/** Statements on one connection. */
export interface Session {
  /** Prepared once a connection; `values` replace the question marks. */
  run<R = Record<string, unknown>>(sql: string, values?: readonly unknown[]): Promise<Answer<R>>
  /** As it is, without preparing it: for statements that run seldom or cannot be prepared. */
  text(sql: string): Promise<Answer>
}

/** Operations that wait for a connection; beyond it the newest is refused. */
const MAX_WAITING = 10_000
/** How often work that lost to a deadlock is done again. */
const ATTEMPTS = 5

interface Held {
  connection: Connection
  broken: boolean
  idleSince: number
}
interface Waiter {
  give: (held: Held) => void
  fail: (error: Error) => void
}

/**
 * Connections to one server. mysql2's own pool has no bound on waiting and hands out connections whose answer never came;
 * here an operation ends in time, and a connection that missed an answer is gone.
 */
export class MysqlPool implements AsyncDisposable {
  readonly where: string
  readonly #options: MysqlPoolOptions
  readonly #limit: number
  readonly #silence: Silence
  readonly #dialer: Dialer
  readonly #free: Held[] = []
  readonly #waiting: Waiter[] = []
  #open = 0
  #over = false
  #sweeper: NodeJS.Timeout | undefined

  constructor(options: MysqlPoolOptions) {
    this.#options = options
    this.#limit = options.connections ?? Math.max(4, availableParallelism())
    this.where = describeAddress(options.address)
    this.#dialer = new Dialer(options.address, options.settings)
    this.#silence = new Silence({
      probe: (limit) => this.#probe(limit),
      cut: (error) => {
        for (const waiter of this.#waiting.splice(0)) waiter.fail(error)
        this.#dialer.cut(error)
      },
      unanswered: (error) => isSlow(error) || isSlow((error as Error).cause),
      explain: (reason, waited) => unreachable(options.owner, this.where, waited, isSlow(reason) ? new Late() : reason),
    })
  }

  /** One statement. `again`: it may run a second time when the connection breaks under it. */
  run<R = Record<string, unknown>>(sql: string, values: readonly unknown[] = [], again = false): Promise<Answer<R>> {
    return this.use((session) => session.run<R>(sql, values), again)
  }

  text(sql: string): Promise<Answer> {
    return this.use((session) => session.text(sql))
  }

  /** Statements that hold together or not at all; done again when they lose to a deadlock. */
  transaction<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return this.use(async (session) => {
      await session.text('START TRANSACTION')
      try {
        const result = await work(session)
        await session.text('COMMIT')
        return result
      } catch (error) {
        await session.text('ROLLBACK').catch(() => undefined)
        throw error
      }
    })
  }

  /** Statements on one connection, once more after a deadlock. Rejections name the owner, the server and the user. */
  async use<T>(work: (session: Session) => Promise<T>, again = false): Promise<T> {
    const end = Date.now() + this.#options.timeout
    for (let attempt = 1; ; attempt++) {
      const held = await this.#take(end)
      try {
        return await this.#silence.during(() => work(this.#session(held, end)))
      } catch (error) {
        if (isDeadlock(error) && attempt < ATTEMPTS) continue
        // Whether a change was made before the connection broke is not known: only what may happen twice is done again.
        if (held.broken && again && attempt === 1 && !isLate(error)) continue
        // Its answer will not come any more.
        if (this.#silence.error) held.broken = true
        throw held.broken && error !== this.#silence.error ? this.#lost(error) : full(this.#options.owner, this.where, error)
      } finally {
        this.#release(held)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    this.#silence[Symbol.dispose]()
    clearInterval(this.#sweeper)
    for (const waiter of this.#waiting.splice(0)) waiter.fail(new Error(`${this.#options.owner} is closed`))
    for (const held of this.#free.splice(0)) this.#end(held)
  }

  #session(held: Held, end: number): Session {
    const send = <R>(way: 'execute' | 'query', sql: string, values: readonly unknown[]): Promise<Answer<R>> =>
      new Promise((resolve, reject) => {
        const timeout = end - Date.now()
        if (timeout <= 0) return reject(new Late())
        held.connection[way]({ sql, values: values as never, timeout }, (error: QueryError | null, result: unknown, columns) => {
          if (error) {
            if (error.fatal || error.code === 'PROTOCOL_SEQUENCE_TIMEOUT') held.broken = true
            reject(error.code === 'PROTOCOL_SEQUENCE_TIMEOUT' ? new Late() : error)
          } else if (Array.isArray(result)) resolve({ rows: result as R[], columns: (columns ?? []) as Answer['columns'], affected: 0 })
          else resolve({ rows: [], columns: [], affected: (result as { affectedRows?: number }).affectedRows ?? 0 })
        })
      })
    return {
      run: (sql, values = []) => send('execute', sql, values),
      text: (sql) => send('query', sql, []),
    }
  }

  async #take(end: number): Promise<Held> {
    let acquiring: Promise<Held> | undefined
    try {
      // Not begun at all while the server is silent: what nobody waits for would stand in the way of the others later.
      return await this.#silence.during(() => {
        acquiring = this.#acquire(end)
        return acquiring
      })
    } catch (error) {
      acquiring?.then(
        (held) => this.#release(held),
        () => {},
      )
      throw error
    }
  }

  async #acquire(end: number): Promise<Held> {
    if (this.#over) throw new Error(`${this.#options.owner} is closed`)
    const free = this.#free.pop()
    if (free) return free
    if (this.#open < this.#limit) return this.#connect(end)
    if (this.#waiting.length >= MAX_WAITING)
      throw new Error(`${this.#options.owner}: ${MAX_WAITING} operations wait for MySQL at ${this.where} already; send fewer at a time`)
    return new Promise((resolve, reject) => {
      let late = false
      const waiter: Waiter = {
        give: (held) => {
          clearTimeout(timer)
          if (late) this.#release(held)
          else resolve(held)
        },
        fail: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      const timer = setTimeout(
        () => {
          late = true
          const index = this.#waiting.indexOf(waiter)
          if (index >= 0) this.#waiting.splice(index, 1)
          reject(this.#lost(new Late()))
        },
        Math.max(0, end - Date.now()),
      )
      this.#waiting.push(waiter)
    })
  }

  async #connect(end: number): Promise<Held> {
    this.#open++
    try {
      const connection = await this.#dialer.dial(Math.max(1, end - Date.now()))
      const held: Held = { connection, broken: false, idleSince: 0 }
      // Without a listener a lost connection would end the process.
      connection.on('error', () => this.#drop(held))
      connection.on('end', () => this.#drop(held))
      this.#sweeper ??= setInterval(() => this.#sweep(), 10_000).unref()
      return held
    } catch (error) {
      this.#open--
      // Those who wait find out for themselves, or would wait for a connection that nobody opens.
      const next = this.#waiting.shift()
      if (next) this.#connect(Date.now() + 1000).then(next.give, next.fail)
      throw this.#lost(error)
    }
  }

  /** A refusal is an answer too. */
  async #probe(limit: number): Promise<void> {
    try {
      const connection = await this.#dialer.dial(limit)
      connection.on('error', () => {})
      connection.end()
    } catch (error) {
      if (!(error as QueryError).sqlState) throw error
    }
  }

  #drop(held: Held): void {
    held.broken = true
    const index = this.#free.indexOf(held)
    if (index < 0) return
    this.#free.splice(index, 1)
    this.#end(held)
  }

  #release(held: Held): void {
    if (held.broken || this.#over) {
      this.#end(held)
      const next = this.#waiting.shift()
      if (next) this.#connect(Date.now() + this.#options.timeout).then(next.give, next.fail)
      return
    }
    const next = this.#waiting.shift()
    if (next) return next.give(held)
    held.idleSince = Date.now()
    this.#free.push(held)
  }

  #end(held: Held): void {
    this.#open--
    // The library's destroy only says good-bye, which a silent server never answers: the socket would stay.
    if (held.broken) socketOf(held.connection).destroy()
    else held.connection.end()
  }

  /** Closes what has not been used for long. */
  #sweep(): void {
    const before = Date.now() - (this.#options.idleTimeout ?? 60_000)
    while (this.#free[0] && this.#free[0].idleSince < before) this.#end(this.#free.shift() as Held)
  }

  #lost(error: unknown): Error {
    return unreachable(this.#options.owner, this.where, this.#options.timeout, error)
  }
}
