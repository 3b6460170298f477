import type { IncomingHttpHeaders } from 'node:http2'
import { NOTHING } from './endpoint.ts'
import { FlowStream, type StreamConnection } from './flow-stream.ts'
import type { DecodedBlock } from './hpack.ts'
import { encodeHeaders } from './hpack.ts'
import { H2 } from './protocol.ts'
import { readResponse, readTrailers } from './response.ts'

/** Who hears of a client's stream, in this order: `opened`, `head`, `data`*, `replyEnd`; `streamClosed` comes last in any case. */
export interface ClientStreamSink {
  /** The stream has a place on a connection that stands: what is written goes out. */
  opened(): void
  /** Final headers, which may serve several streams: nobody changes them. With `last` there is nothing after them. */
  head(headers: IncomingHttpHeaders, raw: readonly string[], last: boolean): void
  data(chunk: Buffer): void
  /** The reply is complete. */
  replyEnd(trailers: IncomingHttpHeaders | undefined, raw: readonly string[]): void
  /** After `write` returned false: there is room again. */
  drained(): void
  /** The stream is over; see `Http2ClientStream.remoteCode`, `unseen` and `failure`. */
  streamClosed(): void
}

const NO_FIELDS: readonly string[] = []

/** One stream of a client. States: pending (no connection yet; what is written waits) → open → over. */
export class Http2ClientStream extends FlowStream {
  sink: ClientStreamSink | undefined
  /** The error with which the server has reset it. */
  remoteCode: number | undefined
  /** The server surely did nothing for it: it was not sent, refused, or came after the last one that a GOAWAY names. */
  unseen = true
  /** What ended it besides a reset by the server: a lost connection, no connection at all, a broken reply. */
  failure: Error | undefined
  /** Takes it out of the queue that it waits in. */
  onLeave: (() => void) | undefined
  #head: Buffer | undefined
  /** The final head has come. */
  answered = false
  #trailers: DecodedBlock | undefined

  /** @param head The request's header block, by `encodeHeaders`. */
  constructor(head: Buffer) {
    super()
    this.#head = head
  }

  /** It has no connection yet. */
  get pending(): boolean {
    return this.#head !== undefined && !this.closed
  }

  /** Bytes of its header block. */
  get headSize(): number {
    return this.#head?.length ?? 0
  }

  /** Sends the head and what was written so far. */
  open(connection: StreamConnection, id: number): void {
    const head = this.#head as Buffer
    this.#head = undefined
    this.onLeave = undefined
    this.unseen = false
    this.attach(connection, id)
    connection.output.headers(id, head, false)
    this.sink?.opened()
    if (!this.closed) this.flush()
  }

  /** Half-closes, with last bytes and trailers if given. */
  end(bytes?: Buffer, trailers: readonly string[] = NO_FIELDS): void {
    if (this.closed || this.ending || this.localEnded) return
    this.finish(bytes, trailers.length === 0 || encodeHeaders(trailers))
  }

  /** Whether everything was written, sent or not. */
  get writableEnded(): boolean {
    return this.localEnded || this.ending !== undefined
  }

  /** A header block came. Gives the error that the stream is to be reset with, if any. */
  fields(block: DecodedBlock | undefined, ended: boolean): number {
    if (!block) return H2.CALM
    if (this.remoteEnded) return H2.STREAM_CLOSED
    if (this.answered) {
      block.head ??= readTrailers(block.raw)
      if (!ended || !block.head || block.head[':status'] !== undefined) return H2.PROTOCOL
      this.#trailers = block
      return this.receive(NOTHING, 0, true)
    }
    block.head ??= readResponse(block.raw)
    if (!block.head) return H2.PROTOCOL
    const status = Number(block.head[':status'])
    // What comes before the answer is of no use here: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
    if (status < 200) return ended || status === 101 ? H2.PROTOCOL : 0
    this.answered = true
    this.expect(block.head)
    this.sink?.head(block.head, block.raw, ended)
    return ended && !this.closed ? this.receive(NOTHING, 0, true) : 0
  }

  override receive(bytes: Buffer, counted: number, ended: boolean): number {
    return this.answered ? super.receive(bytes, counted, ended) : H2.PROTOCOL
  }

  /** The server has reset it. */
  remoteReset(error: number): void {
    // Whoever has answered in full may say that it does not want the rest; the answer may still wait for its reader.
    if (this.remoteEnded && !this.readableEnded && error === H2.NO_ERROR) return this.stopSending()
    this.remoteCode = error
    if (error === H2.REFUSED) this.unseen = true
    this.gone()
  }

  /** Ends it without having been sent, or with a connection that is lost. */
  lost(failure: Error): void {
    this.failure ??= failure
    this.gone()
  }

  protected onData(chunk: Buffer): void {
    this.sink?.data(chunk)
  }

  protected onRemoteEnd(): void {
    this.sink?.replyEnd(this.#trailers?.head, this.#trailers?.raw ?? NO_FIELDS)
    // A server that has answered does not need the rest.
    if (!this.localEnded) this.reset(H2.NO_ERROR)
  }

  protected onDrained(): void {
    this.sink?.drained()
  }

  protected onLocalEnd(): void {
    // A reader that pauses has not had the end yet.
    if (this.readableEnded) this.gone()
  }

  protected onGone(): void {
    this.#head = undefined
    this.onLeave?.()
    this.onLeave = undefined
    this.sink?.streamClosed()
  }
}
