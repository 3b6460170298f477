import type { IncomingHttpHeaders } from 'node:http2'
import { QueueFull } from '../../transport/http2/client-pool.ts'
import { type ClientStreamSink, Http2ClientStream } from '../../transport/http2/client-stream.ts'
import { encodeHeaders } from '../../transport/http2/hpack.ts'
import { H2 } from '../../transport/http2/protocol.ts'
import type { Attempt, AttemptRequest, AttemptSink, Failure } from './attempt.ts'

/** An attempt over HTTP/2. */
export class Http2Attempt implements Attempt, ClientStreamSink {
  readonly stream: Http2ClientStream
  readonly #sink: AttemptSink
  #over = false

  constructor({ method, scheme, path, authority, fields, body, streams }: AttemptRequest, sink: AttemptSink) {
    this.#sink = sink
    const head = [':method', method, ':scheme', scheme, ':authority', authority, ':path', path, ...fields]
    if (body) head.push('content-length', String(body.length))
    this.stream = new Http2ClientStream(encodeHeaders(head))
    this.stream.sink = this
    if (!streams) this.stream.end(body)
  }

  write(chunk: Buffer): boolean {
    return this.stream.write(chunk)
  }

  finish(trailers: readonly string[]): void {
    this.stream.end(undefined, trailers)
  }

  pause(): void {
    this.stream.pause()
  }

  resume(): void {
    this.stream.resume()
  }

  abort(): void {
    if (this.#over) return
    this.#over = true
    this.stream.reset(H2.CANCEL)
  }

  opened(): void {}

  head(headers: IncomingHttpHeaders, raw: readonly string[]): void {
    if (this.#over) return
    // The first is :status.
    this.#sink.attemptHead(Number(headers[':status']), raw.slice(2))
  }

  data(chunk: Buffer): void {
    if (!this.#over) this.#sink.attemptData(chunk)
  }

  replyEnd(_trailers: IncomingHttpHeaders | undefined, raw: readonly string[]): void {
    if (this.#over) return
    this.#over = true
    this.#sink.attemptEnd(raw)
  }

  drained(): void {
    if (!this.#over) this.#sink.attemptDrained()
  }

  streamClosed(): void {
    if (this.#over) return
    this.#over = true
    const { stream } = this
    const error = stream.failure ?? new Error(`the endpoint reset the stream (error ${stream.remoteCode ?? H2.NO_ERROR})`)
    this.#sink.attemptFailed(this.#failure(), error)
  }

  #failure(): Failure {
    const { failure, remoteCode, unseen, id } = this.stream
    if (failure instanceof QueueFull) return 'overflow'
    if (id === 0) return 'connect'
    if (unseen || remoteCode === H2.REFUSED) return 'refused'
    return 'reset'
  }
}
