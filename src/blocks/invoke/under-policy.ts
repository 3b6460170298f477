import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { GrpcAnswer, ResponseSink, ResponseSource } from '../../app/response-sink.ts'
import { OutriderError } from '../../errors.ts'
import type { Invocation } from '../../peers/invocation.ts'
import { policyStatus } from '../../peers/relay-failure.ts'
import type { TargetPolicy } from '../../policy/resiliency.ts'
import { race } from '../../policy/traffic/hedging.ts'

export interface PolicedCallOptions {
  policy: TargetPolicy
  invocation: Invocation
  sink: ResponseSink
  /** One attempt. Returns what gives it up. */
  start(invocation: Invocation, sink: ResponseSink): (reason?: Error) => void
  /** An error of our own making as the caller is to see it. */
  wrap(error: unknown): Error
  /** Every reply passes as it comes, for nothing is tried again. */
  through?: boolean
}

/** Bytes of a failing reply that are held back while it may be tried again; a longer one is the last. */
const HELD = 1024 * 1024
/** Bytes of a request body that are kept to be sent again; with a longer one, or one of unknown length, a call goes out once. */
export const REPLAYED = 4 * 1024 * 1024

/**
 * One invocation under a policy: (body read) → attempt → reply passed on, or held and tried again → over.
 * Good replies pass as they come and end the trying; the last failing one passes unchanged. Returns what gives the call up.
 */
export function callUnderPolicy(options: PolicedCallOptions): (reason?: Error) => void {
  const call = new PolicedCall(options)
  void call.run()
  return (reason) => call.abort(reason)
}

/** A reply that counts as a failure. `status` is what matching rules look at, absent where they have no say. */
class FailedReply extends Error {
  readonly status: number | undefined
  /** The caller has the reply already. */
  readonly permanent: boolean
  readonly attempt: Attempt

  constructor(text: string, status: number | undefined, permanent: boolean, attempt: Attempt) {
    super(text)
    this.status = status
    this.permanent = permanent
    this.attempt = attempt
  }
}

class PolicedCall {
  readonly options: PolicedCallOptions
  readonly #whole = new AbortController()
  #invocation: Invocation
  /** The caller has heard something, or has gone: there is nothing to try again. */
  settled = false
  gone = false

  constructor(options: PolicedCallOptions) {
    this.options = options
    this.#invocation = options.invocation
  }

  /** Whether the request can be sent (again). */
  get replayable(): boolean {
    const { body } = this.#invocation
    return body === undefined || Buffer.isBuffer(body) || !body.readableDidRead
  }

