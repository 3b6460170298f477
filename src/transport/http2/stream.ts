import type { IncomingHttpHeaders } from 'node:http2'
import type { Http2Connection } from './connection.ts'
import { HeldBytes } from './held-bytes.ts'
import { encodeHeaders } from './hpack.ts'
import { H2, MAX_WINDOW, T, uint32 } from './protocol.ts'

/** Who hears of a stream. */
export interface StreamSink {
  data(chunk: Buffer): void
  /** The client has sent everything. */
  requestEnd(): void
  /** The stream is over: both sides have ended, or one of them has reset it. */
  streamClosed(): void
  /** After `write` returned false: there is room again. */
  drained(): void
}

/** Names and values in turn, or such a list encoded before by `encodeHeaders`. */
export type Fields = readonly string[] | Buffer

/** A request and its reply as bytes: what a handler needs that passes both on. */
export interface ServerStream {
  readonly headers: IncomingHttpHeaders
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  readonly headersSent: boolean
  /** The client has sent everything, and the sink has it. */
  readonly readableEnded: boolean
  readonly closed: boolean
  sink: StreamSink | undefined
  /** The fields that ended the reply, once it has ended. */
  readonly last: Fields | undefined
  /** Calls every such listener when the stream is over, after its sink. */
  whenClosed(listener: () => void): void
  /** Holds the request back at the sender: at most one window of it comes. */
  pause(): void
  resume(): void
  /** Sends the head; with `end` there is nothing after it. */
  respond(head: Fields, end?: boolean): void
  /** False: wait until the sink hears `drained`. */
  write(bytes: Buffer): boolean
  /** Ends the reply: last bytes, then trailers. A client that still sends is told that nobody reads it. */
  end(bytes: Buffer | undefined, trailers: Fields): void
  reset(error: number): void
}

/** Bytes that a stream takes from its writer before it asks it to wait. */
const HIGH_WATER = 65_536

/** One stream at the server. It is over when both sides have ended, or when one of them has reset it. */
export class Http2Stream implements ServerStream {
  readonly id: number
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingHttpHeaders
  sink: StreamSink | undefined
  last: Fields | undefined
  headersSent = false
  readableEnded = false
  closed = false
  readonly #connection: Http2Connection
  #window: number
  /** Bytes that came since the client was last given room. */
  #received = 0
  /** Bytes that must still come by the request's content-length. */
  #missing: number | undefined
  #paused = false
  #held: HeldBytes | undefined
  /** The client has sent everything, whether the sink has it or not. */
  remoteEnded = false
  #localEnded = false
  #queue: Buffer[] = []
  #queued = 0
  #trailers: Buffer | undefined
  #blocked = false
  #onClosed: (() => void)[] | undefined

  constructor(connection: Http2Connection, id: number, headers: IncomingHttpHeaders, raw: readonly string[]) {
    this.#connection = connection
    this.id = id
    this.rawHeaders = raw
    this.headers = headers
    this.#window = connection.initialWindow
    const length = headers['content-length']
    if (length !== undefined) this.#missing = Number(length)
  }

