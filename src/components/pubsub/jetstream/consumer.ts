import { setTimeout as pause } from 'node:timers/promises'
import { AckPolicy, type ConsumerConfig, type ConsumerInfo, DeliverPolicy, type JetStreamManager } from '@nats-io/jetstream'
import { createInbox, type Msg, type Subscription } from '@nats-io/transport-node'
import { messageOf } from '../../../errors.ts'
import type { NatsLink } from '../../nats/link.ts'
import { backoff, next, Running } from '../running.ts'
import { HANDLED, type Held, notHandled, placeOf, WORKING } from './held.ts'

export interface StreamConsumerSettings {
  topic: string
  stream: string
  /** As the YAML has it; deliver_subject and the start of one made again are added here. */
  config: Partial<ConsumerConfig>
  handlers: number
  /** Wait before a failed message comes again that the component gives, by number of deliveries; undefined: grows by itself. */
  delay(delivered: number): number | undefined
  redeliverInterval: number
  drainTimeout: number
}

const FIRST_BACKOFF = 100
/** Below so many waiting messages the server may send more, where it asks. */
const FLOW = 256
/** How often a consumer is looked for that sends nothing: somebody may have deleted it. */
const LOOK = 10_000
const DEFAULT_ACK_WAIT = 30_000

/**
 * A push consumer of a stream, as daprd makes it. Members of a queue group share a durable one. Acknowledges after the
 * handler has resolved; tells the server meanwhile that messages are worked on; hands back at its end what it has not handled.
 */
export class StreamConsumer implements AsyncDisposable {
  readonly #link: NatsLink
  readonly #manager: JetStreamManager
  readonly #settings: StreamConsumerSettings
  readonly #handle: (message: Msg, signal: AbortSignal) => Promise<void>
  readonly #onEnd: () => void
  readonly #running = new Running()
  readonly #ending = new AbortController()
  readonly #working = new Set<Held>()
  readonly #stopListening: () => void
  /** Places in the stream of what waits or is worked on. */
  readonly #ours = new Set<number>()
  #waiting: Held[] = []
  #flow: string[] = []
  #subscription: Subscription | undefined
  #name = ''
  /** The last place in the stream that came; a consumer made again starts behind what is settled. */
  #last = 0
  #looking = false
  #heard = Date.now()
  #beat: NodeJS.Timeout | undefined
  #ended: Promise<void> | undefined

  constructor(
    link: NatsLink,
    manager: JetStreamManager,
    settings: StreamConsumerSettings,
    handle: (message: Msg, signal: AbortSignal) => Promise<void>,
    onEnd: (consumer: StreamConsumer) => void,
  ) {
    this.#link = link
    this.#manager = manager
    this.#settings = settings
    this.#handle = handle
    this.#onEnd = () => onEnd(this)
    this.#stopListening = link.onUp(() => void this.#look())
  }

