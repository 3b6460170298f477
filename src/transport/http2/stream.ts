import type { IncomingHttpHeaders } from 'node:http2'
import { FlowStream, type StreamConnection } from './flow-stream.ts'
import { encodeHeaders } from './hpack.ts'
import { H2 } from './protocol.ts'

/** Who hears of a stream. */
export interface StreamSink {
  data(chunk: Buffer): void
  /** The client has sent everything. `trailers`: names and values in turn. */
  requestEnd(trailers: readonly string[]): void
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
  /** False: wait until the sink hears `drained`. `lent`: nobody else looks at the bytes, and their memory may be used again. */
  write(bytes: Buffer, lent?: boolean): boolean
  /** Ends the reply: last bytes, then trailers if there are any. A client that still sends is told that nobody reads it. */
  end(bytes: Buffer | undefined, trailers: Fields): void
  reset(error: number): void
}

const NO_FIELDS: readonly string[] = []

/** One stream at the server. */
export class Http2Stream extends FlowStream implements ServerStream {
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingHttpHeaders
  sink: StreamSink | undefined
  last: Fields | undefined
  /** What came after the body. */
  trailers: readonly string[] = NO_FIELDS
  headersSent = false
  #onClosed: (() => void)[] | undefined

  constructor(connection: StreamConnection, id: number, headers: IncomingHttpHeaders, raw: readonly string[]) {
    super()
    this.attach(connection, id)
    this.rawHeaders = raw
    this.headers = headers
    this.expect(headers)
  }

  whenClosed(listener: () => void): void {
    this.#onClosed ??= []
    this.#onClosed.push(listener)
  }

  respond(head: Fields, end = false): void {
    if (this.closed || this.headersSent) return
    this.headersSent = true
    this.connection?.output.headers(this.id, encoded(head), end)
    if (!end) return
    this.last = head
    this.localEnded = true
    this.onLocalEnd()
  }

  end(bytes: Buffer | undefined, trailers: Fields): void {
    if (this.closed || this.last) return
    this.last = trailers
    this.finish(bytes, trailers.length === 0 || encoded(trailers))
  }

  protected onData(chunk: Buffer): void {
    this.sink?.data(chunk)
  }

  protected onRemoteEnd(): void {
    this.sink?.requestEnd(this.trailers)
  }

  protected onDrained(): void {
    this.sink?.drained()
  }

  protected onLocalEnd(): void {
    // What the client still sends would not be read.
    if (this.remoteEnded) this.maybeOver()
    else setImmediate(() => (this.remoteEnded ? this.maybeOver() : this.reset(H2.NO_ERROR)))
  }

  protected onGone(): void {
    this.sink?.streamClosed()
    if (this.#onClosed) for (const listener of this.#onClosed) listener()
  }
}

function encoded(fields: Fields): Buffer {
  return Buffer.isBuffer(fields) ? fields : encodeHeaders(fields)
}
