import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { Retry } from '../../partitions/backoff.ts'
import { Claim, type Flow } from '../../partitions/claim.ts'
import { AmqpError } from '../amqp/errors.ts'
import type { AmqpMessage, AmqpReceiver } from '../amqp/types.ts'
import { described, long } from '../amqp/values.ts'
import type { Bookmark } from './bookmark.ts'
import type { Checkpoint } from './checkpoint-store.ts'
import { type HubEvent, incoming } from './event.ts'
import type { Namespace } from './namespace.ts'

export interface PartitionOptions {
  hub: string
  group: string
  /** Reading starts behind it. */
  from: Checkpoint
  /** Who we are, for the words of the service to others. */
  me: string
  flow: Flow
  retry: Retry
  bookmark: Bookmark
  /** Milliseconds. */
  drainTimeout: number
  handle(event: HubEvent, signal: AbortSignal): Promise<void>
  /** Another reader has it now. */
  stolen(): void
  log: Logger
}

/** Messages that may wait here or be on their way, as in Azure's SDKs, and their bytes. */
const MOST = 300
const MOST_BYTES = 8 << 20
/** How large a message is held to be before any has come. */
const FIRST_SIZE = 128 << 10
/** Milliseconds for opening a link; between two tries, doubled from the first to the second. */
const LIMIT = 30_000
const WAITS = [100, 10_000] as const
const FILTER = 'apache.org:selector-filter:string'
const FILTER_CODE = 0x468c00000004n

/**
 * One partition that this member has: opening → reading → (the link is lost) waiting → opening … → ended, or stolen.
 * A link goes on behind the last event that came by the one before it.
 */
export class PartitionReader {
  /** All up to it is handled; absent: nothing yet. */
  handled: Checkpoint | undefined
  readonly #namespace: Namespace
  readonly #options: PartitionOptions
  readonly #claim: Claim<HubEvent>
  readonly #over = new AbortController()
  /** Given to the claim and not yet behind its position, in order. */
  readonly #under: Checkpoint[] = []
  readonly #most: number
  #size = FIRST_SIZE
  #came: number | undefined
  #receiver: AmqpReceiver | undefined

  constructor(namespace: Namespace, options: PartitionOptions) {
    this.#namespace = namespace
    this.#options = options
    const { hub, from, flow, retry, handle, log } = options
    this.#most = Math.max(MOST, flow.window, 2 * (flow.group?.size ?? 0))
    this.#claim = new Claim<HubEvent>({
      label: 'Event Hubs message',
      topic: hub,
      partition: Number(from.partition),
      offset: from.sequence + 1,
      flow,
      most: this.#most,
      mostBytes: MOST_BYTES,
      retry,
      handle: async (event, signal) => {
        try {
          await handle(event, signal)
        } finally {
          this.#grant()
        }
      },
      moved: () => this.#moved(),
      wake: () => this.#grant(),
      log,
    })
  }

  /** Opens the link, and again whenever it is lost; resolves when it is open for the first time, or rejects. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#open(AbortSignal.any([signal, this.#over.signal]))
  }

  /** No more messages; handlers get their time. `ours`: what is handled is noted, otherwise it is for somebody else to say. */
  async end(ours: boolean): Promise<void> {
    const { bookmark, drainTimeout } = this.#options
    this.#over.abort()
    const closing = this.#receiver?.[Symbol.asyncDispose]()
    if (!ours) bookmark.forget()
    await Promise.all([closing, this.#claim.end(ours ? drainTimeout : 0)])
    if (ours) await bookmark.end()
  }

  async #open(signal: AbortSignal): Promise<void> {
    const { hub, group, from, me } = this.#options
    const address = `${hub}/ConsumerGroups/${group}/Partitions/${from.partition}`
    const credit = this.#room(0)
    const receiver = await this.#namespace.receiver(
      address,
      {
        credit,
        settle: 'first',
        presettled: true,
        filters: { [FILTER]: described(FILTER_CODE, this.#filter()) },
        properties: { 'com.microsoft:epoch': long(0), 'com.microsoft:receiver-name': me },
        onMessage: ({ message }) => this.#take(message),
      },
      AbortSignal.any([signal, AbortSignal.timeout(LIMIT)]),
    )
    if (this.#over.signal.aborted) {
      await receiver[Symbol.asyncDispose]()
      return
    }
    this.#receiver = receiver
    // Room may have been made while it opened.
    this.#grant()
    void receiver.closed.then((why) => this.#again(why))
  }

  #take(message: AmqpMessage): void {
    const { hub, from, log } = this.#options
    const event = incoming(message)
    if (event === undefined) {
      log.error(`event hub ${hub}, partition ${from.partition}: a message without sequence number or offset is passed over`)
      return
    }
    this.#size = Math.max(event.size, Math.round(this.#size * 0.9))
    this.#came = event.offset
    this.#under.push({ partition: from.partition, sequence: event.offset, offset: event.place })
    this.#claim.accept([event], event.offset + 1)
    this.#grant()
  }

  /** Where reading goes on. */
  #filter(): string {
    const { sequence, offset } = this.#options.from
    if (this.#came !== undefined) return `amqp.annotation.x-opt-sequence-number > '${this.#came}'`
    return offset === undefined ? `amqp.annotation.x-opt-sequence-number > '${sequence}'` : `amqp.annotation.x-opt-offset > '${offset}'`
  }

  async #again(why: unknown): Promise<void> {
    const { hub, group, from, log, stolen } = this.#options
    const { signal } = this.#over
    this.#receiver = undefined
    let [wait] = WAITS as readonly [number, number]
    for (let problem = why; !signal.aborted; wait = Math.min(WAITS[1], wait * 2)) {
      if (problem instanceof AmqpError && problem.condition === 'amqp:link:stolen') return stolen()
      log.debug(
        `event hub ${hub}, group ${group}, partition ${from.partition}: no messages for now, again in ${wait} ms: ${messageOf(problem)}`,
      )
      await pause(wait, signal)
      if (signal.aborted) return
      try {
        return await this.#open(signal)
      } catch (error) {
        problem = error
        if (wait >= 1000)
          log.warn(`event hub ${hub}, group ${group}, partition ${from.partition}: no messages for now: ${messageOf(error)}`)
      }
    }
  }

  #moved(): void {
    const { position } = this.#claim
    let count = 0
    while (count < this.#under.length && (this.#under[count] as Checkpoint).sequence < position) count++
    if (count === 0) return
    const last = this.#under.splice(0, count).at(-1) as Checkpoint
    this.handled = last
    this.#options.bookmark.reached(last, count)
  }

  /** Credit for what there is room for, in larger steps. */
  #grant(): void {
    const receiver = this.#receiver
    if (!receiver?.usable) return
    const more = this.#room(receiver.credit)
    if (more > 0 && (receiver.credit === 0 || more >= this.#most / 4)) receiver.grant(more)
  }

  /** How many more messages may come than the credit that is out. */
  #room(credit: number): number {
    const { waiting, bytes } = this.#claim
    const fits = Math.floor((MOST_BYTES - bytes) / this.#size)
    return Math.max(waiting === 0 ? 1 : 0, Math.min(this.#most - waiting, fits)) - credit
  }
}
