import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { AwsClient } from './client.ts'
import { type Receipt, Settler } from './settler.ts'

/** A message that SQS has given out to us and to nobody else, for as long as it is held. */
export interface Held extends Receipt {
  body: string
  /** How often SQS has given it out, this time among them. */
  received: number
  /** Of FIFO queues: messages of a group come in their order. */
  group: string | undefined
}

export interface QueueReaderSettings {
  /** Asked for before each poll until there is one. */
  url(signal: AbortSignal): Promise<string>
  /** Seconds that a poll waits for messages, and messages of one poll. */
  wait: number
  most: number
  /** Seconds that a message is hidden from others; renewed while it is held. */
  visibility: number
  /** For the log, e.g. `pub/sub component events: queue app1`. */
  label: string
  log: Logger
}

/** What is held at one time; beyond it nobody asks for more. */
const HELD = 1000
const HELD_BYTES = 64 << 20

/**
 * Reads a queue of SQS with long polls, one at a time, which are never broken off: SQS hides what it gives to a poll that
 * nobody hears. Stopped, it hands back what the last one brings.
 */
export class QueueReader implements AsyncDisposable {
  readonly #client: AwsClient
  readonly #settings: QueueReaderSettings
  readonly #accept: (held: Held) => void
  readonly #settler: Settler
  readonly #held = new Set<Held>()
  readonly #ending = new AbortController()
  readonly #renewing: NodeJS.Timeout
  #bytes = 0
  #stopped = true
  #polling: Promise<void> | undefined
  #room = Promise.withResolvers<void>()
  #url: string | undefined

  constructor(client: AwsClient, settings: QueueReaderSettings, accept: (held: Held) => void) {
    this.#client = client
    this.#settings = settings
    this.#accept = accept
    const { label, log } = settings
    this.#settler = new Settler(client, () => this.#url ?? '', label, log)
    this.#renewing = setInterval(() => this.#renew(), (settings.visibility * 1000) / 3)
    this.#renewing.unref()
  }

  start(): void {
    this.#stopped = false
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined
      if (!this.#stopped) this.start()
    })
  }

  /** Asks for no more; what is held stays so. */
  stop(): void {
    this.#stopped = true
  }

  /** Handled: SQS forgets it. */
  done(held: Held): void {
    this.#settle(held, this.#settler.remove(held))
  }

  /** Not handled: it comes again in so many seconds, to whoever asks. */
  later(held: Held, seconds: number): void {
    this.#settle(held, this.#settler.hide(held, seconds))
  }

  /** It comes again when it has been hidden long enough. */
  leave(held: Held): void {
    this.#settle(held, Promise.resolve())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop()
    this.#room.resolve()
    const { wait } = this.#settings
    // A server that does not answer is not waited for.
    const patience = setTimeout(() => this.#ending.abort(), (wait + 1) * 1000)
    await this.#polling
    clearTimeout(patience)
    clearInterval(this.#renewing)
    this.#ending.abort()
    await this.#settler[Symbol.asyncDispose]()
  }

  async #poll(): Promise<void> {
    const { wait, most, visibility, label, log } = this.#settings
    let failures = 0
    while (!this.#stopped) {
      if (this.#held.size >= HELD || this.#bytes >= HELD_BYTES) {
        this.#room = Promise.withResolvers()
        await this.#room.promise
        continue
      }
      const signal = AbortSignal.any([this.#ending.signal, AbortSignal.timeout((wait + 10) * 1000)])
      try {
        this.#url ??= await this.#settings.url(signal)
        const request = {
          QueueUrl: this.#url,
          AttributeNames: ['ApproximateReceiveCount', 'MessageGroupId'],
          MaxNumberOfMessages: most,
          VisibilityTimeout: visibility,
          WaitTimeSeconds: wait,
        }
        const { Messages = [] } = (await this.#client.json('ReceiveMessage', request, signal)) as { Messages?: Message[] }
        failures = 0
        for (const message of Messages) this.#take(message)
      } catch (error) {
        if (this.#ending.signal.aborted) return
        failures++
        log.warn(`${label}: cannot read it: ${messageOf(error)}`)
        // It may have been deleted and made again under another URL.
        this.#url = undefined
        await pause(Math.min(10_000, 250 * 2 ** Math.min(failures, 10)), undefined, { signal: this.#ending.signal }).catch(() => undefined)
      }
    }
  }

  #take({ MessageId: id, ReceiptHandle: receipt, Body: body, Attributes }: Message): void {
    const held = { id, receipt, body, received: Number(Attributes?.ApproximateReceiveCount ?? 1), group: Attributes?.MessageGroupId }
    this.#held.add(held)
    this.#bytes += body.length
    if (this.#stopped) this.later(held, 0)
    else this.#accept(held)
  }

  #settle(held: Held, settled: Promise<void>): void {
    if (!this.#held.delete(held)) return
    void settled.then(() => {
      this.#bytes -= held.body.length
      this.#room.resolve()
    })
  }

  #renew(): void {
    for (const held of this.#held) void this.#settler.hide(held, this.#settings.visibility)
  }
}

interface Message {
  MessageId: string
  ReceiptHandle: string
  Body: string
  Attributes?: { ApproximateReceiveCount?: string; MessageGroupId?: string }
}
