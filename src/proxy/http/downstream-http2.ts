import { NO_TRAILERS } from '../../transport/http1/trailers.ts'
import { H2 } from '../../transport/http2/protocol.ts'
import type { Http2Stream, StreamSink } from '../../transport/http2/stream.ts'
import type { ConnectionInfo, Downstream, DownstreamSink } from './downstream.ts'

/** A stream of HTTP/2 as exchanges see it. */
export class Http2Downstream implements Downstream, StreamSink {
  readonly protocol = 'HTTP/2'
  readonly method: string
  readonly path: string
  readonly authority: string
  readonly fields: string[] = []
  body: Buffer | undefined
  readonly length: number | undefined
  readonly connection: ConnectionInfo
  readonly upgrade: undefined
  sink: DownstreamSink | undefined
  streaming = true
  trailers: readonly string[] = NO_TRAILERS
  #complete = false
  /** What came before somebody took it. */
  #early: Buffer[] | undefined = []
  /** Of the reply; waits for the end of the turn. */
  #head: string[] | undefined
  readonly #stream: Http2Stream

  constructor(stream: Http2Stream, connection: ConnectionInfo) {
    this.#stream = stream
    this.connection = connection
    const { rawHeaders, headers } = stream
    let cookie: number | undefined
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] as string
      const value = rawHeaders[i + 1] as string
      if (name.charCodeAt(0) === 58 || name === 'host' || name === 'content-length') continue
      // HTTP/2 may cut cookies apart, HTTP/1.1 may not: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3
      if (name === 'cookie' && cookie !== undefined) this.fields[cookie] += `; ${value}`
      else {
        if (name === 'cookie') cookie = this.fields.length + 1
        this.fields.push(name, value)
      }
    }
    this.method = headers[':method'] as string
    this.path = headers[':path'] as string
    this.authority = (headers[':authority'] ?? headers.host ?? '') as string
    const length = headers['content-length']
    this.length = length === undefined ? undefined : Number(length)
    stream.sink = this
  }

  get headersSent(): boolean {
    return this.#head !== undefined || this.#stream.headersSent
  }

  respond(status: number, fields: readonly string[]): void {
    this.#head = [':status', String(status), ...fields]
    // The end of a reply without a body is nearly always here as well.
    process.nextTick(flush, this)
  }

  /** Sends the head, if it waits. */
  flush(end = false): void {
    const head = this.#head
    this.#head = undefined
    if (head) this.#stream.respond(head, end)
  }

  write(chunk: Buffer): boolean {
    this.flush()
    return this.#stream.write(chunk)
  }

  end(trailers: readonly string[]): void {
    this.#complete = true
    // Clients of gRPC take a status in the head for one only where the head is also the end.
    if (this.#head && trailers.length === 0) return this.flush(true)
    this.flush()
    this.#stream.end(undefined, trailers)
  }

  reset(): void {
    this.#head = undefined
    this.#stream.reset(H2.INTERNAL)
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    this.#stream.resume()
  }

  detach(): undefined {}

  /** Called when the turn that brought the head is over: a short body has come with it and is then given whole. */
  settle(): void {
    if (this.streaming || !this.#early) return
    if (this.#early.length > 0) this.body = this.#early.length === 1 ? this.#early[0] : Buffer.concat(this.#early)
    this.#early = undefined
  }

  /** From now on the sink gets what comes, and first what has come. */
  flow(): void {
    const early = this.#early
    this.#early = undefined
    if (early) for (const chunk of early) this.sink?.requestData(chunk)
  }

  data(chunk: Buffer): void {
    if (this.#early) this.#early.push(chunk)
    else this.sink?.requestData(chunk)
  }

  requestEnd(trailers: readonly string[]): void {
    this.trailers = trailers
    this.streaming = false
    if (!this.#early) this.sink?.requestEnd()
  }

  drained(): void {
    this.sink?.replyDrained()
  }

  streamClosed(): void {
    this.sink?.clientGone(this.#complete)
  }
}

function flush(downstream: Http2Downstream): void {
  downstream.flush()
}
