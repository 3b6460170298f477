import { messageOf } from '../../../errors.ts'
import { aborted, pause } from '../../../waiting.ts'
import { AmqpError } from '../amqp/errors.ts'
import type { AmqpDelivery } from '../amqp/types.ts'
import { uint } from '../amqp/values.ts'
import { Locks } from './locks.ts'
import type { Namespace } from './namespace.ts'
import { Recovery } from './recovery.ts'
import { Worker, type WorkerOptions } from './worker.ts'

export interface SessionsOptions extends Omit<WorkerOptions, 'settings' | 'ending'> {
  entity: string
  /** Sessions at once. */
  sessions: number
  /** Messages of one session at once, in their order: 1, or what a batch takes. */
  batch: number
  /** A session without a message for so long is left to others, milliseconds; 0: never. */
  idle: number
}

const FILTER = 'com.microsoft:session-filter'
/** How long Service Bus looks for a session before it says that there is none, milliseconds. */
const LOOK = 30_000
const DRAIN = 1000

/**
 * One subscription whose messages belong to sessions: in each of its places a session after the other, looking → (given one)
 * handling its messages in their order → (idle or lost) looking … The lock of the session is renewed, and with it those of its messages.
 */
export class Sessions implements AsyncDisposable {
  readonly #namespace: Namespace
  readonly #options: SessionsOptions
  readonly #locks: Locks
  readonly #ending = new AbortController()
  readonly #places: Promise<void>[]

  constructor(namespace: Namespace, options: SessionsOptions) {
    this.#namespace = namespace
    this.#options = options
    this.#locks = new Locks(namespace.client, options.entity, namespace.settings.timeout)
    this.#places = Array.from({ length: options.sessions }, () => this.#loop())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ending.signal.aborted) this.#ending.abort(new Error('the subscription ends'))
    await Promise.all(this.#places)
  }

  async #loop(): Promise<void> {
    const { signal } = this.#ending
    const { label, log } = this.#options
    const recovery = new Recovery(this.#namespace.settings.recovery)
    while (!signal.aborted) {
      try {
        await this.#session(signal)
        recovery.reset()
      } catch (error) {
        if (signal.aborted) return
        const none = error instanceof AmqpError && /^com\.microsoft:(timeout|session-cannot-be-locked)$/.test(error.condition)
        // Nobody has sent to a session that is free: looking again is no sign of trouble.
        const wait = none ? 0 : recovery.next()
        if (!none) log.warn(`${label}: no session, again in ${wait} ms: ${messageOf(error)}`)
        await pause(Math.max(wait, 10), signal)
      }
    }
  }

  /** One session from beginning to end. Rejects when there is none. */
  async #session(signal: AbortSignal): Promise<void> {
    const { entity, label, log, batch, idle } = this.#options
    const { settings, client } = this.#namespace
    const worker = new Worker({ ...this.#options, settings, ending: signal })
    const arrived: AmqpDelivery[] = []
    let wake = () => {}
    const onMessage = (delivery: AmqpDelivery) => {
      worker.held.add(delivery)
      arrived.push(delivery)
      wake()
    }
    const properties = { 'com.microsoft:timeout': uint(Math.min(LOOK, settings.timeout)) }
    const limit = AbortSignal.any([signal, AbortSignal.timeout(settings.timeout + LOOK)])
    const receiver = await client.receiver(entity, { credit: 0, filters: { [FILTER]: null }, properties, onMessage }, limit)
    const id = String(receiver.remoteFilters[FILTER] ?? '')
    const renewing = settings.lockRenewal > 0 ? setInterval(() => renew(), settings.lockRenewal).unref() : undefined
    const renew = () =>
      this.#locks.session(id, receiver).catch((error: unknown) => {
        if (receiver.usable) log.warn(`${label}: the lock of session ${id} is not renewed: ${messageOf(error)}`)
      })
    const over = Promise.race([receiver.closed, aborted(signal)])
    try {
      while (receiver.usable && !signal.aborted) {
        receiver.grant(batch - receiver.credit)
        if (arrived.length === 0) {
          const { promise, resolve } = Promise.withResolvers<void>()
          wake = resolve
          const timer = idle > 0 ? setTimeout(resolve, idle) : undefined
          await Promise.race([promise, over])
          clearTimeout(timer)
          if (arrived.length === 0) break
        }
        // A batch is handled whole before the next one: what fails comes again before what follows.
        const works: Promise<void>[] = []
        const busy = () => works.length
        wake = () => start()
        const start = () => {
          while (arrived.length > 0 && busy() < batch && !signal.aborted) {
            const delivery = arrived.shift() as AmqpDelivery
            works.push(worker.running.start(() => worker.work(delivery)))
          }
        }
        start()
        for (let at = 0; at < works.length; at++) await works[at]
        wake = () => {}
      }
    } finally {
      clearInterval(renewing)
      if (receiver.credit > 0) await receiver.drain(AbortSignal.timeout(DRAIN)).catch(() => {})
      await worker.end()
      await receiver[Symbol.asyncDispose]()
    }
  }
}
