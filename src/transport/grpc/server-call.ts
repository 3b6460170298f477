import type { IncomingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import { COUNTED, HeldBody } from '../body-budget.ts'
import type { ServerStream, StreamSink } from '../http2/stream.ts'
import type { SpiffeId } from '../identity/spiffe.ts'
import { exceeded, startDeadline, timeoutOf } from './deadline.ts'
import { ACCEPT_ENCODING, compress, FrameReader, frame, unknownEncoding, wholeMessage } from './frames.ts'
import { headBlock, statusBlock, trailerBlock, withField } from './reply-blocks.ts'
import { unknownMethod } from './request-head.ts'
import type { CallContext, GrpcMethod, GrpcStream } from './server.ts'
import type { ServerSession } from './server-session.ts'
import { GrpcStatus } from './status.ts'

/**
 * One call at the server. States: open → (half closed by the client) → ended by us, or closed by the other side;
 * `#over` marks the end, after which nothing is written and no handler function runs.
 */
export class GrpcServerCall implements GrpcStream, StreamSink {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  onMessage: ((message: Buffer) => void) | undefined
  onEnd: (() => void) | undefined
  onClose: ((reason: GrpcStatus | undefined) => void) | undefined
  onDrain: (() => void) | undefined
  borrows = false
  readonly #stream: ServerStream
  readonly #context: CallContext
  readonly #session: ServerSession
  readonly began = performance.now()
  received: number | undefined
  span: Span | undefined
  readonly deadline: number | undefined
  #timer: NodeJS.Timeout | undefined
  #method: GrpcMethod | undefined
  #reader: FrameReader | undefined
  /** A unary method has its message. */
  #started = false
  /** The peer sent its messages with gzip, and so do we. */
  #gzip = false
  #extra: string[] | undefined
  #trailers: Record<string, string | string[]> | undefined
  #abort: AbortController | undefined
  #over = false
  /** What it holds of the budget for messages. */
  #held: HeldBody | undefined

  constructor(stream: ServerStream, session: ServerSession, context: CallContext) {
    const { headers } = stream
    this.#stream = stream
    this.headers = headers
    this.rawHeaders = stream.rawHeaders
    this.path = headers[':path'] as string
    this.#context = context
    this.#session = session
    stream.sink = this
    const milliseconds = timeoutOf(headers)
    if (milliseconds !== undefined) this.deadline = Date.now() + milliseconds
  }

  /** Admits the call, finds its method and lets it run. */
  run(): void {
    try {
      if (this.deadline !== undefined) this.#startDeadline(this.deadline - Date.now())
      const { options } = this.#context
      options.admit?.(this)
      const method = options.methods.get(this.path) ?? options.unknown?.(this.path, this.headers)
      if (!method) throw unknownMethod(this.path, options.methods)
      if (method.kind === 'raw') return this.#handOver(method)
      this.#checkEncoding()
      this.#method = method
      if (method.kind === 'stream') method.handle(this)
    } catch (error) {
      this.fail(error)
    }
  }

  /** From here on the stream is the handler's alone, its deadline too. */
  #handOver(method: GrpcMethod & { kind: 'raw' }): void {
    method.handle(this.#stream, this.headers, this.rawHeaders, this.#session.peer)
    clearTimeout(this.#timer)
    this.#over = true
  }

  #startDeadline(milliseconds: number): void {
    if (milliseconds <= 0) throw exceeded()
    this.#timer = startDeadline(milliseconds, (late) => {
      this.#abort?.abort(late)
      this.fail(late)
    })
  }

  #checkEncoding(): void {
    const encoding = this.headers['grpc-encoding']
    if (typeof encoding !== 'string' || encoding === 'identity' || encoding === '') return
    if (encoding !== 'gzip') {
      this.setTrailer('grpc-accept-encoding', ACCEPT_ENCODING)
      throw unknownEncoding(encoding, 'server')
    }
    this.#gzip = true
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.#over) this.#abort.abort(new GrpcStatus(Code.Canceled, 'context canceled'))
    }
    return this.#abort.signal
  }

  get kind(): GrpcMethod['kind'] | undefined {
    return this.#method?.kind
  }

  get peer(): SpiffeId | undefined {
    return this.#session.peer
  }

  get draining(): AbortSignal {
    return this.#context.draining
  }

  data(chunk: Buffer): void {
    if (this.#over || this.#started) return
    const method = this.#method as GrpcMethod
    try {
      if (!this.#reader) {
        const whole = wholeMessage(chunk, this.#context.limit)
        if (whole) return method.kind === 'unary' ? this.#runUnary(whole) : this.onMessage?.(whole)
        const encoding = this.headers['grpc-encoding']
        this.#reader = new FrameReader(
          this.#context.limit,
          (message) => {
            if (this.#over) return
            if (method.kind === 'unary') this.#runUnary(message)
            else this.onMessage?.(message)
          },
          typeof encoding === 'string' ? encoding : '',
          'server',
          (length) => this.#hold(length),
          this.borrows,
        )
      }
      this.#reader.push(chunk)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Its largest message counts as long as the call lasts; unary ones of other sizes than announced were compressed. */
  #hold(length: number): void {
    const { bodies } = this.#context.options
    if (!bodies || length < COUNTED) return
    this.#held ??= new HeldBody(bodies)
    this.#held.grow(length)
  }

  /** As grpc-go: the first message starts a unary method, whatever follows is not looked at. */
  #runUnary(message: Buffer): void {
    const method = this.#method as GrpcMethod & { kind: 'unary' }
    if (this.#started) return
    this.#hold(message.length)
    this.#started = true
    this.received = message.length
    const response = method.handle(message, this)
    if (response instanceof Promise)
      response.then(
        (reply) => this.#reply(reply),
        (error: unknown) => this.fail(error),
      )
    else this.#reply(response)
  }

  #reply(message: Buffer): void {
    const { limit } = this.#context
    if (message.length > limit)
      this.fail(new GrpcStatus(Code.ResourceExhausted, `grpc: trying to send message larger than max (${message.length} vs. ${limit})`))
    else this.#finish(frame(message), undefined)
  }

  requestEnd(): void {
    if (this.#over) return
    if (this.#method?.kind === 'stream') {
      if (this.#reader?.partial) this.fail(new GrpcStatus(Code.Internal, 'unexpected EOF'))
      else this.#requestEnded()
    } else if (!this.#started) this.fail(new GrpcStatus(Code.Unknown, this.#reader?.insideMessage ? 'unexpected EOF' : 'EOF'))
  }

  #requestEnded(): void {
    try {
      this.onEnd?.()
    } catch (error) {
      this.fail(error)
    }
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    if (!this.#over) this.#stream.resume()
  }

  setHeader(name: string, value: string | string[]): void {
    this.#extra = withField(this.#extra, name, value)
  }

  addHeader(name: string, value: string): void {
    this.#extra ??= []
    this.#extra.push(name, value)
  }

  setTrailer(name: string, value: string | string[]): void {
    this.#trailers ??= {}
    this.#trailers[name] = value
  }

  #respond(): void {
    const stream = this.#stream
    if (stream.headersSent) return
    if (this.#gzip) {
      this.setHeader('grpc-encoding', 'gzip')
      this.setHeader('grpc-accept-encoding', ACCEPT_ENCODING)
    }
    stream.respond(headBlock(this.headers['content-type'] as string, this.#extra))
  }

  write(framed: Buffer, lent = false): boolean {
    if (this.#over || this.#stream.closed) return true
    const size = framed.length - 5
    const { limit } = this.#context
    if (size > limit) {
      this.fail(new GrpcStatus(Code.ResourceExhausted, `trying to send message larger than max (${size} vs. ${limit})`))
      return true
    }
    this.#respond()
    return this.#gzip ? this.#stream.write(compress(framed)) : this.#stream.write(framed, lent)
  }

  drained(): void {
    if (!this.#over) this.onDrain?.()
  }

  end(framed?: Buffer): void {
    const size = framed ? framed.length - 5 : 0
    const { limit } = this.#context
    if (size > limit) this.fail(new GrpcStatus(Code.ResourceExhausted, `trying to send message larger than max (${size} vs. ${limit})`))
    else this.#finish(framed, undefined)
  }

  fail(error: unknown): void {
    this.#finish(undefined, GrpcStatus.from(error))
  }

  #finish(framed: Buffer | undefined, status: GrpcStatus | undefined): void {
    if (this.#over) return
    // From here on nothing that the stream tells is news: it may be over before the last of this is written.
    this.#over = true
    const stream = this.#stream
    this.#context.options.ended?.(this, status, framed && this.received !== undefined ? framed.length - 5 : 0)
    if (!stream.closed) {
      if (!stream.headersSent && status && !this.#extra) this.#respondAlone(200, status)
      else {
        this.#respond()
        stream.end(framed && this.#gzip ? compress(framed) : framed, trailerBlock(status, this.#trailers))
      }
      stream.resume()
    }
    this.#leave(undefined)
  }

  /** Refuses the call with an HTTP status of its own. */
  refuse(http: number, status: GrpcStatus): void {
    if (this.#over) return
    this.#over = true
    this.#respondAlone(http, status)
    this.#leave(undefined)
  }

  /** A status alone, in one header block that ends the stream. */
  #respondAlone(http: number, status: GrpcStatus): void {
    this.#stream.respond(statusBlock(http, this.headers['content-type'] as string, status, this.#trailers), true)
  }

  streamClosed(): void {
    // Nearly always we ended it ourselves: an error costs a stack trace, so it is made only when someone left.
    if (this.#over) return
    const left = new GrpcStatus(Code.Canceled, 'context canceled')
    this.#over = true
    this.#context.options.ended?.(this, left, 0)
    this.#leave(left)
  }

  #leave(reason: GrpcStatus | undefined): void {
    clearTimeout(this.#timer)
    this.#held?.release()
    if (reason) this.#abort?.abort(reason)
    this.onClose?.(reason)
  }
}
