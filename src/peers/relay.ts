import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import { Code } from '../errors.ts'
import type { RawStream } from '../transport/grpc/client.ts'
import { parseTimeout } from '../transport/grpc/deadline.ts'
import { flatten, GrpcStatus, httpToGrpc, statusTrailers } from '../transport/grpc/status.ts'
import type { ServerStream, StreamSink } from '../transport/http2/stream.ts'
import { FrameGauge } from './frame-gauge.ts'

export interface RelayOptions {
  /** Bytes of one message, either way. */
  limit: number
  /** Opens the stream to where the call goes; throws or rejects with GrpcStatus. Asked again after a call that surely did nothing there. */
  open(): RawStream | Promise<RawStream>
  /** Whether to open again after this failure; the relay has nothing lost by it. */
  again(status: GrpcStatus): boolean
}

/** What was sent and may have to be sent once more: at most this much is kept. */
const REPLAY = 65_536
const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM

/**
 * Passes one gRPC call on byte by byte, whatever its kind: opening → (opening again) → streaming → over.
 * Bytes move only as fast as the slower side takes them; headers, trailers and status pass unchanged; an end of either
 * side, by cancellation or a broken connection, ends the other.
 */
export class Relay implements StreamSink {
  readonly #in: ServerStream
  readonly #options: RelayOptions
  readonly #timer: NodeJS.Timeout | undefined
  readonly #requests: FrameGauge
  readonly #replies: FrameGauge
  #out: ClientHttp2Stream | undefined
  #sent: Buffer[] = []
  #sentSize = 0
  #ended = false
  #answered = false
  #trailers: readonly string[] | undefined
  #over = false

  constructor(stream: ServerStream, headers: IncomingHttpHeaders, options: RelayOptions) {
    this.#in = stream
    this.#options = options
    this.#requests = new FrameGauge(options.limit)
    this.#replies = new FrameGauge(options.limit)
    // Until there is somewhere to send it nothing is read.
    stream.pause()
    stream.sink = this
    const timeout = headers['grpc-timeout']
    const milliseconds = typeof timeout === 'string' ? parseTimeout(timeout) : undefined
    if (milliseconds !== undefined)
      this.#timer = setTimeout(
        () => this.fail(new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')),
        Math.min(milliseconds, 0x7fffffff),
      )
  }

  start(): void {
    if (this.#over) return
    try {
      const opened = this.#options.open()
      if (!(opened instanceof Promise)) return this.#join(opened)
      opened.then(
        (raw) => this.#join(raw),
        (error: unknown) => this.#lost(GrpcStatus.from(error)),
      )
    } catch (error) {
      this.#lost(GrpcStatus.from(error))
    }
  }

  #join(raw: RawStream): void {
    const out = raw.stream
    if (this.#over) {
      out.on('error', noop)
      out.close(constants.NGHTTP2_CANCEL)
      return
    }
    this.#out = out
    let broken: Error | undefined
    out.on('error', (error) => {
      broken = error
    })
    out.on('response', (headers: IncomingHttpHeaders & { ':status'?: number }, flags: number, rawHeaders: string[]) =>
      this.#answer(headers, flags, rawHeaders),
    )
    out.on('data', (chunk: Buffer) => this.#reply(out, chunk))
    out.on('trailers', (_: IncomingHttpHeaders, __: number, rawTrailers: string[]) => {
      this.#trailers = rawTrailers
    })
    out.on('end', () => {
      if (!this.#over && this.#answered && this.#trailers) this.#finish()
    })
    out.on('drain', () => this.#in.resume())
    out.once('close', () => {
      if (this.#over || this.#out !== out) return
      this.#lost(raw.lost(broken ?? new Error('closed without a status')))
    })
    // Until the connection stands nothing is read: the call can still go elsewhere.
    if (out.pending) out.once('ready', () => this.#send(out))
    else this.#send(out)
  }

  #send(out: ClientHttp2Stream): void {
    if (this.#over) return
    for (const chunk of this.#sent) out.write(chunk)
    if (this.#ended) out.end()
    this.#in.resume()
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    const excess = this.#requests.push(chunk)
    if (excess !== undefined) return this.fail(tooLarge(excess, this.#options.limit))
    if (!this.#answered) this.#keep(chunk)
    if (this.#out?.write(chunk) === false) this.#in.pause()
  }

  requestEnd(): void {
    this.#ended = true
    if (!this.#over) this.#out?.end()
  }

  drained(): void {
    this.#out?.resume()
  }

  #keep(chunk: Buffer): void {
    if (this.#sentSize > REPLAY) return
    this.#sentSize += chunk.length
    if (this.#sentSize <= REPLAY) this.#sent.push(chunk)
    else this.#sent = []
  }

  #answer(headers: IncomingHttpHeaders & { ':status'?: number }, flags: number, rawHeaders: string[]): void {
    if (this.#over) return
    this.#answered = true
    this.#sent = []
    const status = headers[':status'] ?? 0
    const contentType = headers['content-type']
    if (status !== 200 || !contentType?.startsWith('application/grpc')) {
      const text = status === 200 ? `unexpected content-type ${JSON.stringify(contentType ?? '')}` : `unexpected HTTP status code ${status}`
      return this.fail(new GrpcStatus(status === 200 ? Code.Unknown : httpToGrpc(status), text))
    }
    const stream = this.#in
    if (stream.closed || stream.headersSent) return
    const last = (flags & END_STREAM) !== 0
    stream.respond(rawHeaders, last)
    if (last) this.#close()
  }

  #reply(out: ClientHttp2Stream, chunk: Buffer): void {
    if (this.#over || this.#in.closed) return
    const excess = this.#replies.push(chunk)
    if (excess !== undefined) this.fail(tooLarge(excess, this.#options.limit))
    else if (!this.#in.write(chunk)) out.pause()
  }

  #finish(): void {
    this.#close()
    this.#in.end(undefined, this.#trailers ?? [])
    this.#in.resume()
  }

  /** The other side's end is ours. */
  #close(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#sent = []
    const out = this.#out
    // Whoever has answered in full need not hear the rest of the request.
    if (out && !out.writableEnded) out.close(constants.NGHTTP2_CANCEL)
  }

  #lost(status: GrpcStatus): void {
    if (this.#over) return
    const whole = this.#sentSize <= REPLAY
    if (!this.#answered && !status.sent && whole && this.#options.again(status)) {
      this.#out = undefined
      return this.start()
    }
    this.fail(status)
  }

  /** Ends the call with a status of our own. */
  fail(status: GrpcStatus): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#sent = []
    this.#out?.close(constants.NGHTTP2_CANCEL)
    const stream = this.#in
    if (stream.closed) return
    const trailers = flatten(statusTrailers(status))
    if (stream.headersSent) stream.end(undefined, trailers)
    else stream.respond([':status', '200', 'content-type', 'application/grpc', ...trailers], true)
    stream.resume()
  }

  streamClosed(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#sent = []
    this.#out?.close(constants.NGHTTP2_CANCEL)
    this.#out?.resume()
  }
}

function tooLarge(size: number, limit: number): GrpcStatus {
  return new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${size} vs. ${limit})`)
}

function noop(): void {}
