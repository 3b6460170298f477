import type { Socket } from 'node:net'
import type { IncomingHead } from './incoming-head.ts'
import { CHUNKED } from './reply-head.ts'
import { STATUS_TEXT } from './status-text.ts'
import { lastChunk, NO_TRAILERS } from './trailers.ts'

/** Who hears of a request. */
export interface ServerExchangeSink {
  data(chunk: Buffer): void
  /** The client has sent everything. */
  requestEnd(trailers: readonly string[]): void
  /** After `write` returned false: there is room again. */
  drained(): void
  /** The exchange is over: the reply has gone out (`complete`), or the connection was lost. */
  closed(complete: boolean): void
}

/** What of its connection an exchange needs. */
export interface ExchangeConnection {
  readonly socket: Socket
  readonly draining: boolean
  /** The reply is complete; the connection may take the next request unless told to end. */
  finished(keep: boolean): void
  pauseRequest(): void
  resumeRequest(): void
  /** Hands the socket over, paused; what was read past the head comes from it again. */
  detach(): Socket
}

/** Head and body up to this size go out as one piece. */
const ONE_PIECE = 32_768

/** One request at an HTTP/1.1 server and its reply: open → answering → over. */
export class ServerExchange {
  readonly head: IncomingHead
  /** All of the body, where it came with the head. */
  readonly body: Buffer | undefined
  sink: ServerExchangeSink | undefined
  /** The body is not all here. */
  streaming: boolean
  headersSent = false
  over = false
  /** Bytes of the reply's body. */
  sent = 0
  readonly #connection: ExchangeConnection
  /** The head of the reply, which goes out with the first of its body. */
  #pending: string | undefined
  #chunked = false
  #bodiless = false
  #keep = false
  /** What may still be written of a body of declared length; -1: of any. */
  #left = -1

  constructor(connection: ExchangeConnection, head: IncomingHead, body: Buffer | undefined) {
    this.#connection = connection
    this.head = head
    this.body = body
    this.streaming = head.length !== 0 && body === undefined
  }

  get socket(): Socket {
    return this.#connection.socket
  }

  pause(): void {
    if (!this.over) this.#connection.pauseRequest()
  }

  resume(): void {
    if (!this.over) this.#connection.resumeRequest()
  }

  /**
   * Sends the head. `fields`: names and values in turn, without framing but Content-Length. A reply to HEAD, and those of 204 and 304,
   * have no body whatever the fields say; others without Content-Length go out in chunks, or end with the connection on HTTP/1.0.
   */
  respond(status: number, fields: readonly string[], reason: string = STATUS_TEXT[status] ?? ''): void {
    if (this.over || this.headersSent) return
    this.headersSent = true
    const { method, minor, keepAlive } = this.head
    let text = `HTTP/1.1 ${status} ${reason}\r\n`
    let length = -1
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      if (name === 'content-length') length = Number(value)
      text += `${name}: ${value}\r\n`
    }
    this.#bodiless = method === 'HEAD' || status === 204 || status === 304 || status < 200
    this.#left = length
    // A body that nobody reads to its end would be taken for the next request.
    this.#keep = keepAlive && !this.#connection.draining && !this.streaming
    if (length < 0 && !this.#bodiless) {
      if (minor === 1) {
        this.#chunked = true
        text += 'transfer-encoding: chunked\r\n'
      } else this.#keep = false
    }
    if (!this.#keep) text += 'connection: close\r\n'
    else if (minor === 0) text += 'connection: keep-alive\r\n'
    this.#pending = `${text}\r\n`
    // Nearly always the body, or its first piece, is here as well.
    process.nextTick(flush, this)
  }

  /** False: wait until the sink hears `drained`. */
  write(chunk: Buffer): boolean {
    if (this.over || this.#bodiless || chunk.length === 0) return true
    if (this.#left >= 0) {
      this.#left -= chunk.length
      if (this.#left < 0) {
        this.reset()
        return true
      }
    }
    this.sent += chunk.length
    const { socket } = this.#connection
    const before = this.#pending ?? ''
    this.#pending = undefined
    if (!this.#chunked && before === '') return socket.write(chunk)
    const start = this.#chunked ? `${before}${chunk.length.toString(16)}\r\n` : before
    const end = this.#chunked ? 2 : 0
    if (chunk.length <= ONE_PIECE) {
      const whole = Buffer.allocUnsafe(start.length + chunk.length + end)
      whole.write(start, 0, 'latin1')
      chunk.copy(whole, start.length)
      if (this.#chunked) whole.write('\r\n', start.length + chunk.length, 'latin1')
      return socket.write(whole)
    }
    socket.cork()
    socket.write(start, 'latin1')
    const room = socket.write(chunk)
    if (this.#chunked) socket.write('\r\n', 'latin1')
    socket.uncork()
    return room
  }

  /**
   * Ends the reply, with trailers where its body goes in chunks and the client has said that it takes them. One shorter than its declared
   * length cuts the connection, so that the client does not take it for whole.
   */
  end(trailers: readonly string[] = NO_TRAILERS): void {
    if (this.over) return
    if (this.#left > 0 && !this.#bodiless) return this.reset()
    const last = `${this.#pending ?? ''}${this.#chunked ? lastChunk(this.head.trailers ? trailers : NO_TRAILERS) : ''}`
    this.#pending = undefined
    if (last !== '') this.#connection.socket.write(last, 'latin1')
    this.over = true
    this.#connection.finished(this.#keep && !this.streaming)
    this.sink?.closed(true)
  }

  /** Cuts the connection. */
  reset(): void {
    if (!this.over) this.#connection.socket.destroy()
    this.lost()
  }

  /** The socket, paused, for another protocol; what the client sent after the head comes from it. */
  detach(): Socket {
    this.over = true
    return this.#connection.detach()
  }

  /** The connection is gone. */
  lost(): void {
    if (this.over) return
    this.over = true
    this.#pending = undefined
    this.sink?.closed(false)
  }

  /** Sends what waits for company. */
  flush(): void {
    if (this.#pending === undefined) return
    this.#connection.socket.write(this.#pending, 'latin1')
    this.#pending = undefined
  }

  /** The body came to its end. */
  received(trailers: readonly string[]): void {
    this.streaming = false
    this.sink?.requestEnd(trailers)
  }

  get chunked(): boolean {
    return this.head.length === CHUNKED
  }
}

function flush(exchange: ServerExchange): void {
  exchange.flush()
}
