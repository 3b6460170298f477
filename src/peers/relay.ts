import type { IncomingHttpHeaders } from 'node:http2'
import { Code } from '../errors.ts'
import type { RawStream } from '../transport/grpc/client.ts'
import { startDeadline, timeoutOf } from '../transport/grpc/deadline.ts'
import { GrpcStatus, httpToGrpc } from '../transport/grpc/status.ts'
import type { Http2ClientStream } from '../transport/http2/client-stream.ts'
import { H2 } from '../transport/http2/protocol.ts'
import type { ServerStream, StreamSink } from '../transport/http2/stream.ts'
import { FrameGauge } from './frame-gauge.ts'
import { statusOf, tooLarge } from './relay-end.ts'
import { HeldStatus, ownTrailers, policyStatus, Unreached } from './relay-failure.ts'
import type { RelayOptions } from './relay-options.ts'

/** What was sent and may have to be sent once more: at most this much is kept without a policy. */
const REPLAY = 65_536

/**
 * Passes one gRPC call on byte by byte, whatever its kind: opening → (opening again) → streaming → over.
 * Bytes move only as fast as the slower side takes them; headers, trailers and status pass unchanged; an end of either
 * side, by cancellation or a broken connection, ends the other. Under a policy headers are held until the first message,
 * for up to then a failed call can be made again without the caller noticing.
 */
export class Relay implements StreamSink {
  readonly #in: ServerStream
  readonly #options: RelayOptions
  readonly #timer: NodeJS.Timeout | undefined
  readonly #requests: FrameGauge
  readonly #replies: FrameGauge
  #out: Http2ClientStream | undefined
  #sent: Buffer[] = []
  #sentSize = 0
  #ended = false
  #answered = false
  #trailers: readonly string[] | undefined
  #over = false
  readonly #whole: AbortController | undefined
  /** Ends the attempt under way for the policy. */
  #settle: ((error?: unknown) => void) | undefined
  #head: readonly string[] | undefined

  constructor(stream: ServerStream, headers: IncomingHttpHeaders, options: RelayOptions) {
    this.#in = stream
    this.#options = options
    this.#requests = new FrameGauge(options.limit)
    this.#replies = new FrameGauge(options.limit)
    if (options.policy) this.#whole = new AbortController()
    // Until there is somewhere to send it nothing is read.
    stream.pause()
    stream.sink = this
    const milliseconds = timeoutOf(headers)
    if (milliseconds !== undefined) this.#timer = startDeadline(milliseconds, (late) => this.fail(late))
  }

  start(): void {
    const { policy } = this.#options
    if (!policy) return this.#open()
    policy
      .runner((signal) => this.#attempt(signal), this.#whole?.signal)
      .catch((error: unknown) => {
        if (this.#over) return
        if (error instanceof HeldStatus) error.pass()
        else this.fail(policyStatus(error))
      })
  }

  #attempt(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        this.#drop()
        if (this.#answered) this.fail(policyStatus(signal?.reason))
        this.#settle?.(signal?.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#settle = (error) => {
        this.#settle = undefined
        signal?.removeEventListener('abort', onAbort)
        if (error === undefined) return resolve()
        if (!this.#replayable) this.#whole?.abort(error)
        reject(error)
      }
      this.#open()
    })
  }

