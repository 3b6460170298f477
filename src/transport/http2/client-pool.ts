import { type ClientConnectionOptions, Http2ClientConnection } from './client-connection.ts'
import type { Http2ClientStream } from './client-stream.ts'
import { type Target, targetOf } from './dial.ts'

export interface PoolOptions extends ClientConnectionOptions {
  /** Connections to one address. */
  maxConnections: number
  /** Streams that may wait for a place at one address. */
  maxWaiting: number
  /** A connection to an address takes no more streams. */
  onGone?: ((address: string) => void) | undefined
}

/** Streams that a connection is taken to have room for before its server has said how many. */
const FIRST_GUESS = 100

/** A stream that found no place because too many wait for one already. */
export class QueueFull extends Error {
  override readonly name = 'QueueFull'
}

/** The connections to one address, and the streams that wait for a place on one. */
class Origin {
  readonly target: Target
  readonly connections: Http2ClientConnection[] = []
  readonly #options: PoolOptions
  readonly #onEmpty: () => void
  readonly #waiting = new Set<Http2ClientStream>()
  readonly #connecting = new Set<Http2ClientConnection>()
  /** Connections to be retired as soon as they stand and have served those who waited for them. */
  readonly #stale = new WeakSet<Http2ClientConnection>()
  #limit = FIRST_GUESS

  constructor(target: Target, options: PoolOptions, onEmpty: () => void) {
    this.target = target
    this.#options = options
    this.#onEmpty = onEmpty
  }

  request(stream: Http2ClientStream): void {
    if (this.#waiting.size === 0) {
      const connection = this.#roomiest()
      if (connection) return connection.take(stream)
    }
    const { maxWaiting } = this.#options
    if (this.#waiting.size >= maxWaiting) {
      const full = new QueueFull(
        `${maxWaiting} calls wait already for ${this.target.address}, which takes ${this.#limit} at once on each of ${this.connections.length} connections`,
      )
      return queueMicrotask(() => stream.lost(full))
    }
    this.#waiting.add(stream)
    stream.onLeave = () => this.#waiting.delete(stream)
    this.#grow()
  }

  /** Takes no new streams over connections that there are. */
  forget(): void {
    for (const connection of [...this.connections]) {
      if (connection.ready) connection.retire()
      else this.#stale.add(connection)
    }
  }

  async destroy(): Promise<void> {
    const error = new Error('the client was closed')
    await Promise.all([...this.connections].map((connection) => connection.lose(error)))
    this.#fail(error)
  }

  #roomiest(): Http2ClientConnection | undefined {
    const { connections } = this
    // Nearly always there is one.
    const first = connections[0]
    if (connections.length === 1) return first && first.room > 0 ? first : undefined
    let best: Http2ClientConnection | undefined
    let most = 0
    for (const connection of connections) {
      const { room } = connection
      if (room <= most) continue
      best = connection
      most = room
    }
    return best
  }

  /** Opens as many connections as those who wait need. */
  #grow(): void {
    // A server that takes no streams for a while says so on the connection there is.
    if (this.#limit === 0 && this.connections.length > 0) return
    while (this.#connecting.size * Math.max(1, this.#limit) < this.#waiting.size && this.connections.length < this.#options.maxConnections)
      if (!this.#connect()) return
  }

  #connect(): boolean {
    let connection: Http2ClientConnection
    try {
      connection = new Http2ClientConnection(this.target, this.#options, {
        onReady: () => {
          this.#connecting.delete(connection)
          this.#limit = connection.capacity
          this.#serve()
          if (this.#stale.has(connection)) connection.retire()
          this.#grow()
        },
        onRoom: () => {
          if (this.#waiting.size > 0) this.#serve()
        },
        onGone: () => this.#gone(connection),
      })
    } catch (error) {
      queueMicrotask(() => this.#fail(error as Error))
      return false
    }
    this.connections.push(connection)
    this.#connecting.add(connection)
    return true
  }

  /** Gives places to those who wait, in their order. */
  #serve(): void {
    for (const stream of this.#waiting) {
      const connection = this.#roomiest()
      if (!connection) return
      this.#waiting.delete(stream)
      connection.take(stream)
    }
  }

  #gone(connection: Http2ClientConnection): void {
    const index = this.connections.indexOf(connection)
    if (index >= 0) this.connections.splice(index, 1)
    const failed = this.#connecting.delete(connection)
    this.#options.onGone?.(this.target.address)
    // Whoever waits for a connection hears that it did not come; one that was lost makes room for another.
    if (failed && this.#connecting.size === 0) this.#fail(connection.failure ?? new Error('the connection was closed'))
    else this.#grow()
    this.#checkEmpty()
  }

  #fail(error: Error): void {
    for (const stream of [...this.#waiting]) stream.lost(error)
    this.#checkEmpty()
  }

  #checkEmpty(): void {
    if (this.connections.length === 0 && this.#waiting.size === 0) this.#onEmpty()
  }
}

/** Connections by address, opened on demand: further ones when all are full, up to a bound, past which streams wait. */
export class ClientPool {
  readonly #options: PoolOptions
  readonly #origins = new Map<string, Origin>()
  #closed = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Gives a stream a place, now or when there is one; failures come through its sink. */
  request(address: string, stream: Http2ClientStream): void {
    if (this.#closed) return queueMicrotask(() => stream.lost(new Error('the client was closed')))
    this.#origin(address).request(stream)
  }

  /** Sends no more streams over the connections to an address, without one over any that stand; those under way finish. */
  forget(address?: string): void {
    if (address !== undefined) return this.#origins.get(address)?.forget()
    for (const origin of [...this.#origins.values()]) origin.forget()
  }

  /** Ends everything, waiting or under way, and takes nothing more. */
  async destroy(): Promise<void> {
    this.#closed = true
    const origins = [...this.#origins.values()]
    this.#origins.clear()
    await Promise.all(origins.map((origin) => origin.destroy()))
  }

  #origin(address: string): Origin {
    let origin = this.#origins.get(address)
    if (!origin) {
      const made: Origin = new Origin(targetOf(address, this.#options.tls), this.#options, () => {
        if (this.#origins.get(address) === made) this.#origins.delete(address)
      })
      origin = made
      this.#origins.set(address, origin)
    }
    return origin
  }
}