  /**
   * Takes what came; `counted` is its share of the windows. Gives the error that the stream is to be reset with, if any.
   */
  receive(bytes: Buffer, counted: number, ended: boolean): number {
    if (this.remoteEnded) return H2.STREAM_CLOSED
    this.#received += counted
    const { streamWindow } = this.#connection.options
    if (this.#received > streamWindow) return H2.FLOW_CONTROL
    if (this.#missing !== undefined) {
      this.#missing -= bytes.length
      if (this.#missing < 0 || (ended && this.#missing > 0)) return H2.PROTOCOL
    }
    if (ended) this.remoteEnded = true
    if (this.#paused) {
      if (bytes.length === 0) return 0
      this.#held ??= new HeldBytes()
      this.#held.push(bytes)
      this.#connection.receiving.hold(bytes.length)
      return 0
    }
    if (bytes.length > 0) this.sink?.data(bytes)
    this.#afterData()
    return 0
  }

  #afterData(): void {
    if (this.closed || this.#paused) return
    if (this.remoteEnded) return this.#endRead()
    if (this.#received < this.#connection.options.streamWindow / 2) return
    this.#connection.windowUpdate(this.id, this.#received)
    this.#received = 0
  }

  #endRead(): void {
    if (this.readableEnded) return
    this.readableEnded = true
    this.sink?.requestEnd()
    this.#maybeOver()
  }

  whenClosed(listener: () => void): void {
    this.#onClosed ??= []
    this.#onClosed.push(listener)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused || this.closed) return
    this.#paused = false
    const held = this.#held
    if (held) {
      this.#held = undefined
      this.#connection.receiving.release(held.size)
      this.sink?.data(held.take())
    }
    this.#afterData()
  }

  respond(head: Fields, end = false): void {
    if (this.closed || this.headersSent) return
    this.headersSent = true
    this.#connection.output.headers(this.id, encoded(head), end)
    if (!end) return
    this.last = head
    this.#localEnd()
  }

  write(bytes: Buffer): boolean {
    if (this.closed || this.last) return true
    this.#enqueue(bytes)
    this.flush()
    if (this.#queued < HIGH_WATER) return true
    this.#blocked = true
    return false
  }

  #enqueue(bytes: Buffer): void {
    this.#queue.push(bytes)
    this.#queued += bytes.length
    this.#connection.queued += bytes.length
  }

  end(bytes: Buffer | undefined, trailers: Fields): void {
    if (this.closed || this.last) return
    this.last = trailers
    this.#trailers = encoded(trailers)
    // Whoever has ended hears of room no more.
    this.#blocked = false
    if (bytes) this.#enqueue(bytes)
    this.flush()
  }

  /** Sends what the windows allow. */
  flush(): void {
    const { output } = this.#connection
    while (this.#queue.length > 0) {
      if (!output.room) return output.wait(this)
      if (this.#window <= 0) return
      const head = this.#queue[0] as Buffer
      const size = Math.min(head.length, this.#window, output.window, output.maxFrame)
      if (size === head.length) this.#queue.shift()
      else this.#queue[0] = head.subarray(size)
      this.#window -= size
      output.window -= size
      this.#connection.queued -= size
      this.#queued -= size
      output.frame(T.DATA, 0, this.id, size === head.length ? head : head.subarray(0, size))
    }
    const trailers = this.#trailers
    if (trailers) {
      this.#trailers = undefined
      output.headers(this.id, trailers, true)
      this.#localEnd()
    } else if (this.#blocked) {
      this.#blocked = false
      this.sink?.drained()
    }
  }

  /** The client lets us send more, or less. False: more than there can be. */
  more(bytes: number): boolean {
    this.#window += bytes
    if (this.#window > MAX_WINDOW) return false
    if (this.#window > 0) this.flush()
    return true
  }

  #localEnd(): void {
    this.#localEnded = true
    // What the client still sends would not be read.
    if (this.remoteEnded) this.#maybeOver()
    else setImmediate(() => (this.remoteEnded ? this.#maybeOver() : this.reset(H2.NO_ERROR)))
  }

  #maybeOver(): void {
    if (this.#localEnded && this.remoteEnded) this.gone()
  }

  reset(error: number): void {
    if (this.closed) return
    this.#connection.output.frame(T.RST, 0, this.id, uint32(error))
    this.#connection.resetByUs(this.id)
    this.gone()
  }

  /** The stream is over, on whichever side's wish. */
  gone(): void {
    if (this.closed) return
    this.closed = true
    this.#connection.queued -= this.#queued
    this.#queue = []
    this.#trailers = undefined
    if (this.#held) this.#connection.receiving.release(this.#held.size)
    this.#held = undefined
    this.#connection.forget(this)
    this.sink?.streamClosed()
    if (this.#onClosed) for (const listener of this.#onClosed) listener()
  }
}

function encoded(fields: Fields): Buffer {
  return Buffer.isBuffer(fields) ? fields : encodeHeaders(fields)
}
