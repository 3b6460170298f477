import type { Http2Connection } from '../http2/connection.ts'
import { H2 } from '../http2/protocol.ts'
import type { SpiffeId } from '../identity/spiffe.ts'

/** Milliseconds each; the defaults are daprd's. */
export interface KeepaliveOptions {
  /** A connection without calls is closed after this long. Default 3 minutes. */
  idle?: number
  /** A connection on which nothing came for this long is asked for a sign of life. Default 10 s. */
  ping?: number
  /** Without one within this time it is cut. Default 5 s. */
  pingTimeout?: number
  /** Clients may ping this often; default 8 s. */
  minPingInterval?: number
}

/** Pings that come too soon before the connection is ended, as grpc-go counts them. */
const PING_STRIKES = 2

/**
 * One connection at the server: how long it may idle, whether the other side still lives, and whether it pings too much.
 * States: serving → draining (GOAWAY sent, no new calls) → closed with the last call.
 */
export class ServerSession {
  /** Who is at the other end, by its certificate. */
  readonly peer: SpiffeId | undefined
  readonly #session: Http2Connection
  readonly #options: Required<KeepaliveOptions>
  readonly #timer: NodeJS.Timeout
  #late: NodeJS.Timeout | undefined
  #strikes = 0
  #lastPing = Number.NEGATIVE_INFINITY
  #lastUse = performance.now()
  #read = 0

  constructor(session: Http2Connection, options: KeepaliveOptions = {}, peer?: SpiffeId) {
    this.#session = session
    this.peer = peer
    this.#options = { idle: 180_000, ping: 10_000, pingTimeout: 5000, minPingInterval: 8000, ...options }
    this.#timer = setInterval(() => this.#check(), Math.min(this.#options.ping, this.#options.idle)).unref()
  }

  /** The last call is over. */
  idled(): void {
    this.#lastUse = performance.now()
  }

  /** The client pinged. */
  pinged(): void {
    const now = performance.now()
    const { output } = this.#session
    // Whoever was sent something since it last pinged measures with pings what comes, as grpc-go does.
    if (output.answered) {
      output.answered = false
      this.#strikes = 0
    } else if (now - this.#lastPing < this.#options.minPingInterval) this.#strikes++
    this.#lastPing = now
    if (this.#strikes > PING_STRIKES) this.#session.close(H2.CALM, 'too_many_pings')
  }

  #check(): void {
    const session = this.#session
    if (session.closed) return
    if (session.streams.size === 0 && performance.now() - this.#lastUse >= this.#options.idle) return this.drain()
    const read = session.bytesRead
    if (read !== this.#read) {
      this.#read = read
      return
    }
    session.ping()
    this.#late ??= setTimeout(() => {
      this.#late = undefined
      if (session.bytesRead === read) session.destroy()
    }, this.#options.pingTimeout).unref()
  }

  /**
   * Asks the client to take new calls elsewhere; the connection ends with its last call. The GOAWAY names the last call that was
   * looked at, so that a client sends those after it again on another connection.
   */
  drain(): void {
    this.#session.close()
  }

  /** The connection is gone. */
  end(): void {
    clearInterval(this.#timer)
    clearTimeout(this.#late)
  }
}
