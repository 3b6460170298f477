import type { MessageHandler } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { Held, QueueReader } from '../../aws/queue-reader.ts'
import { backoff, call, Running } from '../running.ts'

export interface ConsumerSettings {
  topic: string
  handlers: number
  redeliverInterval: number
  drainTimeout: number
  /** Deliveries after which a message that was not handled goes; undefined: never. */
  retryLimit: number | undefined
  /** Goes: is deleted, else given to others. */
  deletesAtLimit: boolean
  label: string
  log: Logger
}

/** One subscription's share of a queue: its messages that wait and those that handlers have. */
export class TopicConsumer implements AsyncDisposable {
  readonly #reader: QueueReader
  readonly #settings: ConsumerSettings
  readonly #handler: MessageHandler
  readonly #onEnd: (consumer: TopicConsumer) => void
  readonly #running = new Running()
  readonly #waiting: { held: Held; data: Buffer }[] = []
  readonly #working = new Set<Held>()
  /** Groups of a FIFO queue that have a handler. */
  readonly #busy = new Set<string>()
  #ended: Promise<void> | undefined

  constructor(reader: QueueReader, settings: ConsumerSettings, handler: MessageHandler, onEnd: (consumer: TopicConsumer) => void) {
    this.#reader = reader
    this.#settings = settings
    this.#handler = handler
    this.#onEnd = onEnd
  }

  offer(held: Held, data: Buffer): void {
    this.#waiting.push({ held, data })
    this.#pump()
  }

  #pump(): void {
    while (this.#running.size < this.#settings.handlers && this.#ended === undefined) {
      const at = this.#waiting.findIndex(({ held: { group } }) => group === undefined || !this.#busy.has(group))
      if (at === -1) return
      const [{ held, data }] = this.#waiting.splice(at, 1) as [{ held: Held; data: Buffer }]
      if (held.group !== undefined) this.#busy.add(held.group)
      this.#working.add(held)
      this.#running.start(async () => {
        await this.#deliver(held, data)
        if (held.group !== undefined) this.#busy.delete(held.group)
        setImmediate(() => this.#pump())
      })
    }
  }

  async #deliver(held: Held, data: Buffer): Promise<void> {
    const { topic, label, log } = this.#settings
    try {
      await call(this.#handler, { topic, data, metadata: {} }, this.#running.signal)
      // One that outlasted the drain was handed back.
      if (this.#working.delete(held)) this.#reader.done(held)
    } catch (error) {
      if (!this.#working.delete(held)) return
      if (this.#ended !== undefined) {
        this.#reader.later(held, 0)
        return
      }
      const what = `${label}: message ${held.id} not handled (delivery ${held.received})`
      const { retryLimit, deletesAtLimit, redeliverInterval } = this.#settings
      if (retryLimit !== undefined && held.received >= retryLimit) {
        log.error(
          `${what}, which messageRetryLimit lets ${deletesAtLimit ? 'be the last: it is deleted' : 'others try'}: ${messageOf(error)}`,
        )
        if (deletesAtLimit) this.#reader.done(held)
        else this.#giveBack(held, 0)
        return
      }
      const seconds = Math.round(backoff(held.received, Math.min(1000, redeliverInterval), redeliverInterval) / 1000)
      log.warn(`${what}, again in ${seconds} s: ${messageOf(error)}`)
      this.#giveBack(held, seconds)
    }
  }

  /** With those behind it in its group, which must not overtake it. */
  #giveBack(held: Held, seconds: number): void {
    this.#reader.later(held, seconds)
    if (held.group === undefined) return
    for (const behind of this.#waiting.filter((one) => one.held.group === held.group)) {
      this.#waiting.splice(this.#waiting.indexOf(behind), 1)
      this.#reader.later(behind.held, seconds)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#onEnd(this)
    for (const { held } of this.#waiting.splice(0)) this.#reader.later(held, 0)
    await this.#running.drain(this.#settings.drainTimeout)
    for (const held of this.#working) this.#reader.later(held, 0)
    this.#working.clear()
  }
}
