import { constants, type ServerHttp2Session } from 'node:http2'

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
/** The last stream that a first GOAWAY names: every one, so that calls already on their way are served. */
const EVERY_STREAM = 0x7fffffff
/** How long a draining connection waits for the client to have heard of it. */
const GOAWAY_HEARD = 1000

/**
 * One connection at the server: how long it may idle, whether the other side still lives, and whether it pings too much.
 * States: serving → draining (GOAWAY sent, calls on their way are still taken) → closing (none are) → closed.
 */
export class ServerSession {
  /** Calls under way. */
  calls = 0
  /** Something was sent to the client: pings before it are forgiven. */
  answered = false
  readonly #session: ServerHttp2Session
  readonly #options: Required<KeepaliveOptions>
  #timer: NodeJS.Timeout | undefined
  #draining = false
  #strikes = 0
  #lastPing = Number.NEGATIVE_INFINITY
  #lastUse = performance.now()
  #read = 0

  constructor(session: ServerHttp2Session, options: KeepaliveOptions = {}) {
    this.#session = session
    this.#options = { idle: 180_000, ping: 10_000, pingTimeout: 5000, minPingInterval: 8000, ...options }
    session.on('error', () => {})
    session.on('ping', () => this.#pinged())
    this.#timer = setInterval(() => this.#check(), Math.min(this.#options.ping, this.#options.idle)).unref()
  }

  /** A call is over. */
  left(): void {
    if (--this.calls === 0) this.#lastUse = performance.now()
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

  /** Asks the client to take new calls elsewhere; the connection ends with its last call. */
  drain(): void {
    if (this.#draining || this.#session.destroyed) return
    this.#draining = true
    const session = this.#session
    const close = () => {
      clearTimeout(late)
      if (!session.destroyed) session.close()
    }
    const late = setTimeout(close, GOAWAY_HEARD)
    session.goaway(constants.NGHTTP2_NO_ERROR, EVERY_STREAM)
    // Whatever the client sent before it heard of the GOAWAY comes before its answer to this.
    session.ping(close)
  }

  /** The connection is gone. */
  end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
