import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import type { GrpcAnswer, ResponseSink, ResponseSource } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import type { GrpcStream } from '../transport/grpc/server.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { giveBack } from '../transport/pieces.ts'
import { type Admitted, admit, appFailure, type CalleeOptions, DEFAULT_LIMIT, parse, toApp } from './admitted.ts'
import { headerOf, responseHeaders } from './headers.ts'
import { MethodError } from './invocation.ts'
import { CALL_LOCAL_STREAM, decodeRequestStream, encodeResponseHead, type OutgoingResponse } from './messages.ts'
import { encodePayload } from './payload.ts'

/**
 * One CallLocalStream. The request: leading message → the app is called at once when the body is complete or known to be
 * longer, else at the next turn of the loop, so that a short body without a length still goes as one Buffer.
 * The reply: head and first bytes leave in one message, as do most whole replies.
 */
export class StreamedCall implements ResponseSink {
  readonly #options: CalleeOptions
  readonly #stream: GrpcStream
  #call: Admitted | undefined
  #cancel: ((reason?: Error) => void) | undefined
  #first: Buffer | undefined
  #body: Readable | undefined
  #started = false
  #sse = false
  #ended = false
  #nextSeq = 0
  #source: ResponseSource | undefined
  #head: OutgoingResponse | undefined
  #held: Buffer | undefined
  #finished = false
  #seq = 0

  constructor(options: CalleeOptions, stream: GrpcStream) {
    this.#options = options
    this.#stream = stream
    stream.borrows = true
    stream.onMessage = (message) => this.#message(message)
    stream.onEnd = () => this.#requestEnd()
    stream.onDrain = () => this.#source?.resume()
    stream.onClose = (reason) => {
      if (reason) this.#cancel?.(reason)
      this.#body?.destroy()
    }
  }

  #message(bytes: Buffer): void {
    try {
      const { head, payload } = parse(() => decodeRequestStream(bytes))
      if (!this.#call) {
        if (!head) throw new GrpcStatus(Code.InvalidArgument, 'parsing InternalInvokeRequest error: the leading message carries no request')
        this.#call = admit(this.#options, head, this.#stream)
        this.#sse = headerOf(head.metadata, 'accept') === 'text/event-stream'
        if (payload) this.#take(payload)
        const known = this.#call.invocation.length
        if (known !== undefined) this.#start(known <= (this.#first?.length ?? 0))
        else setImmediate(() => this.#start(false))
        return
      }
      if (head) throw new GrpcStatus(Code.InvalidArgument, 'request metadata found in non-leading chunk')
      if (payload) {
        this.#start(false)
        this.#take(payload)
      }
    } catch (error) {
      this.#cancel?.()
      this.#body?.destroy(error as Error)
      this.#stream.fail(error)
    }
  }

  #take(payload: { data: Buffer; seq: number }): void {
    if (payload.seq !== this.#nextSeq)
      throw new GrpcStatus(Code.InvalidArgument, `invalid sequence number received: ${payload.seq} (expected: ${this.#nextSeq})`)
    this.#nextSeq++
    if (payload.data.length === 0) return
    if (!this.#started) this.#first = payload.data
    else if (this.#body && !this.#body.destroyed && !this.#body.push(payload.data)) this.#stream.pause()
  }

  #requestEnd(): void {
    this.#ended = true
    if (!this.#call)
      return this.#stream.fail(
        new GrpcStatus(Code.InvalidArgument, 'parsing InternalInvokeRequest error: the stream ended without a request'),
      )
    this.#start(true)
    if (this.#body && !this.#body.destroyed) this.#body.push(null)
  }

  #start(whole: boolean): void {
    if (this.#started || !this.#call) return
    this.#started = true
    const { app, invocation } = this.#call
    if (whole) invocation.body = this.#first
    else {
      const stream = this.#stream
      this.#body = new Readable({ read: () => stream.resume() })
      // Whoever reads it hears of the failure; this only keeps the event from being unhandled.
      this.#body.on('error', () => {})
      if (this.#first && !this.#body.push(this.#first)) stream.pause()
      invocation.body = this.#body
    }
    try {
      const call = toApp(this.#options, this.#call, CALL_LOCAL_STREAM)
      this.#cancel = call(app, invocation, this.#options.maxMessageSize || DEFAULT_LIMIT, this)
    } catch (error) {
      this.#stream.fail(error instanceof MethodError ? new GrpcStatus(Code.InvalidArgument, error.message) : appFailure(error))
    }
  }

  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void {
    this.#source = source
    if (this.#sse && status >= 300) {
      // As daprd: who asks for events gets events, or an error of the call.
      source.abort()
      return this.failed(new Error('no response received from stream'))
    }
    this.#head = { status, headers: answer ? headers : responseHeaders(headers, true), answer }
    process.nextTick(() => this.#flush())
  }

  #flush(): void {
    const head = this.#head
    if (!head) return
    this.#head = undefined
    const first = this.#held
    this.#held = undefined
    if (first) this.#seq = 1
    const message = encodeResponseHead(head, first)
    if (first) giveBack(first)
    if (this.#finished) this.#stream.end(message)
    else if (!this.#stream.write(message)) this.#source?.pause()
  }

  data(chunk: Buffer): void {
    if (this.#head) {
      if (!this.#held) {
        this.#held = chunk
        return
      }
      this.#flush()
    }
    const message = encodePayload(chunk, this.#seq++)
    giveBack(chunk)
    if (!this.#stream.write(message, true)) this.#source?.pause()
  }

  end(): void {
    this.#finished = true
    if (!this.#head) this.#stream.end()
  }

  failed(error: Error): void {
    this.#head = undefined
    this.#stream.fail(appFailure(error))
    if (!this.#ended) this.#body?.destroy()
  }
}
