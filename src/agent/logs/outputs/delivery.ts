import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { Batch, BufferReader } from '../buffer/reader.ts'
import type { Changes } from '../buffer/signal.ts'
import type { DeadLetters } from '../dead-letters.ts'
import type { LogEvent } from '../event.ts'
import { PartlyTaken, type Refusal, RefusedError, type Sink } from './sink.ts'

export interface DeliveryOptions {
  name: string
  sink: Sink
  reader: BufferReader
  /** Fires when there may be more to read. */
  written: Changes
  wanted(tag: string): boolean
  batch: { maxEvents: number; maxBytes: number; flushInterval: number }
  retry: { initial: number; max: number; attempts: number }
  deadLetters: DeadLetters
  log: Logger
  /** What keeps it from delivering; undefined: nothing any more. */
  report(error: unknown): void
}

/** A batch as it is still to be sent. */
interface Work {
  parts: readonly (readonly LogEvent[])[]
  requests: number
}

/** Requests that one refused batch is divided into at most; what is left goes to the dead letters unseparated. */
const DIVISIONS = 200

/**
 * Carries events from the buffer to one output, batch by batch, in order. reading → sending → (waiting → sending)* → settled.
 * A batch is settled when the output has it, or has refused it and the dead letters have it; the reader's cursor moves then.
 */
export class Delivery implements AsyncDisposable {
  readonly #options: DeliveryOptions
  /** Ends waiting for events; a batch under way goes on. */
  readonly #drain = new AbortController()
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  /** Of the batch under way, in the dead letters. */
  #buried = 0
  /** Events that the output took. */
  delivered = 0
  retries = 0
  /** Batches that could not be sent at the last try. */
  failing: string | undefined

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#done = this.#run()
  }

  get name(): string {
    return this.#options.name
  }

  get duplicates(): number {
    return this.#options.sink.duplicates ?? 0
  }

  get broken(): number {
    return this.#options.reader.broken
  }

  async #run(): Promise<void> {
    const { reader, log } = this.#options
    for (;;) {
      try {
        const batch = await this.#gather()
        if (!batch) return
        this.#buried = 0
        if (batch.events.length > 0 && !(await this.#settle(batch.events))) return
        reader.commit(batch.end)
        this.delivered += batch.events.length - this.#buried
      } catch (error) {
        log.error(`output ${this.name}: ${messageOf(error)}; it is tried again`)
        await pause(this.#options.retry.max, this.#stop.signal)
        if (this.#stop.signal.aborted) return
      }
    }
  }

  /** What is there up to the bounds of a batch; waits for something, then for as long as events may wait for others. Undefined: the end. */
  async #gather(): Promise<Batch | undefined> {
    const { reader, written, wanted, batch: bounds } = this.#options
    const batch = reader.begin()
    let since: number | undefined
    while (batch.events.length < bounds.maxEvents && batch.bytes < bounds.maxBytes) {
      const seen = written.count
      if (await reader.read(batch, wanted)) continue
      const { cursor } = reader
      // Nothing for this output: that is settled too, so that the buffer can let go of it.
      if (batch.events.length === 0 && (batch.end.offset !== cursor.offset || batch.end.segment !== cursor.segment)) {
        reader.commit(batch.end)
        batch.bytes = 0
      }
      if (this.#drain.signal.aborted) return batch.events.length > 0 ? batch : undefined
      if (batch.events.length === 0) await written.next(this.#drain.signal, undefined, seen)
      else {
        since ??= performance.now()
        const left = since + bounds.flushInterval - performance.now()
        if (left <= 0) break
        await written.next(this.#drain.signal, left, seen)
      }
    }
    return batch
  }

  /** False: it was told to stop before the batch was settled. */
  async #settle(events: readonly LogEvent[]): Promise<boolean> {
    const { retry, log, report } = this.#options
    const work: Work = { parts: [events], requests: 0 }
    let wait = retry.initial
    for (let attempt = 1; ; attempt++) {
      try {
        while (work.parts.length > 0) await this.#send(work)
        if (this.failing !== undefined) {
          log.info(`output ${this.name} takes events again`)
          report(undefined)
        }
        this.failing = undefined
        return true
      } catch (error) {
        if (this.#stop.signal.aborted) return false
        const reason = messageOf(error)
        if (attempt >= retry.attempts && (await this.#giveUp(work, reason))) return true
        if (this.failing !== reason) log.warn(`output ${this.name}: ${reason}; events wait and are sent again`)
        this.failing = reason
        this.retries++
        report(error)
        await pause(wait * (0.75 + Math.random() / 2), this.#stop.signal)
        if (this.#stop.signal.aborted) return false
        wait = Math.min(wait * 2, retry.max)
      }
    }
  }

  /** Sends the first part. One that is refused as a whole is divided, so that one bad event does not take its neighbours along. */
  async #send(work: Work): Promise<void> {
    const [part = [], ...others] = work.parts
    try {
      work.requests++
      await this.#bury(await this.#options.sink.send(part, this.#stop.signal))
      work.parts = others
    } catch (error) {
      if (error instanceof PartlyTaken) {
        await this.#bury(error.refusals)
        work.parts = [error.left, ...others]
        throw error
      }
      if (!(error instanceof RefusedError)) throw error
      if (part.length > 1 && error.divide && work.requests < DIVISIONS) {
        const middle = part.length >> 1
        work.parts = [part.slice(0, middle), part.slice(middle), ...others]
      } else {
        await this.#bury(part.map((event) => ({ event, reason: error.message })))
        work.parts = others
      }
    }
  }

  /** After too many attempts what is left goes to the dead letters; false: there is no room for it. */
  async #giveUp(work: Work, reason: string): Promise<boolean> {
    const left = work.parts.flat()
    this.#options.log.error(`output ${this.name}: ${reason}; ${left.length} events go to the dead letters`)
    return this.#bury(left.map((event) => ({ event, reason }))).then(
      () => true,
      () => false,
    )
  }

  async #bury(refusals: readonly Refusal[]): Promise<void> {
    if (refusals.length === 0) return
    const { deadLetters, log } = this.#options
    await deadLetters.keep(this.name, refusals)
    this.#buried += refusals.length
    log.warn(`output ${this.name} refused ${refusals.length} events, which are in ${deadLetters.folder} now: ${refusals[0]?.reason}`)
  }

  /** Sends what is in the buffer within `grace` milliseconds; the rest stays there. */
  async drain(grace: number): Promise<void> {
    this.#drain.abort()
    // Who does not take events now will not do so within the grace either.
    if (this.failing !== undefined) this.#stop.abort()
    const timer = setTimeout(() => this.#stop.abort(), grace)
    await this.#done
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#drain.abort()
    this.#stop.abort()
    await this.#done
    await this.#options.sink[Symbol.asyncDispose]()
  }
}
