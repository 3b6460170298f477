import { type DeliveredMessage, GivenUpError, type MessageHandler } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { backoff, call, Running } from '../running.ts'

export interface SubscriptionOptions {
  topic: string
  handler: MessageHandler
  log: Logger
  concurrency: number
  queueDepth: number
  redeliverInterval: number
  maxRedeliverInterval: number
  drainTimeout: number
  onEnd: () => void
}

interface Held {
  message: DeliveredMessage
  attempts: number
}

/**
 * One queue and its handlers. A message waits → runs → is gone, or after a rejection rests for its backoff and waits
 * again in front; resting messages hold no handler, so that the others pass them.
 */
export class Subscription implements AsyncDisposable {
  readonly #options: SubscriptionOptions
  readonly #running = new Running()
  readonly #resting = new Set<NodeJS.Timeout>()
  readonly #roomWaiters = new Set<() => void>()
  #waiting: Held[] = []
  #head = 0
  #ended: Promise<void> | undefined

  constructor(options: SubscriptionOptions) {
    this.#options = options
  }

  get full(): boolean {
    return (
      this.#ended === undefined && this.#waiting.length - this.#head + this.#running.size + this.#resting.size >= this.#options.queueDepth
    )
  }

  /** Resolves when there is room or the subscription has ended; rejects after `timeout` milliseconds or with `signal`. */
  async room(timeout: number, signal?: AbortSignal): Promise<void> {
    const late = AbortSignal.timeout(timeout)
    const stop = signal === undefined ? late : AbortSignal.any([late, signal])
    while (this.full) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#roomWaiters.add(resolve)
      stop.addEventListener('abort', () => resolve(), { once: true })
      await promise
      this.#roomWaiters.delete(resolve)
      signal?.throwIfAborted()
      if (late.aborted && this.full)
        throw new Error(
          `topic ${this.#options.topic}: a subscriber has ${this.#options.queueDepth} unhandled messages; raise queueDepth or concurrency, or publish more slowly`,
        )
    }
  }

  push(message: DeliveredMessage): void {
    if (this.#ended !== undefined) return
    this.#waiting.push({ message, attempts: 0 })
    // Handlers start on a later turn: the publisher gets its answer first.
    setImmediate(() => this.#pump())
  }

  #pump(): void {
    while (this.#ended === undefined && this.#running.size < this.#options.concurrency) {
      const held = this.#waiting[this.#head]
      if (held === undefined) break
      this.#head++
      if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
        this.#waiting = this.#waiting.slice(this.#head)
        this.#head = 0
      }
      this.#running.start(async () => {
        await this.#deliver(held)
        // The next one starts when this one has left the running set.
        setImmediate(() => this.#pump())
        this.#wakePublishers()
      })
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting = []
      this.#head = 0
    }
  }

  async #deliver(held: Held): Promise<void> {
    try {
      await call(this.#options.handler, held.message, this.#running.signal)
    } catch (error) {
      if (this.#ended !== undefined) return
      if (error instanceof GivenUpError)
        return this.#options.log.error(`topic ${this.#options.topic}: message given up after the resiliency policy: ${error.message}`)
      held.attempts++
      const delay = backoff(held.attempts, this.#options.redeliverInterval, this.#options.maxRedeliverInterval)
      this.#options.log.warn(
        `topic ${this.#options.topic}: message not handled (try ${held.attempts}), again in ${delay} ms: ${messageOf(error)}`,
      )
      const timer = setTimeout(() => {
        this.#resting.delete(timer)
        if (this.#head > 0) this.#waiting[--this.#head] = held
        else this.#waiting.unshift(held)
        this.#pump()
      }, delay)
      this.#resting.add(timer)
    }
  }

  #wakePublishers(): void {
    for (const wake of this.#roomWaiters) wake()
    this.#roomWaiters.clear()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#options.onEnd()
    for (const timer of this.#resting) clearTimeout(timer)
    this.#resting.clear()
    this.#waiting = []
    this.#head = 0
    this.#wakePublishers()
    await this.#running.drain(this.#options.drainTimeout)
  }
}
