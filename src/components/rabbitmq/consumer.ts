import { createHash } from 'node:crypto'
import type { Channel, ConsumeMessage } from 'amqplib'
import { messageOf } from '../../errors.ts'
import { backoff, next, Running } from '../pubsub/running.ts'
import type { RabbitConnection } from './connection.ts'
import { DeliveryChannel } from './delivery-channel.ts'
import { explainRefusal } from './publisher.ts'

export interface ConsumerSettings {
  /** For messages, e.g. `topic orders`. */
  subject: string
  /** Declares what is consumed from; resolves with the queue. */
  declare(channel: Channel): Promise<string>
  /** Name of the consumer; empty: the server makes one. */
  tag(queue: string): string
  /** Messages that the server hands over before it waits for acknowledgements. */
  prefetch: number
  /** Messages handled at once. */
  handlers: number
  /** Messages count as handled when handling begins. */
  early: boolean
  /** What a failed message becomes: given to the queue again after a wait, or dropped or dead-lettered by the server. */
  onFailure: 'requeue' | 'discard'
  /** Longest wait before a failed message goes back, milliseconds. */
  redeliverInterval: number
  drainTimeout: number
  /** Longest wait for the first subscription, milliseconds. */
  limit: number
}

interface Delivery {
  message: ConsumeMessage
  channel: DeliveryChannel
}

const FIRST_BACKOFF = 100
/** Failed messages whose number of tries is remembered. */
const MOST_REMEMBERED = 1000

/**
 * Consumes one queue on a channel of its own. Acknowledges after the handler has resolved; when it ends, the queue gets
 * back at once what was not begun, and with the channel what was not finished. A channel or connection that is lost is made anew.
 */
export class QueueConsumer implements AsyncDisposable {
  readonly #connection: RabbitConnection
  readonly #settings: ConsumerSettings
  readonly #handle: (message: ConsumeMessage, signal: AbortSignal) => Promise<unknown>
  readonly #onEnd: () => void
  readonly #running = new Running()
  readonly #ending = new AbortController()
  readonly #timers = new Map<NodeJS.Timeout, Delivery>()
  readonly #tries = new Map<string, number>()
  #waiting: Delivery[] = []
  #link: DeliveryChannel | undefined
  #restarting: Promise<void> | undefined
  #ended: Promise<void> | undefined

  constructor(
    connection: RabbitConnection,
    settings: ConsumerSettings,
    handle: (message: ConsumeMessage, signal: AbortSignal) => Promise<unknown>,
    onEnd: (consumer: QueueConsumer) => void,
  ) {
    this.#connection = connection
    this.#settings = settings
    this.#handle = handle
    this.#onEnd = () => onEnd(this)
  }

  /** Resolves when the server hands over messages; rejects when it refuses or is not there in time. */
  async start(): Promise<void> {
    const until = Date.now() + this.#settings.limit
    while (this.#connection.model === undefined) {
      if (Date.now() >= until) throw this.#failed(this.#connection.obstacle ?? 'not connected')
      await this.#connection.change(until - Date.now(), this.#ending.signal)
      if (this.#ending.signal.aborted) throw this.#failed('it is closed')
    }
    try {
      await this.#consume()
    } catch (error) {
      throw this.#failed(explainRefusal(error))
    }
  }

  #failed(why: string): Error {
    return new Error(`${this.#connection.settings.component}: ${this.#settings.subject}: ${why}`)
  }

