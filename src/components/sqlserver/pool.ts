import { availableParallelism } from 'node:os'
import { tlsAdvice } from '../tls-advice.ts'
import { LateError, LostError, type Result, SqlServerConnection } from './connection.ts'
import type { SqlServerAddress } from './connection-string.ts'
import { SqlError } from './tokens.ts'
import type { Parameter } from './values.ts'

export interface PoolOptions {
  address: SqlServerAddress
  database: string
  /** Who asks, for messages: `state store orders`. */
  owner: string
  /** Milliseconds that one operation may take, waiting for a connection included. */
  timeout: number
  /** Of Microsoft Entra ID, in place of user and password. */
  token?: (() => Promise<string>) | undefined
}

/** Statements on one connection. */
export interface Session {
  /** `@name` in the statement stands for a parameter. */
  run(sql: string, parameters?: readonly Parameter[]): Promise<Result>
  procedure(name: string, parameters: readonly Parameter[]): Promise<Result>
  /** Without parameters, as it is: definitions, and what begins or ends a transaction. */
  batch(sql: string): Promise<Result>
}

/** Operations that wait for a connection; beyond it the newest is refused. */
const MAX_WAITING = 10_000
/** Milliseconds that a connection may stay unused. */
const IDLE = 60_000
/** Milliseconds for a connection to come up. */
const CONNECT = 5000
const DEADLOCK = 1205
const ATTEMPTS = 5
const TLS_FIELDS = {
  address: 'connectionString',
  on: 'write encrypt=disable into connectionString',
  authority: 'connectionString, as certificate=FILE',
}

interface Idle {
  connection: SqlServerConnection
  since: number
}

/** Connections to one server: bounded in number, in waiting and in time. One whose answer is late is gone. */
export class SqlServerPool implements AsyncDisposable {
  readonly #options: PoolOptions
  readonly #limit = Math.max(4, availableParallelism())
  readonly #where: string
  readonly #idle: Idle[] = []
  readonly #used = new Set<SqlServerConnection>()
  readonly #waiting: (() => void)[] = []
  #open = 0
  #over = false
  #sweeper: NodeJS.Timeout | undefined

  constructor(options: PoolOptions) {
    this.#options = options
    const { host, port, user } = options.address
    this.#where = `${host.includes(':') ? `[${host}]` : host}:${port}${options.token ? '' : ` as user ${user || '(none)'}`}`
  }

  /** `again`: it may run a second time when the connection breaks under it; `began`: it begins a transaction. Rejections name the owner, the server and the user. */
  async use<T>(work: (session: Session) => Promise<T>, again = false, began = false): Promise<T> {
    const end = Date.now() + this.#options.timeout
    for (let attempt = 1; ; attempt++) {
      const connection = await this.#take(end)
      const left = () => Math.max(1, end - Date.now())
      try {
        const result = await work({
          run: (sql, parameters = []) => connection.run(sql, parameters, left()),
          procedure: (name, parameters) => connection.procedure(name, parameters, left()),
          batch: (sql) => connection.batch(sql, left()),
        })
        return result
      } catch (error) {
        // A transaction of ours; or one that a procedure began and did not end, of which not every server tells.
        if (!connection.lost && (began || error instanceof SqlError))
          await connection.batch('IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION', left()).catch(() => connection[Symbol.dispose]())
        if (error instanceof SqlError && error.number === DEADLOCK && attempt < ATTEMPTS) continue
        // Whether a change was made before the connection broke is not known: only what may happen twice is done again.
        if (error instanceof LostError && !(error instanceof LateError) && again && attempt === 1) continue
        throw error instanceof LostError ? this.#away(error) : error
      } finally {
        this.#release(connection)
      }
    }
  }

  /** Statements that hold together or not at all; done again when they lose to a deadlock. */
  transaction<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const whole = async (session: Session) => {
      await session.batch('BEGIN TRANSACTION')
      const result = await work(session)
      await session.batch('COMMIT TRANSACTION')
      return result
    }
    return this.use(whole, false, true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    clearInterval(this.#sweeper)
    for (const { connection } of this.#idle.splice(0)) connection[Symbol.dispose]()
    for (const wake of this.#waiting.splice(0)) wake()
  }

  async #take(end: number): Promise<SqlServerConnection> {
    for (;;) {
      if (this.#over) throw new Error(`${this.#options.owner} is closed`)
      const free = this.#idle.pop()?.connection
      if (free) {
        if (free.lost) {
          this.#open--
          continue
        }
        this.#used.add(free)
        return free
      }
      if (this.#open < this.#limit) return this.#connect(end)
      if (Date.now() >= end) throw this.#away(new LateError(`no answer within ${this.#options.timeout} ms`))
      await this.#turn(end)
    }
  }

  async #connect(end: number): Promise<SqlServerConnection> {
    this.#open++
    const { address, database, token } = this.#options
    try {
      const limit = Math.min(Math.max(1, end - Date.now()), address.connectTimeout ?? CONNECT)
      const connection = await SqlServerConnection.open(address, database, limit, await token?.())
      this.#used.add(connection)
      this.#sweeper ??= setInterval(() => this.#sweep(), IDLE / 6).unref()
      return connection
    } catch (error) {
      this.#open--
      this.#waiting.shift()?.()
      throw this.#away(error)
    }
  }

  /** Until a connection may be free, or it is too late for one. */
  #turn(end: number): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING)
      throw new Error(
        `${this.#options.owner}: ${MAX_WAITING} operations wait for SQL Server at ${this.#where} already; send fewer at a time`,
      )
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(
        () => {
          const index = this.#waiting.indexOf(wake)
          if (index >= 0) this.#waiting.splice(index, 1)
          resolve()
        },
        Math.max(1, end - Date.now()),
      )
      this.#waiting.push(wake)
    })
  }

  #release(connection: SqlServerConnection): void {
    if (!this.#used.delete(connection)) return
    // A transaction that could not be ended ends with the connection.
    if (connection.lost || connection.inTransaction || this.#over) {
      connection[Symbol.dispose]()
      this.#open--
    } else this.#idle.push({ connection, since: Date.now() })
    this.#waiting.shift()?.()
  }

  #sweep(): void {
    const before = Date.now() - IDLE
    while (this.#idle[0] && (this.#idle[0].since < before || this.#idle[0].connection.lost)) {
      this.#idle.shift()?.connection[Symbol.dispose]()
      this.#open--
    }
  }

  #away(error: unknown): Error {
    const tls = tlsAdvice((error as Error).cause ?? error, TLS_FIELDS)
    const reason = tls
      ? tls.reason
      : error instanceof AggregateError
        ? error.errors.map((one: Error) => one.message).join('; ')
        : (error as Error).message
    const next =
      error instanceof SqlError
        ? 'correct user, password and database in connectionString'
        : tls
          ? `${tls.next}; the next operation connects again`
          : 'start the server or correct its address; the next operation connects again'
    return new Error(`${this.#options.owner}: cannot reach SQL Server at ${this.#where}: ${reason} (${next})`, { cause: error })
  }
}
