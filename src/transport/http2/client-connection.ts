import { Budget } from './budget.ts'
import type { Http2ClientStream } from './client-stream.ts'
import { alpnFault, type ClientTls, dial, type Target } from './dial.ts'
import { type EndpointOptions, Http2Endpoint } from './endpoint.ts'
import type { DecodedBlock } from './hpack.ts'
import { PREFACE } from './input.ts'
import { ConnectionError, H2, MAX_WINDOW, T, uint32 } from './protocol.ts'

export interface ClientConnectionOptions extends EndpointOptions {
  tls: ClientTls
  /** Milliseconds until the server must have said its SETTINGS. */
  connectTimeout: number
  /** Milliseconds without calls after which it is closed; 0: never. */
  idleTimeout: number
  keepalive: { interval: number; timeout: number } | undefined
}

export interface ClientConnectionEvents {
  /** The server has said its SETTINGS: there may be room for streams. */
  onReady(): void
  /** There may be room for more streams. */
  onRoom(): void
  /** It takes no more streams: told to go away, idle, lost, or never up. */
  onGone(): void
}

/** More streams at once go over further connections. */
const MAX_STREAMS = 1000

/**
 * The client's side of one HTTP/2 connection. States: connecting → ready (the server has said its SETTINGS) → retired (no new
 * streams: a GOAWAY came, it idled, or its owner wants it no more) → closed, once its last stream is over.
 */
export class Http2ClientConnection extends Http2Endpoint<Http2ClientStream> {
  /** It stands, and the other side speaks HTTP/2. */
  ready = false
  /** It takes new streams. */
  usable = true
  /** Why it is lost. */
  failure: Error | undefined
  readonly #target: Target
  readonly #options: ClientConnectionOptions
  readonly #events: ClientConnectionEvents
  readonly #late: NodeJS.Timeout
  /** What is no use to us and costs us work: resets of streams that are over, and heads before the answer. */
  readonly #useless = new Budget('frames of no use', 10_000, 1000)
  #maxStreams = MAX_STREAMS
  #nextId = 1
  #lastUse = 0
  #read = 0
  #idleTimer: NodeJS.Timeout | undefined
  #pingTimer: NodeJS.Timeout | undefined
  #pongTimer: NodeJS.Timeout | undefined

  /** Throws for an address that is none. */
  constructor(target: Target, options: ClientConnectionOptions, events: ClientConnectionEvents) {
    super(
      dial(target, options.tls),
      options,
      [
        [2, 0],
        [4, options.streamWindow],
        [6, options.maxHeaderSize],
      ],
      PREFACE,
    )
    this.#target = target
    this.#options = options
    this.#events = events
    const wait = options.connectTimeout
    this.#late = setTimeout(() => this.#lose(new Error(`no connection to ${target.address} within ${wait} ms`)), wait)
    this.socket.once('secureConnect', () => {
      const fault = alpnFault(this.socket)
      if (fault) this.#lose(fault)
    })
  }

  /** Streams that there is room for. */
  get room(): number {
    return this.usable && this.ready && !this.closed ? this.capacity - this.streams.size : 0
  }

  /** Streams that it takes at once. */
  get capacity(): number {
    return Math.min(MAX_STREAMS, this.#maxStreams)
  }

  /** Opens a stream; there must be room. */
  take(stream: Http2ClientStream): void {
    const id = this.#nextId
    this.#nextId += 2
    this.streams.set(id, stream)
    // Numbers are used once.
    if (this.#nextId > MAX_WINDOW) this.retire()
    stream.open(this, id)
  }

  /** Takes no new streams; ends with the last one. */
  retire(): void {
    if (this.closing || this.closed) return
    this.goAway(H2.NO_ERROR, '')
    this.#gone()
    if (this.streams.size === 0) this.end()
  }

  /** Cuts it. */
  lose(error: Error): Promise<void> {
    if (this.socket.closed) return Promise.resolve()
    return new Promise((resolve) => {
      this.socket.once('close', () => resolve())
      this.#lose(error)
    })
  }

  #lose(error: Error): void {
    this.failure ??= error
    this.socket.destroy()
    // Its streams need not wait for the system to say so.
    this.over()
  }

  #gone(): void {
    if (!this.usable) return
    this.usable = false
    this.#events.onGone()
  }

  protected get lastLookedAt(): number {
    // There are no streams of servers.
    return 0
  }

