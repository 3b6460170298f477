import { constants, type ServerHttp2Session } from 'node:http2'
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
  /** Calls under way. */
  calls = 0
  /** Something was sent to the client since it last pinged: pings so far are forgiven, for clients measure with them what comes. */
  answered = false
  /** Who is at the other end, by its certificate. */
  readonly peer: SpiffeId | undefined
  readonly #session: ServerHttp2Session
  readonly #options: Required<KeepaliveOptions>
  readonly #timer: NodeJS.Timeout
  #strikes = 0
  #lastPing = Number.NEGATIVE_INFINITY
  #lastUse = performance.now()
  #read = 0

  constructor(session: ServerHttp2Session, options: KeepaliveOptions = {}, peer?: SpiffeId) {
    this.#session = session
    this.peer = peer
    this.#options = { idle: 180_000, ping: 10_000, pingTimeout: 5000, minPingInterval: 8000, ...options }
    session.on('error', () => {})
    session.on('ping', () => this.#pinged())
    this.#timer = setInterval(() => this.#check(), Math.min(this.#options.ping, this.#options.idle)).unref()
  }

  /** A call is over. */
  left(): void {
    if (--this.calls > 0) return
    this.#lastUse = performance.now()
  }

  #pinged(): void {
    const now = performance.now()
    if (this.answered) {
      this.answered = false
      this.#strikes = 0
    } else if (now - this.#lastPing < this.#options.minPingInterval) this.#strikes++
    this.#lastPing = now
    if (this.#strikes > PING_STRIKES) {
      this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'))
      // Destroyed at once the GOAWAY would not leave.
      setImmediate(() => this.#session.destroy())
    }
  }

  #check(): void {
    const session = this.#session
    if (session.destroyed) return
    if (this.calls === 0 && performance.now() - this.#lastUse >= this.#options.idle) return this.drain()
    const read = session.socket?.bytesRead ?? 0
    if (read !== this.#read) {
      this.#read = read
      return
    }
    const late = setTimeout(() => session.destroy(), this.#options.pingTimeout).unref()
    session.ping(() => {
      clearTimeout(late)
    })
  }

  /**
   * Asks the client to take new calls elsewhere; the connection ends with its last call. The GOAWAY names the last call that was
   * looked at, so that a client sends those after it again on another connection. (grpc-go first says goodbye without that limit;
   * nghttp2 takes no stream any more once a GOAWAY is out.)
   */
  drain(): void {
    if (!this.#session.destroyed && !this.#session.closed) this.#session.close()
  }

  /** The connection is gone. */
  end(): void {
    clearInterval(this.#timer)
  }
}
