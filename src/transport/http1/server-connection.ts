import type { Socket } from 'node:net'
import { readShared, type SharedRead } from '../shared-read.ts'
import { BadRequest, type IncomingHead } from './incoming-head.ts'
import { taken } from './reply-parser.ts'
import { type RequestEvents, RequestParser } from './request-parser.ts'
import { type ExchangeConnection, ServerExchange } from './server-exchange.ts'
import { STATUS_TEXT } from './status-text.ts'

export interface ServerConnectionOptions {
  /** Bytes of a head. */
  maxHeaderSize: number
  /** Milliseconds in which the head of a request must come once it has begun. */
  headTimeout: number
  /** Milliseconds that a connection may be without a request; 0: any. */
  idleTimeout: number
  /** A client that ends its side has gone away, and what it asked for with it; else it still gets its answer. Default false. */
  endAborts?: boolean
}

export interface ServerConnectionEvents {
  /** A request has come; set its sink. */
  onRequest(exchange: ServerExchange): void
  /** It cannot be read and has been answered. */
  onBadRequest(error: BadRequest): void
  onClose(): void
}

/** Bytes of further requests that are kept while one is under way. */
const MAX_AHEAD = 65_536
/** Milliseconds that the client may take to read the last answer of a connection, and bytes that it may still send meanwhile. */
const LINGER = 1000
const NOTHING = Buffer.alloc(0)

/**
 * The server's side of one HTTP/1.1 connection: idle → head → exchange → idle …, one exchange at a time, further requests wait in the
 * order they came; → closed, or detached after an upgrade.
 */
export class ServerConnection implements RequestEvents, ExchangeConnection {
  readonly socket: Socket
  draining = false
  readonly #options: ServerConnectionOptions
  readonly #events: ServerConnectionEvents
  readonly #parser: RequestParser
  readonly #shared: SharedRead | undefined
  #exchange: ServerExchange | undefined
  #rest: Buffer = NOTHING
  #held = false
  #ending = false
  #detached = false
  /** Since when it has waited for what it waits for. */
  #since = performance.now()
  #feeding = false

