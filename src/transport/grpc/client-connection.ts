import { type ClientHttp2Session, connect, constants } from 'node:http2'
import { createConnection } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { GrpcClientOptions } from './client.ts'

/** At this many calls under way a further connection is opened. */
const CALLS_PER_CONNECTION = 1000

/** How to reach an address that `connect` does not dial by itself. @param onError Hears why a handshake failed; the session would not. */
function dialer(
  address: string,
  tls: GrpcClientOptions['tls'],
  onError: (error: Error) => void,
): Pick<Parameters<typeof connect>[1] & object, 'createConnection'> {
  if (address.startsWith('unix:')) return { createConnection: () => createConnection(address.slice('unix:'.length)) }
  if (!tls) return {}
  return {
    createConnection: (authority) =>
      connectTls({
        host: authority.hostname.replace(/^\[|\]$/g, ''),
        port: Number(authority.port || 443),
        ALPNProtocols: ['h2'],
        ...(typeof tls === 'function' ? tls(address) : tls),
      }).once('error', onError),
  }
}

/**
 * One connection of a client. States: connecting → connected → retired (no new calls: the server asked for it by GOAWAY, it idled,
 * or its owner forgot it) → closed, once its last call is over.
 */
export class Connection {
  readonly session: ClientHttp2Session
  readonly address: string
  calls = 0
  connected = false
  usable = true
  failure: Error | undefined
  /** Calls above this stream were not looked at by a server that said goodbye. */
  lastStream = Number.POSITIVE_INFINITY
  readonly #options: GrpcClientOptions
  readonly #idle: number
  readonly #onGone: () => void
  #idleTimer: NodeJS.Timeout | undefined
  #pingTimer: NodeJS.Timeout | undefined
  #lastUse = 0
  #read = 0
  #settled = false

  constructor(address: string, options: GrpcClientOptions, onGone: () => void) {
    this.address = address
    this.#onGone = onGone
    this.#options = options
    this.#idle = options.idleTimeout ?? 180_000
    this.session = connect(address.startsWith('unix:') ? 'http://localhost' : `${options.tls ? 'https' : 'http'}://${address}`, {
      settings: { initialWindowSize: 1 << 20, enablePush: false },
      maxSessionMemory: 64,
      maxHeaderListPairs: 4096,
      ...dialer(address, options.tls, (error) => {
        this.failure ??= error
        this.#gone()
      }),
    })
    const session = this.session
    const wait = options.connectTimeout ?? 10_000
    const late = setTimeout(() => session.destroy(new Error(`no connection to ${address} within ${wait} ms`)), wait)
    session.once('connect', () => {
      clearTimeout(late)
      this.connected = true
      if (session.destroyed) return
      session.setLocalWindowSize(4 << 20)
      this.#keepAlive()
    })
    session.once('remoteSettings', () => {
      this.#settled = true
    })
    session.on('error', (error) => {
      this.failure = error
    })
    session.on('goaway', (code, lastStream) => {
      this.lastStream = Math.min(this.lastStream, lastStream)
      if (code !== constants.NGHTTP2_NO_ERROR) this.failure ??= new Error(`the server ended the connection with HTTP/2 error ${code}`)
      this.#gone()
    })
    session.once('close', () => {
      clearTimeout(late)
      clearTimeout(this.#idleTimer)
      clearInterval(this.#pingTimer)
      this.#gone()
    })
  }

  get capacity(): number {
    // Until the other side has said how many it takes, calls past the usual limit might wait for ever behind the first ones.
    return this.#settled ? Math.min(CALLS_PER_CONNECTION, this.session.remoteSettings?.maxConcurrentStreams ?? CALLS_PER_CONNECTION) : 100
  }

  /** Asks a silent server for a sign of life, and gives the connection up without one. */
  #keepAlive(): void {
    const { keepalive } = this.#options
    if (!keepalive) return
    const { session } = this
    this.#pingTimer = setInterval(() => {
      const read = session.socket?.bytesRead ?? 0
      const silent = read === this.#read
      this.#read = read
      if (!silent || session.destroyed) return
      const dead = setTimeout(
        () => session.destroy(new Error(`${this.address} did not answer a ping within ${keepalive.timeout} ms`)),
        keepalive.timeout,
      ).unref()
      session.ping(() => clearTimeout(dead))
    }, keepalive.interval).unref()
  }

  #gone(): void {
    if (!this.usable) return
    this.usable = false
    this.#onGone()
  }

  enter(): void {
    this.calls++
  }

  leave(): void {
    if (--this.calls > 0) return
    if (!this.usable) return this.session.close()
    if (this.#idle === 0) return
    this.#lastUse = performance.now()
    // The timer runs through while calls come and go: setting one for each would cost more than their bookkeeping.
    this.#idleTimer ??= setTimeout(() => this.#checkIdle(), this.#idle).unref()
  }

  #checkIdle(): void {
    this.#idleTimer = undefined
    const left = this.#lastUse + this.#idle - performance.now()
    if (this.calls > 0 || !this.usable) return
    if (left > 0) this.#idleTimer = setTimeout(() => this.#checkIdle(), left).unref()
    else this.retire()
  }

  /** Takes no new calls; ends with the last one. */
  retire(): void {
    this.#gone()
    if (this.calls === 0) this.session.close()
  }

  destroy(): Promise<void> {
    this.#gone()
    // After a TLS alert its end is sometimes not told any more.
    if (this.session.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      this.session.once('close', () => resolve())
      this.session.destroy()
    })
  }
}
