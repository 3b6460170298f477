import { isIPv6 } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { Connection, type ConnectionOwner, type ConnectionTarget } from './connection.ts'
import { HttpCallError } from './errors.ts'
import { type Carrier, type Exchange, givenUp } from './exchange.ts'
import { fieldLine, type RequestHead, requestHead } from './request-head.ts'

export interface PoolOptions extends Omit<Partial<ConnectionTarget>, 'tls'> {
  host: string
  port: number
  /** Speaks TLS; a function is asked for each connection, for certificates change. */
  tls?: ConnectionOptions | (() => ConnectionOptions) | undefined
  /** Connections at once. Default 1024, as daprd's. */
  maxSockets?: number
  /** Requests that wait for a connection; more fail with EBUSY. Default 10,000. */
  maxWaiting?: number
  /** Fields of every request, `[name, value]`. */
  extra?: readonly (readonly [string, string])[]
}

/**
 * Connections to one server over HTTP/1.1. The connection used last is used next, so that a quiet time closes those that a busy
 * one has opened. Requests wait in turn for the first connection that becomes free or comes up.
 */
export class HttpPool implements ConnectionOwner, Carrier {
  readonly #target: ConnectionTarget
  readonly #tls: (() => ConnectionOptions) | undefined
  readonly #maxSockets: number
  readonly #maxWaiting: number
  readonly #hostLine: string
  #extra: string
  readonly #all = new Set<Connection>()
  /** The one that has been free for the shortest time is last. */
  readonly #free: Connection[] = []
  readonly #waiting = new Map<Exchange, RequestHead>()
  /** Connections that come up for one exchange only. */
  readonly #reserved = new Map<Connection, [Exchange, RequestHead]>()
  #opening = 0
  #session: Buffer | undefined
  #sessionOf: ConnectionOptions | undefined
  #sweep: NodeJS.Timeout | undefined
  #closing: PromiseWithResolvers<void> | undefined

