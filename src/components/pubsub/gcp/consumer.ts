import type { MessageHandler } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { GrpcClientStream } from '../../../transport/grpc/client.ts'
import { frame } from '../../../transport/grpc/frames.ts'
import type { GoogleService } from '../../gcp/service.ts'
import { backoff, call, Running } from '../running.ts'
import { StreamingPullRequest, StreamingPullResponse } from './messages.ts'
import { Settler } from './settler.ts'

export interface ConsumerSettings {
  topic: string
  /** projects/…/subscriptions/… */
  subscription: string
  handlers: number
  most: number
  mostBytes: number
  /** Seconds. */
  ackDeadline: number
  /** Milliseconds. */
  recovery: number
  redeliverInterval: number
  drainTimeout: number
  label: string
  log: Logger
}

interface Held {
  ackId: string
  id: string
  data: Buffer
  key: string
  attempt: number
}

/** A lost stream is opened again first after this, milliseconds. */
const SOON = 100
/** Failures that are remembered; past it the oldest begins anew. */
const REMEMBERED = 10_000

/**
 * One subscription: a stream that brings messages, `opening → open → lost → (waits) → opening …` until disposed. What is held
 * (waiting or with a handler) is renewed at Pub/Sub before its deadline; the stream pauses while the limits are reached.
 */
export class Consumer implements AsyncDisposable {
  readonly #service: GoogleService
  readonly #settings: ConsumerSettings
  readonly #handler: MessageHandler
  readonly #settler: Settler
  readonly #running = new Running()
  readonly #held = new Set<Held>()
  readonly #waiting: Held[] = []
  /** Ordering keys that have a handler. */
  readonly #busy = new Set<string>()
  /** Failed deliveries by message id: Pub/Sub counts them only for dead letters. */
  readonly #failures = new Map<string, number>()
  readonly #stop = new AbortController()
  readonly #renewing: NodeJS.Timeout
  #bytes = 0
  #stream: GrpcClientStream | undefined
  #paused = false
  #attempts = 0
  #again: NodeJS.Timeout | undefined
  #ended: Promise<void> | undefined

  constructor(service: GoogleService, settings: ConsumerSettings, handler: MessageHandler) {
    this.#service = service
    this.#settings = settings
    this.#handler = handler
    this.#settler = new Settler(service, settings.subscription, settings.label, settings.log)
    this.#renewing = setInterval(() => this.#renew(), settings.ackDeadline * 400)
    void this.#open()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #open(): Promise<void> {
    const { subscription, ackDeadline, most, mostBytes } = this.#settings
    this.#again = undefined
    let stream: GrpcClientStream | undefined
    let closed = false
    try {
      stream = await this.#service.stream(
        'Subscriber/StreamingPull',
        `subscription=${subscription}`,
        {
          onMessage: (message) => this.#take(message),
          onClose: (status) => {
            closed = true
            if (this.#stream === stream) this.#stream = undefined
            this.#lost(status)
          },
        },
        this.#stop.signal,
      )
      if (closed) return
      this.#stream = stream
      this.#paused = false
      const first = {
        subscription,
        streamAckDeadlineSeconds: ackDeadline,
        clientId: crypto.randomUUID(),
        maxOutstandingMessages: most,
        maxOutstandingBytes: mostBytes,
      }
      stream.write(frame(StreamingPullRequest.encode(first)))
    } catch (error) {
      this.#lost(error)
    }
  }

