import type { Msg, Subscription } from '@nats-io/transport-node'
import type { BindingEvent } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { NatsLink } from '../../nats/link.ts'
import { backoff, Running } from '../../pubsub/running.ts'
import { Dropped } from './dropped.ts'
import { bufferOf, metadataOf } from './headers.ts'

export interface InboxSettings {
  subjects: readonly string[]
  queueGroup: string | undefined
  /** Messages at the app at once, and waiting for it. */
  concurrency: number
  pendingLimit: number
  respond: boolean
  /** Milliseconds for the server to take the subscriptions, and for what is here at the end. */
  limit: number
  drainTimeout: number
}

/** All messages that wait together. */
const MOST_BYTES = 64 * 2 ** 20
/** Milliseconds before a subject that the server refused later on is asked for again, growing. */
const FIRST_WAIT = 1000
const LONGEST_WAIT = 30_000
/** What a waiting message costs beside its content. */
const OVERHEAD = 512

/**
 * Reads subjects: each message goes to the app once, whatever becomes of it, for core NATS keeps none; its answer goes to the reply
 * subject, if the message has one. The library subscribes again by itself when the server is back.
 */
export class Inbox implements AsyncDisposable {
  readonly #link: NatsLink
  readonly #settings: InboxSettings
  readonly #handler: (event: BindingEvent) => Promise<Buffer | undefined>
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #refused = new Map<string, string>()
  readonly #queue: Msg[] = []
  readonly #running = new Running()
  readonly #dropped: Dropped
  #queuedBytes = 0
  #started = false
  /** Refusals since the last message. */
  #refusals = 0
  #again: NodeJS.Timeout | undefined
  #off: (() => void) | undefined
  #ended = false

  constructor(link: NatsLink, settings: InboxSettings, handler: (event: BindingEvent) => Promise<Buffer | undefined>) {
    this.#link = link
    this.#settings = settings
    this.#handler = handler
    this.#dropped = new Dropped(link.settings.log, `${link.settings.component}: ${settings.subjects.join(',')}`)
  }

  /** Rejects when the server does not let this login read. */
  async start(): Promise<void> {
    // Permissions may be others by then; and that somebody listens makes the link hurry.
    this.#off = this.#link.onUp(() => this.#retry())
    for (const subject of this.#settings.subjects) this.#subscribe(subject)
    try {
      await this.#link.ping(this.#settings.limit)
    } catch (error) {
      // Lost meanwhile: the library subscribes when it is back.
      if (this.#link.obstacle === undefined) throw error
    }
    const [refused] = this.#refused.values()
    if (refused !== undefined) throw new Error(refused)
    this.#started = true
  }

  #retry(): void {
    clearTimeout(this.#again)
    this.#again = undefined
    for (const subject of this.#refused.keys()) this.#subscribe(subject)
  }

  #subscribe(subject: string): void {
    const { queueGroup } = this.#settings
    this.#refused.delete(subject)
    const callback = (error: Error | null, message: Msg) => {
      if (error) this.#refuse(subject, error)
      else this.#add(message)
    }
    this.#subscriptions.set(subject, this.#link.connection.subscribe(subject, { callback, ...(queueGroup ? { queue: queueGroup } : {}) }))
  }

  #refuse(subject: string, error: Error): void {
    const { component, address, log } = this.#link.settings
    const reason = `${component}: NATS at ${address} does not let this login read ${subject} (${messageOf(error)}): allow it in the permissions of the user, or log in as another`
    this.#subscriptions.delete(subject)
    this.#refused.set(subject, reason)
    if (!this.#started || this.#ended || this.#again) return
    // Permissions were changed while it reads, and may be corrected.
    const wait = backoff(++this.#refusals, FIRST_WAIT, LONGEST_WAIT)
    log.warn(`${reason}; asked again in ${wait} ms`)
    this.#again = setTimeout(() => this.#retry(), wait)
    this.#again.unref()
  }

  #add(message: Msg): void {
    const { concurrency, pendingLimit } = this.#settings
    this.#refusals = 0
    const waits = this.#queue.length > 0 || this.#running.size >= concurrency
    if (waits && (this.#queue.length >= pendingLimit || this.#queuedBytes + sizeOf(message) > MOST_BYTES)) {
      this.#dropped.add(
        `${this.#queue.length} wait for the app already; make the app faster, raise concurrency or pendingLimit, or share the messages with more members of a queueGroup`,
      )
      return
    }
    this.#queue.push(message)
    this.#queuedBytes += sizeOf(message)
    this.#pump()
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#running.size < this.#settings.concurrency) {
      const message = this.#queue.shift() as Msg
      this.#queuedBytes -= sizeOf(message)
      this.#running.start(() => this.#handle(message)).then(() => this.#pump())
    }
  }

  async #handle(message: Msg): Promise<void> {
    const { subject, reply } = message
    let answer: Buffer | undefined
    try {
      answer = await this.#handler({ data: bufferOf(message), metadata: { ...metadataOf(message), subject, ...(reply ? { reply } : {}) } })
    } catch {
      // The block has told of it. Who asked hears nothing, as of an app that is not there.
      return
    }
    // What a stream's consumer calls its reply subject is for acknowledgements.
    if (!reply || !this.#settings.respond || reply.startsWith('$JS.ACK.')) return
    this.#link.soon(() => this.#respond(message, answer ?? Buffer.alloc(0)))
  }

  #respond(message: Msg, answer: Buffer): void {
    const { log, component } = this.#link.settings
    try {
      message.respond(answer)
    } catch (error) {
      log.warn(
        `${component}: the app's answer of ${answer.length} bytes to a message of ${message.subject} was not sent: ${messageOf(error)}`,
      )
    }
  }

  /** Ends the subscriptions, and gives what is here its time. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#off?.()
    clearTimeout(this.#again)
    const end = Date.now() + this.#settings.drainTimeout
    const rest = () => Math.max(0, end - Date.now())
    for (const subscription of this.#subscriptions.values()) if (!subscription.isClosed()) subscription.unsubscribe()
    while (this.#queue.length + this.#running.size > 0 && rest() > 0) {
      await this.#running.idle(rest())
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (const _left of this.#queue.splice(0)) this.#dropped.add('reading ended before the app could take it; raise drainTimeout')
    await this.#running.drain(rest())
    this.#dropped.tell()
  }
}

/** With its headers, which the library decodes when they are asked for: it knows the size before. */
function sizeOf(message: Msg): number {
  return OVERHEAD + (message as Msg & { size(): number }).size()
}
