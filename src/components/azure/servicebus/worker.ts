import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { Running } from '../../pubsub/running.ts'
import type { AmqpDelivery } from '../amqp/types.ts'
import { Limiter } from './limiter.ts'
import type { ServiceBusSettings } from './settings.ts'

/** Handles one message: resolves when it may go, rejects when it is to come again. */
export type Handle = (delivery: AmqpDelivery, signal: AbortSignal) => Promise<void>

export interface WorkerOptions {
  handle: Handle
  settings: ServiceBusSettings
  /** For messages, e.g. `pub/sub component a: topic orders`. */
  label: string
  log: Logger
  /** Aborted when the subscription ends. */
  ending: AbortSignal
}

/** Milliseconds for handing one message back at the end. */
const HAND_BACK = 1000

/** The messages of one subscription that are held here: locked, with a handler or waiting for one, until their outcome is said. */
export class Worker {
  readonly running = new Running()
  readonly held = new Set<AmqpDelivery>()
  readonly #options: WorkerOptions
  readonly #working = new Set<AmqpDelivery>()
  readonly #limiter: Limiter

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#limiter = new Limiter(options.settings.retriablePerSecond)
  }

  /** Calls the handler and says the outcome. Resolves when the message's place is free; one that was not handled may keep it for a while. */
  async work(delivery: AmqpDelivery): Promise<void> {
    const { handle, label, log, ending } = this.#options
    const { timeout, handlerTimeout } = this.#options.settings
    const name = `${label}: message ${delivery.message.properties?.messageId ?? delivery.tag.toString('hex')}`
    const { signal } = this.running
    this.#working.add(delivery)
    let failed = false
    try {
      await handle(delivery, handlerTimeout > 0 ? AbortSignal.any([signal, AbortSignal.timeout(handlerTimeout)]) : signal)
    } catch (error) {
      failed = true
      if (!ending.aborted) log.warn(`${name} not handled: ${messageOf(error)}`)
    }
    this.#working.delete(delivery)
    // One that outlasted the drain was handed back.
    if (!this.held.has(delivery)) return
    const limit = AbortSignal.timeout(timeout)
    const uncounted = failed && ending.aborted
    const settling = failed ? (uncounted ? delivery.release(limit) : delivery.modify({}, limit)) : delivery.accept(limit)
    await settling.catch((error: unknown) => {
      const what = failed ? 'is not given back: it comes again when its lock ends' : 'is handled and not completed: it comes again'
      log.warn(`${name} ${what}: ${messageOf(error)}`)
    })
    if (failed && !uncounted) await this.#limiter.take(ending)
    this.held.delete(delivery)
  }

  /** Those without a handler at once; the others have `drainTimeout` to finish. */
  async end(): Promise<void> {
    await this.#handBack([...this.held].filter((one) => !this.#working.has(one)))
    await this.running.drain(this.#options.settings.drainTimeout)
    await this.#handBack([...this.held])
  }

  async #handBack(deliveries: readonly AmqpDelivery[]): Promise<void> {
    for (const delivery of deliveries) this.held.delete(delivery)
    await Promise.all(deliveries.map((delivery) => delivery.release(AbortSignal.timeout(HAND_BACK)).catch(() => {})))
  }
}