  resetByUs(): void {
    // Whatever still comes on streams that are over is let through.
  }

  protected opened(id: number): boolean {
    return id % 2 === 1 && id < this.#nextId
  }

  protected forgotten(): boolean {
    return true
  }

  protected headersAllowed(id: number): void {
    if (!this.opened(id)) throw new ConnectionError(H2.PROTOCOL, 'HEADERS of an idle stream')
  }

  protected fault(id: number, error: number): void {
    const stream = this.streams.get(id)
    if (!stream) return void this.output.frame(T.RST, 0, id, uint32(error))
    stream.failure ??= new Error(`a reply that breaks HTTP/2 (error ${error})`)
    stream.reset(error)
  }

  protected reset(stream: Http2ClientStream | undefined, error: number): void {
    if (stream) stream.remoteReset(error)
    else this.#useless.spend()
  }

  protected headers(id: number, block: DecodedBlock | undefined, ended: boolean): void {
    const stream = this.streams.get(id)
    if (!stream) return
    const error = stream.fields(block, ended)
    if (error !== 0) this.fault(id, error)
    else if (!ended && !stream.answered) this.#useless.spend()
  }

  protected setting(id: number, value: number): void {
    if (id === 3) this.#maxStreams = value
    else if (id === 2 && value !== 0) throw new ConnectionError(H2.PROTOCOL, 'ENABLE_PUSH')
  }

  protected override settled(first: boolean): void {
    if (!first) return this.#events.onRoom()
    if (this.closed) return
    clearTimeout(this.#late)
    this.ready = true
    this.#lastUse = performance.now()
    this.#keepAlive()
    this.#watchIdle()
    this.#events.onReady()
  }

  protected pinged(ack: boolean): void {
    if (!ack) return
    clearTimeout(this.#pongTimer)
    this.#pongTimer = undefined
  }

  protected goneAway(last: number, error: number, text: string): void {
    if (error !== H2.NO_ERROR)
      this.failure ??= new Error(`the server ended the connection with HTTP/2 error ${error}${text === '' ? '' : `: ${text}`}`)
    this.closing = true
    this.#gone()
    for (const stream of this.streams.values()) {
      if (stream.id <= last) continue
      stream.unseen = true
      stream.lost(this.failure ?? new Error('the server goes away'))
    }
    // A server that found a mistake ends with it: it answers nothing more.
    if (error !== H2.NO_ERROR) this.#lose(this.failure as Error)
    else if (this.streams.size === 0 && !this.closed) this.end()
  }

  protected idle(): void {
    this.#lastUse = performance.now()
    if (this.usable) this.#watchIdle()
  }

  override forget(stream: Http2ClientStream): void {
    super.forget(stream)
    if (this.usable) this.#events.onRoom()
  }

  /** Asks a silent server for a sign of life, and gives the connection up without one. */
  #keepAlive(): void {
    const { keepalive } = this.#options
    if (!keepalive) return
    this.#pingTimer = setInterval(() => {
      const silent = this.bytesRead === this.#read
      this.#read = this.bytesRead
      if (!silent || this.closed || this.#pongTimer) return
      this.ping()
      this.#pongTimer = setTimeout(
        () => this.#lose(new Error(`${this.#target.address} did not answer a ping within ${keepalive.timeout} ms`)),
        keepalive.timeout,
      ).unref()
    }, keepalive.interval).unref()
  }

  /** The timer runs through while streams come and go: setting one for each would cost more than their bookkeeping. */
  #watchIdle(after: number = this.#options.idleTimeout): void {
    if (this.#options.idleTimeout === 0 || this.#idleTimer) return
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined
      if (this.streams.size > 0 || !this.usable) return
      const left = this.#lastUse + this.#options.idleTimeout - performance.now()
      if (left > 0) this.#watchIdle(left)
      else this.retire()
    }, after).unref()
  }

  protected override failed(error: Error): void {
    this.failure ??= error
  }

  protected ended(): void {
    clearTimeout(this.#late)
    clearTimeout(this.#idleTimer)
    clearInterval(this.#pingTimer)
    clearTimeout(this.#pongTimer)
    this.failure ??= new Error(this.ready ? 'the server closed it' : 'it was closed before the server said anything in HTTP/2')
    this.#gone()
  }

  protected override over(): void {
    if (this.closed) return
    this.failure ??= new Error('it was closed')
    for (const stream of this.streams.values()) stream.failure ??= this.failure
    super.over()
  }
}
