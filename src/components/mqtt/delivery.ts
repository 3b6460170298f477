import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { Running } from '../pubsub/running.ts'
import type { Publish } from './packets.ts'

/** A message that waits for its handlers; the broker keeps it until `done`. */
export interface Held {
  message: Publish
  done(): void
}

export interface DeliveryOptions {
  concurrency: number
  /** Milliseconds before try number `attempt + 1`; undefined: no more, the broker gives it back over the next connection. */
  retry(attempt: number): number | undefined
  drainTimeout: number
  handle(message: Publish, signal: AbortSignal): Promise<void>
  log: Logger
}

/** One subscription: so many messages at its handler at once, each tried again after a while when it fails. */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #running = new Running()
  readonly #ending = new AbortController()
  readonly #waiting: Held[] = []
  readonly #open = new Set<Held>()

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  add(held: Held): void {
    this.#waiting.push(held)
    this.#pump()
  }

  #pump(): void {
    while (!this.#ending.signal.aborted && this.#waiting.length > 0 && this.#running.size < this.#options.concurrency) {
      const held = this.#waiting.shift() as Held
      this.#open.add(held)
      this.#running.start(async () => {
        await this.#deliver(held)
        setImmediate(() => this.#pump())
      })
    }
  }

  async #deliver(held: Held): Promise<void> {
    const { message } = held
    const { retry, handle, log } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        await handle(message, this.#running.signal)
        this.#open.delete(held)
        return held.done()
      } catch (error) {
        if (this.#ending.signal.aborted) return
        const wait = retry(attempt)
        const again = wait === undefined ? 'it comes again with the next connection' : `again in ${wait} ms`
        log.warn(`MQTT message of topic ${message.topic} not handled (try ${attempt}), ${again}: ${messageOf(error)}`)
        if (wait === undefined) return
        await this.#rest(wait)
        if (this.#ending.signal.aborted) return
      }
    }
  }

  #rest(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#ending.signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      this.#ending.signal.addEventListener('abort', done)
    })
  }

  /** Gives handlers their time, then aborts them. Returns what is not handled. */
  async end(): Promise<Held[]> {
    const drained = this.#running.drain(this.#options.drainTimeout)
    this.#ending.abort()
    await drained
    return [...this.#open, ...this.#waiting.splice(0)]
  }
}
