import { messageOf } from '../../../errors.ts'
import { aborted, pause } from '../../../waiting.ts'
import type { AmqpDelivery, AmqpReceiver } from '../amqp/types.ts'
import { lockToken } from './incoming.ts'
import { Locks } from './locks.ts'
import type { Namespace } from './namespace.ts'
import { Recovery } from './recovery.ts'
import { Worker, type WorkerOptions } from './worker.ts'

export interface ConsumerOptions extends Omit<WorkerOptions, 'settings' | 'ending'> {
  /** e.g. `orders` or `orders/Subscriptions/app`. */
  entity: string
  /** Calls at once. */
  handlers: number
}

/** How long a peer may take to say that nothing more comes, milliseconds. */
const DRAIN = 1000
/** Renewals at once. */
const RENEWALS = 20

/**
 * One subscription without sessions: opening → receiving → (lost) waiting, longer each time → opening … → ended.
 * It holds `maxActiveMessages`; those that have no handler yet wait, and locks of all are renewed.
 */
export class Consumer implements AsyncDisposable {
  readonly #namespace: Namespace
  readonly #options: ConsumerOptions
  readonly #locks: Locks
  readonly #worker: Worker
  readonly #recovery: Recovery
  readonly #ending = new AbortController()
  readonly #waiting: AmqpDelivery[] = []
  readonly #renewing: NodeJS.Timeout | undefined
  readonly #opened = Promise.withResolvers<void>()
  readonly #done: Promise<void>
  #receiver: AmqpReceiver | undefined

  constructor(namespace: Namespace, options: ConsumerOptions) {
    this.#namespace = namespace
    this.#options = options
    const { settings } = namespace
    this.#locks = new Locks(namespace.client, options.entity, settings.timeout)
    this.#worker = new Worker({ ...options, settings, ending: this.#ending.signal })
    this.#recovery = new Recovery(settings.recovery)
    if (settings.lockRenewal > 0) this.#renewing = setInterval(() => void this.#renew(), settings.lockRenewal).unref()
    this.#done = this.#loop()
  }

  /** Resolves after the first try to open it, whatever that gave: others follow. */
  get opened(): Promise<void> {
    return this.#opened.promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ending.signal.aborted) this.#ending.abort(new Error('the subscription ends'))
    await this.#done
  }

  async #loop(): Promise<void> {
    const { signal } = this.#ending
    const { label, log } = this.#options
    while (!signal.aborted) {
      let error: unknown
      try {
        this.#receiver = await this.#open(signal)
        this.#opened.resolve()
        error = await Promise.race([this.#receiver.closed, aborted(signal)])
      } catch (thrown) {
        error = thrown
      }
      this.#opened.resolve()
      if (signal.aborted) break
      this.#receiver = undefined
      // The locks of those that wait are of no use any more: they come again.
      for (const delivery of this.#waiting.splice(0)) this.#worker.held.delete(delivery)
      const wait = this.#recovery.next()
      log.warn(`${label}: not receiving, again in ${wait} ms: ${messageOf(error)}`)
      await pause(wait, signal)
    }
    await this.#end()
  }

  #open(signal: AbortSignal): Promise<AmqpReceiver> {
    const { maxActive, timeout } = this.#namespace.settings
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
    const onMessage = (delivery: AmqpDelivery) => this.#accept(delivery)
    // What handlers still have of a link before this one takes its share.
    const credit = Math.max(0, maxActive - this.#worker.held.size)
    return this.#namespace.client.receiver(this.#options.entity, { credit, onMessage }, limit)
  }

  #accept(delivery: AmqpDelivery): void {
    this.#recovery.reset()
    this.#worker.held.add(delivery)
    if (this.#ending.signal.aborted) return
    this.#waiting.push(delivery)
    this.#pump()
  }

  #pump(): void {
    const { running } = this.#worker
    while (running.size < this.#options.handlers && !this.#ending.signal.aborted) {
      const delivery = this.#waiting.shift()
      if (!delivery) return
      void running
        .start(() => this.#worker.work(delivery))
        .then(() => {
          if (this.#ending.signal.aborted) return
          this.#receiver?.grant(1)
          this.#pump()
        })
    }
  }

  async #renew(): Promise<void> {
    const { held } = this.#worker
    const { label, log } = this.#options
    const left = [...held].filter(({ receiver }) => receiver.usable)
    const some = async () => {
      for (let delivery = left.pop(); delivery; delivery = left.pop()) {
        const one = delivery
        const token = lockToken(one)
        if (!token || !held.has(one)) continue
        await this.#locks.message(token, one.receiver).catch((error: unknown) => {
          if (held.has(one))
            log.warn(`${label}: the lock of message ${one.message.properties?.messageId} is not renewed: ${messageOf(error)}`)
        })
      }
    }
    await Promise.all(Array.from({ length: Math.min(RENEWALS, left.length) }, some))
  }

  async #end(): Promise<void> {
    await this.#receiver?.drain(AbortSignal.timeout(DRAIN)).catch(() => {})
    this.#waiting.length = 0
    await this.#worker.end()
    clearInterval(this.#renewing)
    await this.#receiver?.[Symbol.asyncDispose]()
  }
}