  /** `first`: what was read of the socket before. The socket's errors are heard here. */
  constructor(given: Socket, options: ServerConnectionOptions, events: ServerConnectionEvents, first?: Buffer) {
    this.#options = options
    this.#events = events
    this.#parser = new RequestParser(this, options.maxHeaderSize)
    this.#shared = readShared(given, (buffer, size) => this.#read(buffer, size, true))
    const socket = this.#shared?.socket ?? given
    this.socket = socket
    if (!this.#shared) socket.on('data', this.#data)
    socket.on('end', this.#ended)
    socket.on('drain', this.#drained)
    socket.on('error', () => {})
    socket.on('close', this.#closed)
    for (const bytes of [first, this.#shared?.first]) if (bytes && bytes.length > 0) this.#read(bytes, bytes.length, false)
    if (!this.#detached && !this.#held) socket.resume()
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return !this.#exchange && !this.#parser.begun
  }

  /** Takes no request after the one under way. */
  drain(): void {
    this.draining = true
    if (this.idle) this.#end()
  }

  /** Closes what waits too long; called every second or so. */
  sweep(now: number): void {
    if (this.#exchange || this.#ending) return
    const { headTimeout, idleTimeout } = this.#options
    const waited = now - this.#since
    if (this.#parser.begun ? waited > headTimeout : idleTimeout > 0 && waited > idleTimeout) this.socket.destroy()
  }

  readonly #data = (chunk: Buffer): void => this.#read(chunk, chunk.length, false)

  /** `shared`: the memory is used again afterwards. */
  #read(chunk: Buffer, length: number, shared: boolean): void {
    if (this.#ending) return
    if (this.#rest.length === 0) return this.#feed(chunk, length, shared)
    this.#rest = Buffer.concat([this.#rest, chunk.subarray(0, length)])
    if (this.#rest.length > MAX_AHEAD) this.#hold()
  }

  #feed(chunk: Buffer, length: number, shared: boolean): void {
    let at = 0
    this.#feeding = true
    const before = this.#parser.begun
    try {
      while (at < length && !this.#ending && !this.#detached) {
        if (this.#exchange && this.#parser.done) break
        at = this.#parser.push(chunk, at, length, shared)
      }
    } catch (error) {
      this.#refuse(error instanceof BadRequest ? error : new BadRequest(400, error instanceof Error ? error.message : String(error)))
      at = length
    }
    this.#feeding = false
    // Empty lines before a request begin none.
    if (!before && !this.#exchange && this.#parser.begun) this.#since = performance.now()
    this.#rest = at < length ? taken(chunk, at, length, shared) : NOTHING
    if (this.#detached) this.#giveBack()
    else if (this.#rest.length > MAX_AHEAD) this.#hold()
  }

  #hold(): void {
    if (this.#held) return
    this.#held = true
    this.socket.pause()
  }

  onHead(head: IncomingHead, body: Buffer | undefined): void {
    const exchange = new ServerExchange(this, head, body)
    this.#exchange = exchange
    if (head.expects && exchange.streaming) this.socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1')
    this.#events.onRequest(exchange)
  }

  onBody(chunk: Buffer): void {
    const exchange = this.#exchange
    if (exchange && !exchange.over) exchange.sink?.data(chunk)
  }

  onEnd(trailers: readonly string[]): void {
    this.#exchange?.received(trailers)
  }

  pauseRequest(): void {
    this.#hold()
  }

  resumeRequest(): void {
    if (!this.#held) return
    this.#held = false
    this.socket.resume()
  }

  finished(keep: boolean): void {
    this.#exchange = undefined
    if (!keep || this.socket.destroyed) return this.#end()
    this.#since = performance.now()
    this.#parser.next()
    if (this.draining && this.#rest.length === 0) return this.#end()
    if (this.#rest.length > 0) {
      if (!this.#feeding) process.nextTick(() => this.#goOn())
    } else if (this.#held) this.resumeRequest()
  }

  /** Takes the request that waited. */
  #goOn(): void {
    const rest = this.#rest
    if (rest.length === 0 || this.#exchange || this.#ending || this.#detached) return
    this.#rest = NOTHING
    this.#feed(rest, rest.length, false)
    if (this.#rest.length <= MAX_AHEAD) this.resumeRequest()
  }

  detach(): Socket {
    const { socket } = this
    this.#detached = true
    this.#exchange = undefined
    this.#shared?.release()
    socket.pause().off('data', this.#data).off('end', this.#ended).off('drain', this.#drained)
    if (!this.#feeding) this.#giveBack()
    return socket
  }

  /** What was read past the head is read again by who has the socket now. */
  #giveBack(): void {
    if (this.#rest.length > 0) this.socket.unshift(this.#rest)
    this.#rest = NOTHING
  }

  #refuse(error: BadRequest): void {
    this.#events.onBadRequest(error)
    if (this.#exchange) return void this.socket.destroy()
    const body = `${error.message}\n`
    this.socket.write(
      `HTTP/1.1 ${error.status} ${STATUS_TEXT[error.status] ?? 'Bad Request'}\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    )
    this.#end()
  }

  /** Ends the connection once the client has read what was written; what it still sends is dropped, for a reset would overtake the answer. */
  #end(): void {
    if (this.#ending) return
    this.#ending = true
    this.#rest = NOTHING
    const { socket } = this
    socket.resume()
    socket.end(() => setTimeout(() => socket.destroy(), LINGER).unref())
  }

  readonly #drained = (): void => {
    this.#exchange?.sink?.drained()
  }

  readonly #ended = (): void => {
    // Clients that close their side after a request still want the answer, if one is under way.
    const exchange = this.#exchange
    if (exchange && !exchange.streaming && !this.#options.endAborts) this.draining = true
    else if (exchange) this.socket.destroy()
    else this.#end()
  }

  readonly #closed = (): void => {
    this.#ending = true
    this.#rest = NOTHING
    const exchange = this.#exchange
    this.#exchange = undefined
    exchange?.lost()
    this.#events.onClose()
  }
}