  constructor(options: PoolOptions) {
    const { maxSockets = 1024, maxWaiting = 10_000, extra = [], tls, ...target } = options
    this.#tls = typeof tls === 'function' ? tls : tls && (() => tls)
    this.#maxSockets = maxSockets
    this.#maxWaiting = maxWaiting
    // Addresses come with the brackets of a URL or without.
    const host = target.host.replace(/^\[|\]$/g, '')
    this.#target = {
      maxHeaderSize: 65_536,
      shortBodies: 0,
      connectTimeout: 30_000,
      silenceTimeout: 0,
      idleTimeout: 60_000,
      ...target,
      host,
    }
    const port = target.port === (tls ? 443 : 80) || target.socketPath !== undefined ? '' : `:${target.port}`
    this.#hostLine = fieldLine('Host', `${isIPv6(host) ? `[${host}]` : host}${port}`)
    this.#extra = lines(extra)
  }

  /** Fields that requests get from now on, in place of those of before. */
  setExtra(extra: NonNullable<PoolOptions['extra']>): void {
    this.#extra = lines(extra)
  }

  /** Connections that are open or opening. */
  get size(): number {
    return this.#all.size
  }

  /** Requests that wait for a connection. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Sends the request of an exchange, now or in its turn. What cannot be sent fails after this call. */
  dispatch(exchange: Exchange): void {
    let head: RequestHead
    try {
      if (this.#closing) throw new HttpCallError('ECANCELED', 'the client is closed')
      head = requestHead(exchange.request, this.#hostLine, this.#extra)
      if (this.#waiting.size >= this.#maxWaiting)
        throw new HttpCallError('EBUSY', `${this.#waiting.size} requests wait for a connection to ${this.#target.host} already`)
    } catch (error) {
      return process.nextTick(() => exchange.onError(error as Error))
    }
    const { body } = exchange.request
    // A streamed body may break off at any time, also while its request waits and when nobody reads it any more.
    if (body !== undefined && !Buffer.isBuffer(body)) body.on('error', (error) => exchange.fail(error))
    const connection = this.#take()
    if (connection) return connection.send(exchange, head)
    exchange.carrier = this
    this.#waiting.set(exchange, head)
    this.#open()
  }

  #take(): Connection | undefined {
    if (this.#free.length === 0) return undefined
    const now = performance.now()
    for (;;) {
      const connection = this.#free.pop()
      if (!connection || connection.usable(now)) return connection
      connection.close()
    }
  }

  #open(): void {
    while (this.#opening < this.#waiting.size && this.#all.size < this.#maxSockets) {
      this.#opening++
      this.#connect()
    }
  }

  #connect(): Connection {
    const tls = this.#tls?.()
    // A session goes on with the certificates that it began with.
    if (tls !== this.#sessionOf) this.#session = undefined
    this.#sessionOf = tls
    const target = tls ? { ...this.#target, tls: this.#session ? { ...tls, session: this.#session } : tls } : this.#target
    const connection = new Connection(target, this, (session) => {
      if (this.#sessionOf === tls) this.#session = session
    })
    this.#all.add(connection)
    return connection
  }

  free(connection: Connection): void {
    if (connection.freeSince === 0) {
      const reserved = this.#reserved.get(connection)
      if (reserved) {
        this.#reserved.delete(connection)
        if (!reserved[0].over) return connection.send(...reserved)
      } else this.#opening--
    }
    connection.freeSince = performance.now()
    for (const [exchange, head] of this.#waiting) {
      this.#waiting.delete(exchange)
      return connection.send(exchange, head)
    }
    if (this.#closing) return connection.close()
    this.#free.push(connection)
    this.#sweep ??= setTimeout(() => this.#collect(), this.#target.idleTimeout / 4).unref()
  }

  refused(connection: Connection, error: Error): void {
    const reserved = this.#reserved.get(connection)
    if (reserved) {
      this.#reserved.delete(connection)
      return reserved[0].onError(error)
    }
    this.#opening--
    for (const exchange of this.#waiting.keys()) {
      this.#waiting.delete(exchange)
      exchange.onError(error)
      break
    }
    this.#open()
  }

  gone(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#free.indexOf(connection)
    if (at >= 0) this.#free.splice(at, 1)
    if (this.#closing && this.#all.size === 0 && this.#waiting.size === 0) this.#closing.resolve()
    else if (this.#waiting.size > 0) process.nextTick(() => this.#open())
  }

  again(exchange: Exchange, head: RequestHead): void {
    if (this.#closing) return exchange.onError(givenUp())
    exchange.retried = true
    const connection = this.#connect()
    exchange.carrier = { pause() {}, resume() {}, drop: () => connection.close() }
    this.#reserved.set(connection, [exchange, head])
  }

  pause(): void {}

  resume(): void {}

  drop(exchange: Exchange): void {
    this.#waiting.delete(exchange)
  }

  #collect(): void {
    this.#sweep = undefined
    const now = performance.now()
    for (const connection of [...this.#free]) if (!connection.usable(now)) connection.close()
    if (this.#free.length > 0) this.#sweep = setTimeout(() => this.#collect(), this.#target.idleTimeout / 4).unref()
  }

  /** Takes no more requests and lets those under way finish. */
  close(): Promise<void> {
    this.#closing ??= Promise.withResolvers<void>()
    clearTimeout(this.#sweep)
    for (const connection of [...this.#free]) connection.close()
    if (this.#all.size === 0 && this.#waiting.size === 0) this.#closing.resolve()
    return this.#closing.promise
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.close()
    const reason = new HttpCallError('ECANCELED', 'the client is closed')
    for (const exchange of [...this.#waiting.keys()]) exchange.onError(reason)
    this.#waiting.clear()
    for (const connection of [...this.#all]) connection.close(reason)
    if (this.#all.size === 0) this.#closing?.resolve()
    await closed
  }
}

function lines(fields: NonNullable<PoolOptions['extra']>): string {
  return fields.map(([name, value]) => fieldLine(name, value)).join('')
}
