import { type Channel, IllegalOperationError } from 'amqplib'
import { messageOf } from '../../errors.ts'
import { NoRoomError } from '../no-room.ts'
import type { RabbitConnection } from './connection.ts'
import type { MessageProperties } from './properties.ts'

export interface PublisherSettings {
  /** Longest time that a publish may wait for the server, milliseconds. */
  limit: number
  /** Whether a publish ends when the server has confirmed the message, or already when it is handed to the connection. */
  confirm: boolean
}

export interface Outgoing {
  exchange: string
  routingKey: string
  properties: MessageProperties
  content: Buffer
}

/** What waits for the server at most; beyond it a publish fails at once, so that memory stays flat. */
const MOST_WAITING = 20_000
const MOST_WAITING_BYTES = 64 * 2 ** 20
/** What a waiting message costs beside its content. */
const OVERHEAD = 512
const SWEEP = 100

/** The channel went away before the server had answered: the message may or may not be in. */
class ChannelLost extends Error {}

/** Methods below the library's comfortable ones: its `publish` adds an empty table of headers, which daprd does not send. */
interface RawChannel {
  sendMessage(fields: Record<string, unknown>, properties: MessageProperties, content: Buffer): boolean
  pushConfirmCallback(callback: (error: Error | null) => void): void
}

/**
 * Publishes over one channel. Waits, within the limit, for a server that is away, blocked or slow, and sends again what
 * was not confirmed when a connection broke: at least once, never lost once `publish` has resolved with `confirm`.
 */
export class RabbitPublisher {
  readonly #connection: RabbitConnection
  readonly #settings: PublisherSettings
  readonly #declare: (channel: Channel, exchange: string) => Promise<unknown>
  readonly #declared = new Set<string>()
  readonly #declaring = new Map<string, Promise<void>>()
  readonly #unconfirmed = new Set<{ until: number; fail(): void }>()
  #channel: Channel | undefined
  #opening: Promise<void> | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #waiting = 0
  #waitingBytes = 0
  #sweep: NodeJS.Timeout | undefined

  /** `declare` makes what a message of an exchange needs; it is called once per exchange and channel, on a channel of its own. */
  constructor(
    connection: RabbitConnection,
    settings: PublisherSettings,
    declare: (channel: Channel, exchange: string) => Promise<unknown>,
  ) {
    this.#connection = connection
    this.#settings = settings
    this.#declare = declare
  }

  async publish(message: Outgoing, signal?: AbortSignal): Promise<void> {
    const size = message.content.length + OVERHEAD
    if (this.#waiting >= MOST_WAITING || this.#waitingBytes + size > MOST_WAITING_BYTES + OVERHEAD)
      throw this.#failed(`${this.#waiting} messages wait for RabbitMQ at ${this.#address} already; publish more slowly until it answers`)
    this.#enter(size)
    try {
      const until = Date.now() + this.#settings.limit
      for (;;) {
        try {
          const ready = this.#channel !== undefined && this.#connection.obstacle === undefined && this.#declared.has(message.exchange)
          if (!ready) await this.#prepare(message.exchange, until, signal)
          return await this.#send(message, until)
        } catch (error) {
          if (!(error instanceof ChannelLost)) throw error
          if (Date.now() >= until) throw this.#failed(this.#connection.obstacle ?? `RabbitMQ at ${this.#address} closed the channel`)
          // Whatever closed the channel has a moment to be told as the connection's state.
          await this.#connection.change(Math.min(20, until - Date.now()), signal)
        }
      }
    } finally {
      this.#leave(size)
    }
  }

  /** Opens the channel and declares, before the first message; rejects when that fails or takes longer than the limit. */
  prepare(exchange: string, signal?: AbortSignal): Promise<void> {
    return this.#prepare(exchange, Date.now() + this.#settings.limit, signal)
  }

  get #address(): string {
    return this.#connection.settings.broker.address
  }