  async #consume(): Promise<void> {
    const { model } = this.#connection
    if (model === undefined) throw new Error('not connected')
    const channel = await model.createChannel()
    const link = new DeliveryChannel(channel)
    channel.on('error', (error) => this.#warn(`RabbitMQ closed the channel: ${error.message}`))
    channel.on('close', () => {
      link.open = false
      this.#lost(link)
    })
    try {
      const queue = await this.#settings.declare(channel)
      await channel.prefetch(this.#settings.prefetch)
      this.#link = link
      const { consumerTag } = await channel.consume(
        queue,
        (message) => (message === null ? this.#cancelled(link) : this.#accept({ message, channel: link })),
        { consumerTag: this.#settings.tag(queue) },
      )
      link.tag = consumerTag
      if (!link.open) throw new Error('the channel was lost')
      // The end came meanwhile and found nothing to cancel.
      if (this.#ending.signal.aborted) await this.#stop(link)
    } catch (error) {
      if (link.open) await channel.close().catch(() => {})
      if (this.#link === link) this.#link = undefined
      throw error
    }
  }

  /** The server ended the consumer, mostly because the queue was deleted. */
  #cancelled(link: DeliveryChannel): void {
    if (this.#link !== link || this.#ending.signal.aborted) return
    this.#warn('RabbitMQ ended the consumer (the queue is gone?); it is made anew')
    void link.channel.close().catch(() => {})
  }

  #lost(link: DeliveryChannel): void {
    if (this.#link !== link) return
    this.#link = undefined
    // Not ours any more: the server gives them to whoever comes first.
    this.#waiting = this.#waiting.filter((delivery) => delivery.channel !== link)
    for (const [timer, delivery] of this.#timers) if (delivery.channel === link) this.#forget(timer)
    // Before it consumes, whoever starts it learns of the failure.
    if (link.tag !== '' && !this.#ending.signal.aborted) this.#restarting ??= this.#restart().finally(() => (this.#restarting = undefined))
  }

  async #restart(): Promise<void> {
    // Channels close before their connection does: a moment later it is clear which of them was lost.
    await new Promise<void>((resolve) => setImmediate(resolve))
    for (let attempt = 1; !this.#ending.signal.aborted; attempt++) {
      if (this.#connection.model === undefined) {
        attempt = 0
        await this.#connection.change(60_000, this.#ending.signal)
        continue
      }
      try {
        await this.#consume()
        return
      } catch (error) {
        this.#warn(`cannot consume: ${explainRefusal(error)}`)
        await this.#connection.change(backoff(attempt, 50, 2000), this.#ending.signal)
      }
    }
  }

  #accept(delivery: Delivery): void {
    const { channel, message } = delivery
    if (this.#ending.signal.aborted) {
      channel.refuse(message, true)
      return
    }
    channel.add(message)
    this.#waiting.push(delivery)
    this.#pump()
  }

  #pump(): void {
    while (this.#running.size < this.#settings.handlers && !this.#ending.signal.aborted) {
      const delivery = this.#waiting.shift()
      if (delivery === undefined) break
      if (this.#settings.early) delivery.channel.acknowledge(delivery.message)
      void this.#running.start(() => this.#deliver(delivery)).then(() => next(this.#settings.handlers, () => this.#pump()))
    }
  }

  async #deliver(delivery: Delivery): Promise<void> {
    const { message } = delivery
    try {
      await this.#handle(message, this.#running.signal)
      if (!this.#settings.early) delivery.channel.acknowledge(message)
      if (message.fields.redelivered && this.#tries.size > 0) this.#tries.delete(fingerprint(message))
    } catch (error) {
      if (this.#settings.early) {
        this.#warn(`message not handled, and autoAck lets it go: ${messageOf(error)}`)
        return
      }
      // What was cut off by our end is no failure: closing the channel hands it back.
      if (this.#ending.signal.aborted) return
      if (this.#settings.onFailure === 'discard') {
        this.#warn(`message not handled, given to the dead letter exchange if there is one: ${messageOf(error)}`)
        delivery.channel.refuse(message, false)
        return
      }
      const tries = this.#count(message)
      const delay = backoff(tries, FIRST_BACKOFF, Math.max(this.#settings.redeliverInterval, 1))
      this.#warn(`message not handled (try ${tries}), again in ${delay} ms: ${messageOf(error)}`)
      const timer = setTimeout(() => {
        this.#forget(timer)
        delivery.channel.refuse(message, true)
      }, delay)
      this.#timers.set(timer, delivery)
    }
  }

  #forget(timer: NodeJS.Timeout): void {
    clearTimeout(timer)
    this.#timers.delete(timer)
  }

  /** A queue tells that a message came before, not how often: the last failures are counted here. */
  #count(message: ConsumeMessage): number {
    const key = fingerprint(message)
    const tries = (message.fields.redelivered ? (this.#tries.get(key) ?? 0) : 0) + 1
    this.#tries.delete(key)
    this.#tries.set(key, tries)
    if (this.#tries.size > MOST_REMEMBERED) this.#tries.delete(this.#tries.keys().next().value as string)
    return tries
  }

  #warn(text: string): void {
    this.#connection.settings.log.warn(`${this.#connection.settings.component}: ${this.#settings.subject}: ${text}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#ending.abort()
    const link = this.#link
    const back = [...this.#waiting, ...this.#timers.values()]
    for (const timer of this.#timers.keys()) clearTimeout(timer)
    this.#timers.clear()
    this.#waiting = []
    if (link?.open && link.tag !== '') {
      // The cancel goes first, or the server would hand the same messages to us again.
      const cancelled = link.channel.cancel(link.tag).catch(() => {})
      for (const { channel, message } of back) channel.refuse(message, true)
      await Promise.all([this.#running.drain(this.#settings.drainTimeout), within(cancelled, 1000)])
    } else await this.#running.drain(this.#settings.drainTimeout)
    if (link !== undefined) await this.#stop(link)
    await this.#restarting
    this.#onEnd()
  }

  async #stop(link: DeliveryChannel): Promise<void> {
    if (!link.open) return
    link.flush()
    await within(
      link.channel.close().catch(() => {}),
      1000,
    )
  }
}

function fingerprint(message: ConsumeMessage): string {
  return message.properties.messageId || createHash('sha1').update(message.content).digest('base64')
}

async function within(work: Promise<unknown>, milliseconds: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, milliseconds)
  await Promise.race([work, promise])
  clearTimeout(timer)
}
