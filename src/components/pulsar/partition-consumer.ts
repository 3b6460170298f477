import { messageOf } from '../../errors.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import { backoff } from '../pubsub/running.ts'
import type { Cluster } from './cluster.ts'
import { type Schema, SubType, Type } from './commands.ts'
import type { Connection, ConsumerListener } from './connection.ts'
import { Entry, nameOf, State } from './entry.ts'
import { isPassing, UnreachableError } from './errors.ts'
import { ackFrame, type EntryId, flowFrame, type readMessage, redeliverFrame } from './hot.ts'
import { type Content, type InMessage, readContent } from './in-message.ts'

export interface ConsumerOptions {
  subscription: string
  type: keyof typeof SubType
  durable: boolean
  /** Where a new subscription begins. */
  earliest: boolean
  replicateState: boolean
  schema: InputOf<typeof Schema> | undefined
  /** Messages that the broker may send ahead. */
  queueSize: number
  /** Milliseconds until a message that was not handled comes again. */
  redeliveryDelay: number
  /** Limit for a first subscription, milliseconds. */
  timeout: number
}

/** A message that the broker gave. */
export interface Delivery extends InMessage {
  partition: PartitionConsumer
  entry: Entry
  index: number
}

const RETRY = 50
const MOST_RETRY = 1000
/** Acknowledgements gather so long, milliseconds, or up to so many. */
const ACK_DELAY = 5
const MOST_ACKS = 1000
/** Longest wait for the broker to confirm them, milliseconds. */
const CONFIRM_LIMIT = 10_000
/** Partly handled entries that are remembered while the broker has them. */
const MOST_REMEMBERED = 10_000

/**
 * Consumes one partition: idle → subscribing → ready → subscribing … → closed. Acknowledges an entry when all its messages are
 * handled and remembers it until the broker has confirmed that; gives one back, after a delay, when all are settled and one failed.
 */
export class PartitionConsumer implements ConsumerListener {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #options: ConsumerOptions
  readonly #accept: (delivery: Delivery) => void
  readonly #warn: (text: string) => void
  readonly #id: number
  readonly #entries = new Map<string, Entry>()
  #connection: Connection | undefined
  #queued = new Set<Delivery>()
  #acks: EntryId[] = []
  #ackTimer: NodeJS.Timeout | undefined
  #failed: { due: number; entry: Entry }[] = []
  #failedTimer: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #failures = 0
  #permits = 0
  #closed = false

  constructor(
    cluster: Cluster,
    topic: string,
    options: ConsumerOptions,
    accept: (delivery: Delivery) => void,
    warn: (text: string) => void,
  ) {
    this.#cluster = cluster
    this.#topic = topic
    this.#options = options
    this.#accept = accept
    this.#warn = warn
    this.#id = cluster.nextId()
  }

