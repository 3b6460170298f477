import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { Running } from '../pubsub/running.ts'
import type { Retry } from './backoff.ts'
import type { Gate } from './gate.ts'

/** What a claim has to know of a message. */
export interface LogRecord {
  /** Its place in the partition; those after it have larger ones. */
  offset: number
  /** Bytes. */
  size: number
}

/** How the messages of one partition go to a handler. */
export interface Flow {
  /** One at a time keeps the order; more give it up. `group`: a whole batch at a time, in order. */
  window: number
  group?: { size: number; wait: number; gate: Gate } | undefined
}

export interface ClaimOptions<R extends LogRecord> {
  /** Of the messages in the log, e.g. `Kafka message`. */
  label: string
  topic: string
  partition: number
  /** The next message of the group. */
  offset: number
  flow: Flow
  /** Records, and bytes, that may lie here before fetching pauses. */
  most: number
  mostBytes: number
  /** undefined: a message that is not handled is passed over. */
  retry: Retry | undefined
  handle(record: R, signal: AbortSignal): Promise<void>
  /** The position has moved on. */
  moved(): void
  /** There is room for more. */
  wake(): void
  log: Logger
}

/**
 * One partition that this member has: records wait here in order, go to the handler, and `position` moves on when all
 * before it are settled. A message that fails is tried again in its place, with pauses, until it is handled or the claim ends.
 */
export class Claim<R extends LogRecord = LogRecord> {
  readonly topic: string
  readonly partition: number
  /** The next offset to fetch. */
  next: number
  /** The next offset to commit: all before it are settled. */
  position: number
  /** What the group has as committed. */
  committed: number
  readonly #options: ClaimOptions<R>
  readonly #running = new Running()
  readonly #ending = new AbortController()
  /** Under way or settled out of turn, in order of offset. */
  readonly #open = new Map<number, boolean>()
  #queue: R[] = []
  #head = 0
  #bytes = 0
  #since = 0
  #timer: NodeJS.Timeout | undefined
  #paused = false
  #queued = false

  constructor(options: ClaimOptions<R>) {
    this.topic = options.topic
    this.partition = options.partition
    this.next = options.offset
    this.position = options.offset
    this.committed = -1
    this.#options = options
  }

  get waiting(): number {
    return this.#queue.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Whether the next fetch should ask for this partition. */
  get hungry(): boolean {
    const { most, mostBytes } = this.#options
    return !this.#ending.signal.aborted && this.waiting < most && this.#bytes < mostBytes
  }

  get ended(): boolean {
    return this.#ending.signal.aborted
  }

  accept(records: readonly R[], next: number): void {
    if (this.ended) return
    for (const record of records) {
      if (record.offset < this.next) continue
      if (this.waiting === 0) this.#since = Date.now()
      this.#queue.push(record)
      this.#bytes += record.size
      this.next = record.offset + 1
    }
    this.next = Math.max(this.next, next)
    if (this.#open.size === 0 && this.waiting === 0) this.#advance()
    this.#pump()
  }

  /** No new messages go out while the group shares out its partitions anew; those under way go on. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#pump()
  }

  /** Resolves when nothing is under way any more, or after `grace` milliseconds. */
  async settled(grace: number): Promise<void> {
    await this.#running.idle(grace)
  }

  #pump(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#paused || this.ended) return
    const { window, group } = this.#options.flow
    if (group === undefined) {
      while (this.waiting > 0 && this.#open.size < window) this.#start(this.#take())
      return
    }
    if (this.#open.size > 0 || this.waiting === 0 || this.#queued) return
    const left = this.#since + group.wait - Date.now()
    if (this.waiting < group.size && left > 0) {
      this.#timer = setTimeout(() => this.#pump(), left)
      return
    }
    this.#queued = true
    group.gate.enter(() => {
      this.#queued = false
      if (this.#paused || this.ended) return
      for (let count = Math.min(group.size, this.waiting); count > 0; count--) this.#start(this.#take())
      this.#since = Date.now()
    })
  }

  #take(): R {
    const sated = !this.hungry
    const record = this.#queue[this.#head++] as R
    this.#bytes -= record.size
    if (sated && this.hungry) this.#options.wake()
    if (this.#head > 1000 || this.#head === this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    return record
  }

  #start(record: R): void {
    this.#open.set(record.offset, false)
    this.#running.start(() => this.#deliver(record))
  }

  async #deliver(record: R): Promise<void> {
    const { label, topic, partition, retry, log, handle } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        await handle(record, this.#running.signal)
        break
      } catch (error) {
        if (this.ended) return
        const what = `${label} ${topic}/${partition}/${record.offset} not handled`
        const wait = retry?.(attempt)
        if (wait === undefined) {
          log.error(`${what} and passed over: ${messageOf(error)}`)
          break
        }
        log.warn(`${what} (try ${attempt}), again in ${wait} ms: ${messageOf(error)}`)
        await this.#rest(wait)
        if (this.ended) return
      }
    }
    this.#open.set(record.offset, true)
    this.#advance()
    this.#pump()
  }

  #rest(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#ending.signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      this.#ending.signal.addEventListener('abort', done)
    })
  }

  #advance(): void {
    let position = this.position
    for (const [offset, settled] of this.#open) {
      if (!settled) {
        position = offset
        break
      }
      this.#open.delete(offset)
      position = offset + 1
    }
    if (this.#open.size === 0 && this.waiting === 0) position = Math.max(position, this.next)
    if (position <= this.position) return
    this.position = position
    this.#options.moved()
  }

  /** Takes nothing more from the queue; gives handlers `grace` milliseconds, then aborts them. What is not settled stays uncommitted. */
  async end(grace: number): Promise<void> {
    this.#paused = true
    clearTimeout(this.#timer)
    this.#queue = []
    this.#head = 0
    this.#bytes = 0
    const drained = this.#running.drain(grace)
    // A message that rests before its next try is not worth waiting for.
    this.#ending.abort()
    await drained
  }
}