  async start(): Promise<void> {
    await this.#attach()
    const third = (nanosToMillis(this.#settings.config.ack_wait) || DEFAULT_ACK_WAIT) / 3
    this.#beat = setInterval(() => this.#tick(), Math.max(50, Math.min(third, LOOK)))
    this.#beat.unref()
    // Messages published from now on are ours: the server has the subscription when it has answered.
    await this.#link.connection.flush()
  }

  /** Finds or makes the consumer and listens to where it sends. */
  async #attach(): Promise<void> {
    const { stream, config } = this.#settings
    const info =
      (config.durable_name && (await this.#find(config.durable_name))) || (await this.#manager.consumers.add(stream, this.#config()))
    this.#check(info)
    this.#name = info.name
    const subject = info.config.deliver_subject as string
    const queue = config.deliver_group
    if (this.#subscription?.getSubject() === subject) return
    this.#subscription?.unsubscribe()
    this.#subscription = this.#link.connection.subscribe(subject, {
      ...(queue ? { queue } : {}),
      callback: (_error, message) => this.#accept(message),
    })
  }

  async #find(name: string) {
    try {
      return await this.#manager.consumers.info(this.#settings.stream, name)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  #config(): Partial<ConsumerConfig> {
    const { config } = this.#settings
    const made: Partial<ConsumerConfig> = { ...config, deliver_subject: createInbox() }
    if (this.#last === 0) return made
    delete made.opt_start_time
    return { ...made, deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.min(this.#last + 1, ...this.#ours) }
  }

  /** Whether a consumer that exists can be ours; settings that differ stay as they are, and are told. */
  #check({ config: found, push_bound: bound }: ConsumerInfo): void {
    const { topic, config } = this.#settings
    const name = config.durable_name
    if (name === undefined) return
    if (found.filter_subject !== undefined && found.filter_subject !== topic)
      throw new Error(
        `consumer ${name} is that of subject ${found.filter_subject}: give each topic a durableName of its own, e.g. durableName: "${name}-{topic}"`,
      )
    if (found.deliver_subject === undefined) throw new Error(`consumer ${name} exists as a pull consumer: choose another durableName`)
    if ((found.deliver_group ?? '') !== (config.deliver_group ?? ''))
      throw new Error(
        `consumer ${name} belongs to queue group "${found.deliver_group ?? ''}": use that queueGroupName, or another durableName`,
      )
    if (bound && config.deliver_group === undefined && this.#subscription === undefined)
      throw new Error(`consumer ${name} is already bound to a subscription: set queueGroupName to share it, or choose another durableName`)
    const compared = ['deliver_policy', 'ack_policy', 'max_deliver', 'max_ack_pending', ...(config.backoff ? [] : ['ack_wait'])] as const
    const differing = compared.filter(
      (field) => config[field as 'ack_wait'] !== undefined && config[field as 'ack_wait'] !== found[field as 'ack_wait'],
    )
    if (differing.length === 0) return
    const { component, log } = this.#link.settings
    log.warn(
      `${component}: topic ${topic}: consumer ${name} exists with another ${differing.join(', ')}, which stays: delete it to have your settings`,
    )
  }

  #accept(message: Msg): void {
    this.#heard = Date.now()
    if (message.headers?.code === 100) {
      this.#control(message)
      return
    }
    const held = placeOf(message)
    if (held === undefined) return
    if (this.#ending.signal.aborted) {
      this.#nak(held)
      return
    }
    // Asked for again because it waited here too long: it still does.
    if (this.#ours.has(held.sequence)) return
    this.#ours.add(held.sequence)
    this.#last = Math.max(this.#last, held.sequence)
    this.#waiting.push(held)
    this.#pump()
  }

  /** Flow control and idle heartbeats, which may tell that a flow control request was lost. */
  #control(message: Msg): void {
    const stalled = message.headers?.get('Nats-Consumer-Stalled')
    if (message.reply) this.#flow.push(message.reply)
    else if (stalled) this.#flow.push(stalled)
    this.#answerFlow()
  }

  #answerFlow(): void {
    if (this.#waiting.length >= FLOW) return
    for (const subject of this.#flow.splice(0)) this.#link.connection.publish(subject)
  }

  #pump(): void {
    while (this.#working.size < this.#settings.handlers && !this.#ending.signal.aborted) {
      const held = this.#waiting.shift()
      if (held === undefined) break
      this.#working.add(held)
      this.#running.start(async () => {
        await this.#deliver(held)
        this.#working.delete(held)
        this.#ours.delete(held.sequence)
        next(this.#settings.handlers, () => this.#pump())
      })
    }
    if (this.#flow.length > 0) this.#answerFlow()
  }

  async #deliver(held: Held): Promise<void> {
    const { topic, config, redeliverInterval, delay: given } = this.#settings
    for (;;) {
      try {
        await this.#handle(held.message, this.#running.signal)
        if (config.ack_policy !== AckPolicy.None) this.#link.soon(() => held.message.respond(HANDLED))
        return
      } catch (error) {
        if (this.#ending.signal.aborted) {
          this.#nak(held)
          return
        }
        const { component, log } = this.#link.settings
        if (config.ack_policy === AckPolicy.None) {
          log.warn(`${component}: topic ${topic}: message ${held.sequence} not handled, and ackPolicy none lets it go: ${messageOf(error)}`)
          return
        }
        const delay = given(held.delivered) ?? backoff(held.delivered, FIRST_BACKOFF, Math.max(redeliverInterval, 1))
        log.warn(
          `${component}: topic ${topic}: message ${held.sequence} not handled (try ${held.delivered}), again in ${delay} ms: ${messageOf(error)}`,
        )
        if (config.ack_policy !== AckPolicy.All) {
          this.#nak(held, delay)
          return
        }
        // Acknowledging a later one would acknowledge this one too: it stays until it is handled.
        held.delivered++
        await pause(delay, undefined, { signal: this.#ending.signal }).catch(() => undefined)
      }
    }
  }

  #nak(held: Held, delay = 0): void {
    if (this.#settings.config.ack_policy !== AckPolicy.None) held.message.respond(notHandled(delay))
  }

  #tick(): void {
    if (this.#link.obstacle !== undefined) return
    if (this.#settings.config.ack_policy !== AckPolicy.None)
      for (const held of [...this.#working, ...this.#waiting]) held.message.respond(WORKING)
    if (Date.now() - this.#heard >= LOOK) void this.#look()
  }

  /** Makes the consumer again when it is gone: after a restart of the server, or deleted by somebody. */
  async #look(): Promise<void> {
    if (this.#looking || this.#name === '' || this.#ending.signal.aborted) return
    this.#looking = true
    const { component, log } = this.#link.settings
    try {
      for (let attempt = 1; !this.#ending.signal.aborted && this.#link.obstacle === undefined; attempt++) {
        try {
          this.#heard = Date.now()
          if ((await this.#find(this.#name)) === undefined) {
            log.warn(`${component}: topic ${this.#settings.topic}: consumer ${this.#name} is gone; it is made anew`)
            await this.#attach()
          }
          return
        } catch (error) {
          log.warn(`${component}: topic ${this.#settings.topic}: cannot find the consumer: ${messageOf(error)}`)
          await this.#link.change(backoff(attempt, 50, 2000), this.#ending.signal)
        }
      }
    } finally {
      this.#looking = false
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#ending.abort()
    this.#stopListening()
    clearInterval(this.#beat)
    // The server must not send them to us again.
    this.#subscription?.unsubscribe()
    for (const held of this.#waiting.splice(0)) this.#nak(held)
    await this.#running.drain(this.#settings.drainTimeout)
    for (const held of this.#working) this.#nak(held)
    if (this.#link.obstacle === undefined) {
      await this.#link.ping(1000).catch(() => {})
      // One without a name is nobody else's.
      if (!this.#settings.config.durable_name && this.#name !== '')
        await this.#manager.consumers.delete(this.#settings.stream, this.#name).catch(() => undefined)
    }
    this.#onEnd()
  }
}

function isMissing(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: string }
  return code === 10014 || code === 10059 || /(consumer|stream) not found/.test(message ?? '')
}

function nanosToMillis(nanoseconds: number | undefined): number {
  return (nanoseconds ?? 0) / 1e6
}