  /** Google ends streams now and then, and says UNAVAILABLE then: that is worth no word. */
  #lost(why: unknown): void {
    if (this.#ended) return
    const wait = Math.min(Math.max(this.#settings.recovery, SOON), backoff(++this.#attempts, SOON, 30_000))
    if (this.#attempts > 1) this.#settings.log.warn(`${this.#settings.label}: no messages for now, again in ${wait} ms: ${messageOf(why)}`)
    this.#again = setTimeout(() => void this.#open(), wait)
  }

  #take(bytes: Buffer): void {
    this.#attempts = 0
    for (const { ackId, message, deliveryAttempt } of StreamingPullResponse.decode(bytes).receivedMessages) {
      if (!message) continue
      if (this.#ended) {
        this.#settler.deadline(ackId, 0)
        continue
      }
      // A copy: what is decoded are views of a larger buffer.
      const data = Buffer.from(message.data)
      const held = { ackId, id: message.messageId, data, key: message.orderingKey, attempt: deliveryAttempt }
      this.#held.add(held)
      this.#bytes += data.length
      this.#waiting.push(held)
    }
    this.#pump()
  }

  #pump(): void {
    while (this.#running.size < this.#settings.handlers && this.#ended === undefined) {
      const at = this.#waiting.findIndex(({ key }) => key === '' || !this.#busy.has(key))
      if (at === -1) break
      const [held] = this.#waiting.splice(at, 1) as [Held]
      if (held.key !== '') this.#busy.add(held.key)
      this.#running.start(async () => {
        await this.#deliver(held)
        this.#busy.delete(held.key)
        setImmediate(() => this.#pump())
      })
    }
    const { most, mostBytes } = this.#settings
    const full = this.#held.size >= most || this.#bytes >= mostBytes
    if (full === this.#paused || !this.#stream) return
    this.#paused = full
    if (full) this.#stream.pause()
    else this.#stream.resume()
  }

  async #deliver(held: Held): Promise<void> {
    const { topic, label, log, redeliverInterval } = this.#settings
    try {
      await call(this.#handler, { topic, data: held.data, metadata: {} }, this.#running.signal)
      // One that outlasted the drain was given back.
      if (!this.#forget(held)) return
      this.#failures.delete(held.id)
      this.#settler.done(held.ackId)
    } catch (error) {
      if (!this.#forget(held)) return
      if (this.#ended) {
        this.#settler.deadline(held.ackId, 0)
        return
      }
      const failed = (this.#failures.get(held.id) ?? 0) + 1
      this.#failures.delete(held.id)
      this.#failures.set(held.id, failed)
      if (this.#failures.size > REMEMBERED) this.#failures.delete(this.#failures.keys().next().value as string)
      const seconds = Math.round(backoff(failed, Math.min(1000, redeliverInterval), redeliverInterval) / 1000)
      const count = held.attempt || failed
      log.warn(`${label}: message ${held.id} not handled (delivery ${count}), again in ${seconds} s: ${messageOf(error)}`)
      this.#settler.deadline(held.ackId, seconds)
      if (held.key !== '') this.#giveBackBehind(held.key, seconds)
    }
  }

  /** Those behind a message in its order must not overtake it. */
  #giveBackBehind(key: string, seconds: number): void {
    for (const behind of this.#waiting.filter((one) => one.key === key)) {
      this.#waiting.splice(this.#waiting.indexOf(behind), 1)
      this.#forget(behind)
      this.#settler.deadline(behind.ackId, seconds)
    }
  }

  #forget(held: Held): boolean {
    if (!this.#held.delete(held)) return false
    this.#bytes -= held.data.length
    return true
  }

  #renew(): void {
    for (const { ackId } of this.#held) this.#settler.deadline(ackId, this.#settings.ackDeadline)
  }

  async #end(): Promise<void> {
    clearTimeout(this.#again)
    // Whatever still comes by the stream is given back at once.
    this.#stream?.end()
    for (const held of this.#waiting.splice(0)) if (this.#forget(held)) this.#settler.deadline(held.ackId, 0)
    await this.#running.drain(this.#settings.drainTimeout)
    for (const held of this.#held) this.#settler.deadline(held.ackId, 0)
    this.#held.clear()
    clearInterval(this.#renewing)
    this.#stop.abort()
    await this.#settler[Symbol.asyncDispose]()
  }
}
