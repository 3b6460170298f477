import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { GrpcClientStream } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { backoff, Running } from '../pubsub/running.ts'
import type { Connection } from './connection.ts'

/** Between attempts to open a lost stream again, milliseconds: doubling from the first to the most. */
const FIRST = 250
const MOST = 30_000
/** A stream that lived this long was a good one: the next wait is short again. */
const GOOD = 10_000
/** How long a component may take to end a stream that we have ended, before it is cut. */
const CLOSE_GRACE = 500
/** How long messages that crossed our end are still refused, when the component cannot know of it yet. */
const LINGER = 400
/** How long a stream without refusals stays after its last answer, so that what the component is sending is not lost on its side. */
const LAST_ANSWER = 100
const DRAIN = 60_000

export interface LastingStreamOptions {
  connection: Connection
  /** e.g. `PubSub/PullMessages`. */
  method: string
  /** For logs, e.g. `topic orders of pubsub`. */
  title: string
  first?: Buffer | undefined
  /** Handlers at once; further messages are held back at the component. */
  concurrency: number
  /** How long running handlers may take to finish at the end, milliseconds. Default a minute. */
  drainTimeout?: number
  /**
   * Handles one message; what it resolves with is sent back on the stream it came by, while that stands. undefined: nothing
   * is sent, the message is left to the component.
   */
  handle: (message: Buffer, signal: AbortSignal, ending: () => boolean) => Promise<Buffer | undefined>
  /** The answer to a message that comes while the stream ends. Without it such messages stay unanswered. */
  refuse?: (message: Buffer) => Buffer
  log: Logger
}

/**
 * A stream of messages from a component that outlives its connections:
 * `opening → open → lost → (waits) → opening …`, until disposed: `ending → ended`. Messages on hand when a stream is lost or
 * ends are dropped unanswered, so that the component gives them again.
 */
export class LastingStream implements AsyncDisposable {
  readonly #options: LastingStreamOptions
  readonly #running = new Running()
  /** Bounded by what one read of the connection brings: the stream is paused while anything waits. */
  #waiting: { message: Buffer; from: GrpcClientStream }[] = []
  #stream: GrpcClientStream | undefined
  #timer: NodeJS.Timeout | undefined
  #closed: (() => void) | undefined
  #attempts = 0
  #ending = false

  constructor(options: LastingStreamOptions) {
    this.#options = options
  }

  /** Rejects when the component cannot be reached; later losses are mended by itself. */
  async open(): Promise<void> {
    const { connection, method, first } = this.#options
    const began = performance.now()
    const early: Buffer[] = []
    let stream: GrpcClientStream | undefined
    stream = await connection.open(method, first, {
      onMessage: (message) => {
        if (stream) this.#take(message, stream)
        else early.push(message)
      },
      onClose: (status) => {
        if (stream && this.#stream !== stream) return
        this.#lost(status ? messageOf(status) : 'the component ended the stream', performance.now() - began)
      },
    })
    if (this.#ending) return stream.cancel()
    this.#stream = stream
    for (const message of early) this.#take(message, stream)
  }

  #take(message: Buffer, from: GrpcClientStream): void {
    if (this.#ending) return this.#refuse(message, from)
    // A view of the connection's buffer is not ours to keep.
    this.#waiting.push({ message: Buffer.from(message), from })
    this.#pump()
  }

  #pump(): void {
    while (!this.#ending && this.#running.size < this.#options.concurrency) {
      const next = this.#waiting.shift()
      if (!next) break
      this.#running.start(() => this.#handle(next.message, next.from))
    }
    if (this.#waiting.length > 0) this.#stream?.pause()
    else this.#stream?.resume()
  }

  async #handle(message: Buffer, from: GrpcClientStream): Promise<void> {
    try {
      const answer = await this.#options.handle(message, this.#running.signal, () => this.#ending)
      if (answer) from.write(frame(answer))
    } catch (error) {
      this.#options.log.error(`${this.#options.title}: ${messageOf(error)}`)
    }
    // The next one starts when this one has left the running set.
    setImmediate(() => this.#pump())
  }

  #lost(reason: string, lived: number): void {
    this.#stream = undefined
    this.#waiting = []
    this.#closed?.()
    if (this.#ending) return
    if (lived > GOOD) this.#attempts = 0
    const wait = backoff(++this.#attempts, FIRST, MOST)
    this.#options.log.warn(`${this.#options.title}: the stream is lost, again in ${wait} ms: ${reason}`)
    this.#timer = setTimeout(() => {
      this.open().catch((error: unknown) => this.#lost(messageOf(error), 0))
    }, wait)
  }

  #refuse(message: Buffer, from: GrpcClientStream): void {
    if (this.#options.refuse) from.write(frame(this.#options.refuse(message)))
  }

  /** Takes no more messages; those being handled go on. */
  rest(): void {
    this.#ending = true
    clearTimeout(this.#timer)
    for (const { message, from } of this.#waiting.splice(0)) this.#refuse(message, from)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.rest()
    this.#stream?.resume()
    const busy = this.#running.size > 0
    await this.#running.drain(this.#options.drainTimeout ?? DRAIN)
    if (busy) await pause(this.#options.refuse ? LINGER : LAST_ANSWER)
    const stream = this.#stream
    if (!stream) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_GRACE)
      this.#closed = () => {
        clearTimeout(timer)
        resolve()
      }
      stream.end()
    })
    stream.cancel()
  }
}
