import { type ConnectionOptions, MongoConnection } from './connection.ts'
import type { Description } from './description.ts'
import { LostError, NoServerError } from './errors.ts'

export interface PoolOptions {
  connection: ConnectionOptions
  /** Connections at most; 0: as many as operations are under way. */
  most: number
  /** Connections that are kept. */
  least: number
  /** Connections that come up at once. */
  opening: number
  /** Milliseconds after which one that nobody used is not used again; 0: never. */
  idle: number
  described(description: Description): void
}

/** Operations that wait for a connection; beyond it the newest is refused. */
const MAX_WAITING = 10_000

interface Waiting {
  go(): void
  fail(error: Error): void
}

/** The connections to one server: those in use last come first, so that the others grow old and end. */
export class Pool implements Disposable {
  readonly #options: PoolOptions
  readonly #idle: MongoConnection[] = []
  readonly #waiting = new Set<Waiting>()
  #count = 0
  #opening = 0
  /** Connections of an earlier one are not taken back. */
  #generation = 0
  readonly #of = new WeakMap<MongoConnection, number>()

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** One that nobody uses, there and then. */
  takeIdle(): MongoConnection | undefined {
    const { idle } = this.#options
    for (;;) {
      const connection = this.#idle.pop()
      if (!connection) return undefined
      if (connection.lost) continue
      if (idle === 0 || performance.now() - connection.used < idle) return connection
      connection[Symbol.dispose]()
    }
  }

  /** Whether another connection may be made now. */
  get hasRoom(): boolean {
    const { most, opening } = this.#options
    return (most === 0 || this.#count < most) && this.#opening < opening
  }

  /** One for the caller alone, who gives it back. `limit`: milliseconds of `performance.now()`. Rejects with LostError, MongoError, or NoServerError at the limit. */
  async take(limit: number): Promise<MongoConnection> {
    for (;;) {
      const idle = this.takeIdle()
      if (idle) return idle
      if (this.hasRoom) return this.#open(limit)
      await this.#turn(limit)
    }
  }

  /** Whether the connection is of now: what became of older ones tells nothing. */
  isCurrent(connection: MongoConnection): boolean {
    return this.#of.get(connection) === this.#generation
  }

  give(connection: MongoConnection): void {
    if (connection.lost) return
    if (!this.isCurrent(connection)) connection[Symbol.dispose]()
    else this.#idle.push(connection)
    this.#next()
  }

  /** Connections of before are not used again: those in use end when they are given back. Who waits for one is told why. */
  clear(reason: Error): void {
    this.#generation++
    for (const connection of this.#idle.splice(0)) connection[Symbol.dispose]()
    for (const { fail } of [...this.#waiting]) fail(new LostError(reason.message, { cause: reason }))
  }

  /** Makes what should always be there. */
  fill(limit: number): void {
    for (let missing = this.#options.least - this.#count; missing > 0 && this.hasRoom; missing--)
      this.#open(limit).then(
        (connection) => this.give(connection),
        () => {},
      )
  }

  [Symbol.dispose](): void {
    this.clear(new Error('the client is closed'))
  }

  async #open(limit: number): Promise<MongoConnection> {
    this.#count++
    this.#opening++
    const generation = this.#generation
    try {
      const { connection: options, described } = this.#options
      const left = Math.max(1, Math.min(options.connectTimeout, limit - performance.now()))
      const connection = await MongoConnection.open({ ...options, connectTimeout: left }, described)
      this.#of.set(connection, generation)
      connection.onLost = () => this.#gone(connection)
      if (connection.lost) this.#gone(connection)
      return connection
    } catch (error) {
      this.#count--
      throw error
    } finally {
      this.#opening--
      this.#next()
    }
  }

  #gone(connection: MongoConnection): void {
    this.#count--
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#next()
  }

  #next(): void {
    const [first] = this.#waiting
    first?.go()
  }

  get #late(): NoServerError {
    const { most } = this.#options
    const isFull = most > 0 && this.#count >= most && this.#opening === 0
    return new NoServerError(
      isFull ? 'no connection became free in time: more operations are under way than maxPoolSize' : 'no connection came up in time',
    )
  }

  #turn(limit: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= MAX_WAITING) return reject(new Error(`${MAX_WAITING} operations wait already; send fewer at a time`))
      const late = () => waiting.fail(this.#late)
      const timer = setTimeout(late, Math.max(1, limit - performance.now()))
      const waiting: Waiting = {
        go: () => {
          clearTimeout(timer)
          this.#waiting.delete(waiting)
          resolve()
        },
        fail: (error) => {
          clearTimeout(timer)
          this.#waiting.delete(waiting)
          reject(error)
        },
      }
      this.#waiting.add(waiting)
    })
  }
}