  /** Resolves when the broker sends messages; rejects when it refuses or is not there in time. */
  async start(signal: AbortSignal): Promise<void> {
    const until = Date.now() + this.#options.timeout
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#subscribe()
      } catch (error) {
        const wait = backoff(attempt, RETRY, MOST_RETRY)
        if (signal.aborted || !isPassing(error) || Date.now() + wait > until) throw error
        await new Promise((resolve) => setTimeout(resolve, wait))
      }
    }
  }

  async #subscribe(): Promise<void> {
    const { subscription, type, durable, earliest, replicateState, schema, queueSize } = this.#options
    const connection = await this.#cluster.serving(this.#topic)
    connection.consumers.set(this.#id, this)
    try {
      await connection.ask((requestId) => ({
        type: Type.subscribe,
        subscribe: {
          topic: this.#topic,
          subscription,
          type: SubType[type],
          consumerId: this.#id,
          requestId,
          durable,
          initialPosition: earliest ? 1 : 0,
          replicateState,
          ...(type === 'key_shared' ? { keyShared: { mode: 0 } } : {}),
          ...(schema ? { schema } : {}),
        },
      }))
      if (!connection.usable || connection.consumers.get(this.#id) !== this)
        throw new UnreachableError(`the connection to ${connection.address} is lost`)
    } catch (error) {
      connection.consumers.delete(this.#id)
      throw error
    }
    this.#failures = 0
    this.#connection = connection
    if (this.#closed) return this.#leave(connection)
    // First what the broker need not send again.
    void this.#flush()
    this.#permits = 0
    connection.write(flowFrame(this.#id, queueSize))
  }

  message({ id }: ReturnType<typeof readMessage>, frame: Buffer, at: number): void {
    if (this.#connection === undefined || this.#closed) return
    const name = nameOf(id)
    let entry = this.#entries.get(name)
    let content: Content
    try {
      content = readContent(frame, at)
    } catch (error) {
      // As all clients do: it will not get better.
      this.#warn(`a message is damaged and passed over: ${messageOf(error)}`)
      this.#take(1)
      return this.#acknowledge(new Entry(id, 0))
    }
    if ('unreadable' in content) return this.#unreadable(id, content)
    const { messages } = content
    if (entry === undefined || entry.states.length !== messages.length) {
      entry = new Entry(id, messages.length)
      this.#entries.set(name, entry)
    }
    let passed = 0
    for (const [index, message] of messages.entries()) {
      const state = entry.states[index]
      if (message === undefined) entry.states[index] = State.handled
      if (message === undefined || state === State.handled || state === State.queued || state === State.running) {
        passed++
        continue
      }
      entry.states[index] = State.queued
      const delivery = { partition: this, entry, index, ...message }
      this.#queued.add(delivery)
      this.#accept(delivery)
    }
    if (passed > 0) this.#take(passed)
    if (passed === messages.length && entry.handled) this.#acknowledge(entry)
  }

  #unreadable(id: EntryId, { unreadable, count }: { unreadable: string; count: number }): void {
    this.#warn(`a message cannot be read and goes back: ${unreadable}`)
    this.#take(count)
    const entry = new Entry(id, count)
    entry.states.fill(State.failed)
    this.#giveBack(entry)
  }

  /** The delivery leaves the queue and is handled now; false when it was taken back meanwhile. */
  begin(delivery: Delivery): boolean {
    if (!this.#queued.delete(delivery)) return false
    delivery.entry.states[delivery.index] = State.running
    this.#take(1)
    return true
  }

  settle({ entry, index }: Delivery, handled: boolean): void {
    entry.states[index] = handled ? State.handled : State.failed
    if (!entry.settled) return
    if (entry.handled) this.#acknowledge(entry)
    else if (entry.states.includes(State.failed)) this.#giveBack(entry)
  }

  /** Messages that make room for others. */
  #take(count: number): void {
    this.#permits += count
    if (this.#permits < this.#options.queueSize / 2 || this.#connection === undefined) return
    this.#connection.write(flowFrame(this.#id, this.#permits))
    this.#permits = 0
  }

  #acknowledge({ id }: Entry): void {
    this.#acks.push(id)
    if (this.#acks.length >= MOST_ACKS) void this.#flush()
    else if (this.#connection !== undefined) this.#ackTimer ??= setTimeout(() => void this.#flush(), ACK_DELAY)
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#ackTimer)
    this.#ackTimer = undefined
    const connection = this.#connection
    if (connection === undefined || this.#acks.length === 0) return
    const ids = this.#acks
    this.#acks = []
    try {
      if (connection.confirms) await connection.expect(CONFIRM_LIMIT, (requestId) => ackFrame(this.#id, ids, requestId))
      else connection.write(ackFrame(this.#id, ids, 0))
      for (const id of ids) this.#entries.delete(nameOf(id))
    } catch {
      // The broker may not have them: they go over the next connection.
      this.#acks.push(...ids)
    }
  }

  #giveBack(entry: Entry): void {
    this.#failed.push({ due: Date.now() + this.#options.redeliveryDelay, entry })
    this.#failedTimer ??= setTimeout(() => this.#redeliver(), this.#options.redeliveryDelay)
  }

  /** All have the same delay, so the first is due first. */
  #redeliver(): void {
    this.#failedTimer = undefined
    const now = Date.now()
    const at = this.#failed.findIndex(({ due }) => due > now)
    const due = this.#failed.splice(0, at < 0 ? this.#failed.length : at)
    const next = this.#failed[0]
    if (next !== undefined) this.#failedTimer = setTimeout(() => this.#redeliver(), Math.max(5, next.due - now))
    const ids: EntryId[] = []
    for (const { entry } of due) {
      // It came again over a new connection and is under way.
      if (!entry.settled || entry.handled) continue
      ids.push(entry.id)
      if (!entry.partly) this.#entries.delete(nameOf(entry.id))
    }
    if (ids.length > 0) this.#connection?.write(redeliverFrame(this.#id, ids))
    this.#forget()
  }

  /** Another consumer may have got what we remember. */
  #forget(): void {
    if (this.#entries.size <= MOST_REMEMBERED) return
    for (const [name, entry] of this.#entries) {
      if (this.#entries.size <= MOST_REMEMBERED) return
      if (entry.settled && !entry.handled) this.#entries.delete(name)
    }
  }

  lost(error: Error): void {
    if (this.#connection === undefined) return
    this.#connection = undefined
    clearTimeout(this.#ackTimer)
    this.#ackTimer = undefined
    // Not ours any more: the broker gives them to whoever is there.
    for (const { entry, index } of this.#queued) {
      entry.states[index] = State.away
      if (!entry.partly && entry.settled) this.#entries.delete(nameOf(entry.id))
    }
    this.#queued.clear()
    if (!this.#closed) this.#again(error)
  }

  #again(error: unknown): void {
    if (this.#closed || this.#cluster.closing.aborted) return
    this.#failures++
    if (this.#failures === 1 || this.#failures % 30 === 0) this.#warn(`does not consume at present: ${messageOf(error)}`)
    this.#retry = setTimeout(
      () => {
        if (!this.#closed) this.#subscribe().catch((failure) => this.#again(failure))
      },
      this.#failures === 1 ? 10 : backoff(this.#failures, RETRY, MOST_RETRY),
    )
  }

  /** Takes no more messages; what was not begun goes back to the broker when `close` comes. */
  stop(): void {
    this.#closed = true
    clearTimeout(this.#retry)
    clearTimeout(this.#failedTimer)
    this.#queued.clear()
  }

  /** Acknowledges what is handled and leaves. */
  async close(): Promise<void> {
    this.stop()
    const connection = this.#connection
    if (connection === undefined) return
    await this.#flush()
    clearTimeout(this.#ackTimer)
    await this.#leave(connection)
    this.#connection = undefined
  }

  async #leave(connection: Connection): Promise<void> {
    await connection.ask((requestId) => ({ type: Type.closeConsumer, closeConsumer: { id: this.#id, requestId } }), 1000).catch(() => {})
    connection.consumers.delete(this.#id)
  }
}