  #enter(size: number): void {
    this.#waiting++
    this.#waitingBytes += size
  }

  #leave(size: number): void {
    this.#waiting--
    this.#waitingBytes -= size
  }

  async #prepare(exchange: string, until: number, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted()
      if (this.#connection.ended) throw this.#failed('it is closed')
      const left = until - Date.now()
      const { obstacle } = this.#connection
      if (obstacle !== undefined) {
        if (left <= 0) throw this.#failed(`${obstacle}; gave up after ${this.#settings.limit} ms, try again when the server is back`)
        await this.#connection.change(left, signal)
        continue
      }
      if (this.#channel === undefined) {
        this.#opening ??= this.#open()
        await this.#within(left, this.#opening)
      } else if (!this.#declared.has(exchange)) await this.#within(left, this.#ensure(exchange))
      else return
    }
  }

  async #open(): Promise<void> {
    try {
      const { model } = this.#connection
      if (model === undefined) throw new ChannelLost()
      const channel = this.#settings.confirm ? await model.createConfirmChannel() : await model.createChannel()
      const { log, component } = this.#connection.settings
      channel.on('error', (error) => log.warn(`${component}: RabbitMQ closed the channel for publishing: ${error.message}`))
      channel.on('drain', () => this.#drained?.resolve())
      channel.on('close', () => {
        this.#drained?.reject(new ChannelLost())
        if (this.#channel !== channel) return
        this.#channel = undefined
        // An exchange that deletes itself may be what closed it.
        this.#declared.clear()
      })
      this.#channel = channel
    } catch (error) {
      throw error instanceof ChannelLost ? error : new ChannelLost(messageOf(error))
    } finally {
      this.#opening = undefined
    }
  }

  /** Declares on a channel of its own: a refusal closes the channel, and others' messages are on ours. */
  #ensure(exchange: string): Promise<void> {
    let declaring = this.#declaring.get(exchange)
    if (declaring === undefined) {
      declaring = this.#declareOnce(exchange).finally(() => this.#declaring.delete(exchange))
      this.#declaring.set(exchange, declaring)
    }
    return declaring
  }

  async #declareOnce(exchange: string): Promise<void> {
    const publishing = this.#channel
    try {
      const { model } = this.#connection
      if (model === undefined) throw new ChannelLost()
      const channel = await model.createChannel()
      channel.on('error', () => {})
      await this.#declare(channel, exchange)
      await channel.close()
      if (publishing === this.#channel) this.#declared.add(exchange)
    } catch (error) {
      if (error instanceof ChannelLost || (error as { code?: unknown }).code === undefined) throw new ChannelLost(messageOf(error))
      throw this.#failed(explainRefusal(error))
    }
  }

  #send(message: Outgoing, until: number): Promise<void> | undefined {
    const channel = this.#channel
    if (channel === undefined) throw new ChannelLost()
    const raw = channel as unknown as RawChannel
    let flowing: boolean
    try {
      flowing = raw.sendMessage({ exchange: message.exchange, routingKey: message.routingKey }, message.properties, message.content)
    } catch (error) {
      if (error instanceof IllegalOperationError) throw new ChannelLost(error.message)
      throw this.#failed(`the message cannot be written: ${messageOf(error)}`)
    }
    if (!this.#settings.confirm) return flowing ? undefined : this.#drain(until)
    const size = message.content.length + OVERHEAD
    // Counts until the server has answered, also when the publish gave up before: the bytes are still in our buffers.
    this.#enter(size)
    return new Promise((resolve, reject) => {
      const fail = () => {
        this.#unconfirmed.delete(waiting)
        const { limit } = this.#settings
        reject(
          this.#failed(
            `${this.#connection.obstacle ?? `RabbitMQ at ${this.#address} has not confirmed the message within ${limit} ms`}; it may have arrived nevertheless, try again when the server answers`,
          ),
        )
      }
      const waiting = { until, fail }
      this.#unconfirmed.add(waiting)
      this.#sweep ??= setInterval(() => this.#giveUp(), SWEEP)
      raw.pushConfirmCallback((error) => {
        this.#leave(size)
        if (!this.#unconfirmed.delete(waiting)) return
        if (error === null) resolve()
        else if (error.message === 'message nacked')
          reject(
            new NoRoomError(
              `${this.#connection.settings.component}: RabbitMQ at ${this.#address} refused the message (negative confirm): a queue of ${message.exchange} is as long as it may be (let it be read, or raise its limit; if it has none see the server's log)`,
            ),
          )
        else reject(new ChannelLost(error.message))
      })
    })
  }

  async #drain(until: number): Promise<void> {
    if (this.#drained === undefined) {
      const drained = Promise.withResolvers<void>()
      this.#drained = drained
      const forget = () => {
        this.#drained = undefined
      }
      drained.promise.then(forget, forget)
    }
    await this.#within(until - Date.now(), this.#drained.promise)
  }

  #giveUp(): void {
    const now = Date.now()
    for (const waiting of this.#unconfirmed) if (waiting.until <= now) waiting.fail()
    if (this.#unconfirmed.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }

  async #within<T>(left: number, work: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        late.reject(
          this.#failed(`RabbitMQ at ${this.#address} has not answered within ${this.#settings.limit} ms; try again when it does`),
        ),
      Math.max(0, left),
    )
    try {
      return await Promise.race([work, late.promise])
    } finally {
      clearTimeout(timer)
      work.catch(() => {})
    }
  }

  #failed(why: string): Error {
    return new Error(`${this.#connection.settings.component}: ${why}`)
  }

  /** Waits until every message that was sent is confirmed or given up. */
  async settle(): Promise<void> {
    const until = Date.now() + this.#settings.limit
    while (this.#unconfirmed.size > 0 && Date.now() < until && this.#connection.model !== undefined) await this.#connection.change(SWEEP)
    clearInterval(this.#sweep)
    this.#sweep = undefined
    for (const waiting of this.#unconfirmed) waiting.fail()
  }
}

/** What RabbitMQ's refusal of a declaration means. */
export function explainRefusal(error: unknown): string {
  const text = messageOf(error)
  const { code } = error as { code?: unknown }
  if (code === 406)
    return `${text}; it exists with other settings: make durable, deletedWhenUnused, exchangeKind and the queue's limits the same everywhere, or delete it`
  if (code === 403) return `${text}; give the user the permission`
  if (code === 405) return `${text}; another connection has it for itself (exclusive)`
  return text
}
