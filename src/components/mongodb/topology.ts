import { choose, type ReadPreference } from './choose.ts'
import type { MongoConnection } from './connection.ts'
import { type Description, describe } from './description.ts'
import { LostError, MongoError, NoServerError } from './errors.ts'
import { Members, type Server } from './members.ts'
import { Pool, type PoolOptions } from './pool.ts'
import type { Place } from './uri.ts'

export interface TopologyOptions {
  places: readonly Place[]
  replicaSet: string | undefined
  direct: boolean
  /** Milliseconds after which an operation has its servers asked again what they are. */
  heartbeat: number
  /** How long a server may take to say what it is, milliseconds. */
  patience: number
  pool(place: Place, described: (description: Description) => void): PoolOptions
  /** Servers by their record in DNS, asked again as long as they are mongos; undefined: they are named. */
  lookUp: (() => Promise<readonly Place[]>) | undefined
}

/** A server is not asked more often, milliseconds. */
const LEAST = 500
/** A record of DNS is not asked more often, milliseconds. */
const RECORD = 60_000

/**
 * The servers of one component. They are asked what they are when an operation needs one that is not known, after a failure, and
 * beside operations once they have not been asked for a while: where nobody asks anything, nothing wakes up.
 */
export class Topology implements Disposable {
  readonly #options: TopologyOptions
  readonly #members: Members
  #changed = Promise.withResolvers<void>()
  #lookedUp = performance.now()
  #over = false

  constructor(options: TopologyOptions) {
    this.#options = options
    const make = (name: string, place: Place): Server => {
      const server: Server = {
        name,
        description: undefined,
        error: undefined,
        checked: Number.NEGATIVE_INFINITY,
        checking: undefined,
        pool: undefined as never,
      }
      server.pool = new Pool(options.pool(place, (description) => this.#learn(server, description)))
      return server
    }
    this.#members = new Members({ ...options, make })
  }

  /** What all servers are, together. */
  get kind(): Members['kind'] {
    return this.#members.kind
  }

  /** A server for a write, or by `preference` for a read. Rejects with NoServerError at `limit`, milliseconds of `performance.now()`. */
  async select(limit: number, preference?: ReadPreference): Promise<Server> {
    const began = performance.now()
    for (;;) {
      if (this.#over) throw new NoServerError('the client is closed')
      const server = choose(this.#members, preference)
      const now = performance.now()
      if (server) {
        if (now - server.checked > this.#options.heartbeat) this.#checkAll(now)
        return server
      }
      if (now >= limit || this.#isHopeless(began)) throw new NoServerError(this.#members.trouble, { cause: this.#reason() })
      const next = this.#checkAll(now)
      await this.#change(Math.min(limit, next) - now)
    }
  }

  /** An operation at the server failed so that it may not be what it was: it is asked before the next operation. */
  failed(server: Server, error: unknown, connection: MongoConnection | undefined): void {
    const lost = error instanceof LostError
    if (connection && !server.pool.isCurrent(connection)) return
    if (!lost && !(error instanceof MongoError && error.stateChange)) return
    server.description = undefined
    server.error = error
    // What it says now may be another thing than a moment ago.
    server.checked = Math.min(server.checked, performance.now() - LEAST)
    if (lost) server.pool.clear(error)
  }

  [Symbol.dispose](): void {
    this.#over = true
    for (const { pool } of this.#members.servers.values()) pool[Symbol.dispose]()
    this.#tell()
  }

  /** Every server was asked since, and is kept from us by what waiting does not mend. */
  #isHopeless(since: number): boolean {
    const servers = [...this.#members.servers.values()]
    return servers.every(({ error, checked, checking }) => !checking && checked > since && isDefinite(error))
  }

  /** The reason that says most: a refusal, then what is wrong with a connection. */
  #reason(): unknown {
    const errors = [...this.#members.servers.values()].map(({ error }) => error)
    return errors.find((error) => error instanceof MongoError) ?? errors.find((error) => error !== undefined)
  }

  /** Starts what may be started; returns when the next may be, milliseconds of `performance.now()`. */
  #checkAll(now: number): number {
    const { lookUp } = this.#options
    if (lookUp && this.#members.kind !== 'set' && now - this.#lookedUp > RECORD) {
      this.#lookedUp = now
      lookUp().then(
        (places) => this.#members.replace(places),
        // The record of before stays.
        () => {},
      )
    }
    let next = now + LEAST
    for (const server of this.#members.servers.values()) {
      if (server.checking) continue
      if (now - server.checked < LEAST) next = Math.min(next, server.checked + LEAST)
      else server.checking = this.#check(server)
    }
    return next
  }

  async #check(server: Server): Promise<void> {
    try {
      await this.#ask(server)
    } catch (error) {
      // A refused login does not change what the server is.
      if (!(error instanceof MongoError) || !server.description) {
        server.description = undefined
        server.error = error
      }
      if (error instanceof LostError) server.pool.clear(error)
    } finally {
      server.checking = undefined
      server.checked = performance.now()
      this.#tell()
    }
  }

  async #ask(server: Server): Promise<void> {
    const { pool } = server
    for (let idle = pool.takeIdle(); idle; idle = pool.takeIdle()) {
      const began = performance.now()
      try {
        const hello = await idle.run({ isMaster: 1, helloOk: true, $db: 'admin' }, began + this.#options.patience)
        this.#learn(server, describe(hello, performance.now() - began))
        return pool.give(idle)
      } catch (error) {
        // It may have died unnoticed; a new one tells.
        if (!(error instanceof LostError)) throw error
        pool.clear(error)
      }
    }
    // All are in use: how operations go tells enough.
    if (!pool.hasRoom) return
    pool.give(await pool.take(Number.POSITIVE_INFINITY))
    pool.fill(Number.POSITIVE_INFINITY)
  }

  #learn(server: Server, description: Description): void {
    server.checked = performance.now()
    // Who waits is told once the connection has signed in, and then takes that one.
    this.#members.learn(server, description)
  }

  #tell(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #change(most: number): Promise<void> {
    const { promise } = this.#changed
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, most))
      promise.then(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }
}

/** Certificates, and settings of ours; a connection that is refused or silent may be taken a moment later. */
function isDefinite(error: unknown): boolean {
  if (error instanceof MongoError) return !error.stateChange
  if (!(error instanceof LostError)) return error !== undefined
  const { code = '' } = (error.cause ?? {}) as NodeJS.ErrnoException
  return /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|ERR_SSL_(TLS|SSL)V?\d*_ALERT|ERR_SSL_WRONG_VERSION)/.test(code)
}