  /** Whether all that the caller sent is still here, and is one message: a conversation cannot be had twice. */
  get #replayable(): boolean {
    return this.#sentSize <= this.#replay && this.#requests.messages <= 1
  }

  get #replay(): number {
    return this.#options.policy?.replay ?? REPLAY
  }

  /** Gives up what is under way at the other side; nothing is read until there is another. */
  #drop(): void {
    const out = this.#out
    this.#out = undefined
    this.#head = undefined
    this.#in.pause()
    out?.reset(H2.CANCEL)
  }

  #open(): void {
    if (this.#over) return
    const settle = this.#settle
    try {
      const opened = this.#options.open()
      if (!(opened instanceof Promise)) return this.#join(opened)
      opened.then(
        (raw) => (settle === this.#settle ? this.#join(raw) : raw.stream.reset(H2.CANCEL)),
        (error: unknown) => settle === this.#settle && this.#lost(GrpcStatus.from(error)),
      )
    } catch (error) {
      this.#lost(GrpcStatus.from(error))
    }
  }

  #join(raw: RawStream): void {
    const out = raw.stream
    if (this.#over) return out.reset(H2.CANCEL)
    this.#out = out
    if (out.closed) return this.#lost(raw.lost())
    out.sink = {
      opened: () => this.#ready(out),
      head: (headers, rawHeaders, last) => {
        if (this.#out === out) this.#answer(headers, last, rawHeaders)
      },
      data: (chunk) => {
        if (this.#out === out) this.#reply(out, chunk)
      },
      replyEnd: (_, rawTrailers) => {
        if (this.#over || this.#out !== out || rawTrailers.length === 0 || !(this.#answered || this.#head)) return
        this.#trailers = rawTrailers
        this.#finish()
      },
      drained: () => this.#in.resume(),
      streamClosed: () => {
        if (!this.#over && this.#out === out) this.#lost(raw.lost())
      },
    }
    // Until the connection stands nothing is read: the call can still go elsewhere.
    if (!out.pending) this.#ready(out)
  }

  #ready(out: Http2ClientStream): void {
    if (this.#out !== out) return
    if (this.#options.policy?.lasting) this.#settle?.()
    this.#send(out)
  }

  #send(out: Http2ClientStream): void {
    if (this.#over) return
    for (const chunk of this.#sent) out.write(chunk)
    if (this.#ended) out.end()
    this.#in.resume()
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    const excess = this.#requests.push(chunk)
    if (excess !== undefined) return this.fail(tooLarge(excess, this.#options.limit))
    const kept = !this.#answered && this.#keep(chunk)
    if (this.#out?.write(chunk, !kept) === false) this.#in.pause()
  }

  requestEnd(): void {
    this.#ended = true
    if (!this.#over) this.#out?.end()
  }

  drained(): void {
    this.#out?.resume()
  }

  /** Whether it is kept, to be sent again. */
  #keep(chunk: Buffer): boolean {
    if (this.#sentSize > this.#replay) return false
    this.#sentSize += chunk.length
    if (this.#sentSize <= this.#replay) {
      this.#sent.push(chunk)
      return true
    }
    this.#sent = []
    return false
  }

  #answer(headers: IncomingHttpHeaders, last: boolean, rawHeaders: readonly string[]): void {
    if (this.#over) return
    const status = Number(headers[':status'])
    const contentType = headers['content-type']
    if (status !== 200 || !contentType?.startsWith('application/grpc')) {
      const text = status === 200 ? `unexpected content-type ${JSON.stringify(contentType ?? '')}` : `unexpected HTTP status code ${status}`
      return this.#failed(new GrpcStatus(status === 200 ? Code.Unknown : httpToGrpc(status), text))
    }
    if (!this.#settle) return this.#respond(rawHeaders, last)
    const code = Number(headers['grpc-status'] ?? Code.Unknown)
    if (last && code !== 0) return this.#hold(code, () => this.#respond(rawHeaders, true))
    if (last) this.#respond(rawHeaders, true)
    else this.#head = rawHeaders
  }

  /** A failed reply that nobody has seen: the policy says whether it is the last. */
  #hold(code: number, pass: () => void): void {
    this.#drop()
    this.#settle?.(new HeldStatus(code, false, pass))
  }

  #respond(rawHeaders: readonly string[], last: boolean): void {
    const stream = this.#in
    this.#head = undefined
    this.#answered = true
    this.#sent = []
    if (this.#over || stream.closed || stream.headersSent) return
    stream.respond(rawHeaders, last)
    if (last) this.#close()
  }

  #reply(out: Http2ClientStream, chunk: Buffer): void {
    if (this.#over || this.#in.closed) return
    if (this.#head) this.#respond(this.#head, false)
    const excess = this.#replies.push(chunk)
    if (excess !== undefined) this.fail(tooLarge(excess, this.#options.limit))
    else if (!this.#in.write(chunk, true)) out.pause()
  }

  #finish(): void {
    const code = statusOf(this.#trailers ?? [])
    const head = this.#head
    if (head && code !== 0) {
      const trailers = this.#trailers
      return this.#hold(code, () => {
        this.#trailers = trailers
        this.#respond(head, false)
        this.#finish()
      })
    }
    if (head) this.#respond(head, false)
    if (code !== 0) this.#settle?.(new HeldStatus(code, true, noop))
    this.#close()
    this.#in.end(undefined, this.#trailers ?? [])
    this.#in.resume()
  }

  /** The other side's end is ours. */
  #close(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#sent = []
    this.#settle?.()
    const out = this.#out
    // Whoever has answered in full need not hear the rest of the request.
    if (out && !out.writableEnded) out.reset(H2.CANCEL)
  }

  #lost(status: GrpcStatus): void {
    if (this.#over) return
    const whole = this.#sentSize <= this.#replay
    if (!this.#answered && !status.sent && whole && this.#options.again(status)) {
      this.#out = undefined
      return this.#open()
    }
    this.#failed(status)
  }

  /** The attempt failed by no word of the app. */
  #failed(status: GrpcStatus): void {
    if (!this.#settle || this.#answered) return this.fail(status)
    const reached = this.#out !== undefined && status.sent
    this.#drop()
    this.#settle(reached ? status : new Unreached(status.message, { cause: status }))
  }

  /** Ends the call with a status of our own. */
  fail(status: GrpcStatus): void {
    if (this.#over) return
    this.#over = true
    this.#settle?.(status)
    this.#whole?.abort(status)
    clearTimeout(this.#timer)
    this.#sent = []
    this.#out?.reset(H2.CANCEL)
    const stream = this.#in
    if (stream.closed) return
    const trailers = ownTrailers(status)
    if (stream.headersSent) stream.end(undefined, trailers)
    else stream.respond([':status', '200', 'content-type', 'application/grpc', ...trailers], true)
    stream.resume()
  }

  streamClosed(): void {
    if (this.#over) return
    this.#over = true
    this.#whole?.abort(new GrpcStatus(Code.Canceled, 'context canceled'))
    clearTimeout(this.#timer)
    this.#sent = []
    this.#out?.reset(H2.CANCEL)
  }
}

function noop(): void {}