  async run(): Promise<void> {
    const { policy, sink, wrap } = this.options
    try {
      await this.#keepBody()
      if (this.#whole.signal.aborted) return
      await policy.runner((signal) => this.#try(signal), this.#whole.signal)
    } catch (error) {
      if (this.settled) return
      this.settled = true
      if (error instanceof FailedReply) error.attempt.release()
      else if (error instanceof OutriderError) sink.failed(error)
      else sink.failed(this.#invocation.internal ? policyStatus(error) : wrap(error))
    }
  }

  async #keepBody(): Promise<void> {
    const { body, length } = this.#invocation
    const { retries, hedge } = this.options.policy
    if (!(retries || hedge?.covers(this.#invocation.verb)) || body === undefined || Buffer.isBuffer(body)) return
    if (length === undefined || length > REPLAYED) return
    this.#invocation = { ...this.#invocation, body: await readWhole(body, length) }
  }

  /** One try: a request, or a race of several. */
  #try(signal: AbortSignal | undefined): Promise<void> {
    const { hedge } = this.options.policy
    const { verb, body } = this.#invocation
    const repeatable = body === undefined || Buffer.isBuffer(body)
    if (!hedge || !repeatable || !hedge.covers(verb)) return this.#request(signal)
    return race(hedge, (leg, onAnswer) => this.#request(leg, onAnswer), signal)
  }

  #request(signal: AbortSignal | undefined, onAnswer?: () => void): Promise<void> {
    const { fault } = this.options.policy
    return fault ? fault((inside) => this.#attempt(inside, onAnswer), signal) : this.#attempt(signal, onAnswer)
  }

  #attempt(signal: AbortSignal | undefined, onAnswer?: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const attempt = new Attempt(this, resolve, reject, onAnswer)
      const onAbort = () => attempt.abandon(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      attempt.onOver = () => signal?.removeEventListener('abort', onAbort)
      // Whoever is called may write into the headers.
      const { headers } = this.#invocation
      attempt.begin(this.options.start({ ...this.#invocation, headers: [...headers] }, attempt))
    })
  }

  /** No further attempt begins. */
  end(reason: Error): void {
    this.#whole.abort(reason)
  }

  abort(reason?: Error): void {
    this.settled = true
    this.gone = true
    this.#whole.abort(reason ?? new Error('context canceled'))
  }
}

/** One attempt: waiting → reply passed on as it comes, or held to its end → over. */
class Attempt implements ResponseSink {
  readonly #call: PolicedCall
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  #cancel: ((reason?: Error) => void) | undefined
  #head: Parameters<ResponseSink['head']> | undefined
  #held: Buffer[] | undefined
  #size = 0
  #failure: number | undefined
  #passing = false
  #over = false
  readonly #onAnswer: (() => void) | undefined
  onOver: (() => void) | undefined

  constructor(call: PolicedCall, resolve: () => void, reject: (error: unknown) => void, onAnswer: (() => void) | undefined) {
    this.#call = call
    this.#resolve = resolve
    this.#reject = reject
    this.#onAnswer = onAnswer
  }

  begin(cancel: (reason?: Error) => void): void {
    this.#cancel = cancel
    if (this.#over) cancel()
  }

  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void {
    if (this.#over) return
    if (this.#call.options.through) {
      this.#head = [status, headers, source, answer]
      if (answer ? status !== 0 : status >= 500) this.#failure = status
      return this.#pass()
    }
    const grpc = this.#call.options.invocation.internal === true
    // Over HTTP a gRPC app's failure is a reply like any other; over gRPC every failure is one, also that of an HTTP app.
    const failed = answer ? grpc && status !== 0 : grpc ? status < 200 || status > 299 : status < 200 || status > 399
    if (failed) this.#failure = status
    this.#head = [status, headers, source, answer]
    // Who asked over gRPC gets a whole reply or none; who sent a stream gets what there is, for it cannot be sent again.
    if (grpc || (failed && this.#call.replayable)) this.#held = []
    else this.#pass()
  }

  #pass(): void {
    // Others that race with this one are given up before anything of it is heard.
    this.#onAnswer?.()
    this.#passing = true
    this.#call.settled = true
    this.release()
  }

  /** What was held goes to the caller, to the end if it is complete. */
  release(): void {
    const { sink } = this.#call.options
    const held = this.#held ?? []
    this.#held = undefined
    if (this.#head) sink.head(...this.#head)
    if (held.length > 0) sink.data(held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held))
    if (this.#over) sink.end()
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    if (this.#passing) return this.#call.options.sink.data(chunk)
    this.#size += chunk.length
    this.#held?.push(chunk)
    if (this.#size > HELD) this.#pass()
  }

  end(): void {
    if (!this.#finish()) return
    const passed = this.#passing
    if (passed) this.#call.options.sink.end()
    if (this.#failure !== undefined) {
      const { invocation, through } = this.#call.options
      const code = invocation.internal && !through ? undefined : this.#failure
      return this.#reject(new FailedReply(`the app answered ${this.#failure}`, code, passed, this))
    }
    if (!passed) {
      this.#onAnswer?.()
      this.#call.settled = true
      this.release()
    }
    this.#resolve()
  }

  failed(error: Error): void {
    if (!this.#finish()) return
    if (this.#passing) {
      this.#call.options.sink.failed(error)
      return this.#reject(new FailedReply(error.message, undefined, true, this))
    }
    if (!this.#call.replayable) this.#call.end(error)
    this.#reject(error)
  }

  /** The time of the attempt is over, or the caller has gone. */
  abandon(reason: Error): void {
    const late = this.#passing && !this.#over
    if (!this.#finish()) return
    this.#cancel?.(reason)
    if (late || !this.#call.replayable) this.#call.end(reason)
    if (late && !this.#call.gone) this.#call.options.sink.failed(reason)
    this.#reject(reason)
  }

  #finish(): boolean {
    if (this.#over) return false
    this.#over = true
    this.onOver?.()
    return true
  }
}

async function readWhole(body: Readable, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > length) throw new Error(`the request body is longer than its Content-Length of ${length}`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}
