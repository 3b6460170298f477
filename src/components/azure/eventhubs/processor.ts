import { randomUUID } from 'node:crypto'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { Flow } from '../../partitions/claim.ts'
import { balanced } from './balance.ts'
import { Bookmark } from './bookmark.ts'
import type { Checkpoint, CheckpointStore } from './checkpoint-store.ts'
import type { HubEvent } from './event.ts'
import type { Namespace } from './namespace.ts'
import { PartitionReader } from './partition.ts'

export interface ProcessorOptions {
  hub: string
  group: string
  flow: Flow
  /** Messages of a partition between two checkpoints; 0: none is written. */
  every: number
  /** E.g. `pub/sub component events: event hub orders`. */
  label: string
  handle(event: HubEvent, signal: AbortSignal): Promise<void>
  log: Logger
}

/** Between two rounds, and after which an ownership that is not renewed counts no more; as daprd, with which partitions are shared. */
const INTERVAL = 10_000
const EXPIRY = 60_000
/** After a round that failed, doubled up to the interval. */
const AGAIN = 500
/** Limit for a round, and for giving partitions back. */
const LIMIT = 30_000
const LAST_LIMIT = 5000
/** Writes of one round at once. */
const AT_ONCE = 16

/**
 * One member of a consumer group: takes its share of a hub's partitions, round after round, and reads them.
 * A group that has never read begins with what is published from now on, in all partitions: that is noted at once, where
 * Azure's processors begin anew at each partition's end whenever somebody takes it who finds no checkpoint.
 */
export class Processor implements AsyncDisposable {
  readonly #namespace: Namespace
  readonly #store: CheckpointStore
  readonly #options: ProcessorOptions
  readonly #me = randomUUID()
  readonly #held = new Map<string, PartitionReader>()
  readonly #over = new AbortController()
  /** Where partitions without a checkpoint are begun, where none is written. */
  readonly #starts = new Map<string, Checkpoint>()
  #partitions: readonly string[] = []
  #looping: Promise<void> | undefined
  #ended: Promise<void> | undefined

  constructor(namespace: Namespace, store: CheckpointStore, options: ProcessorOptions) {
    this.#namespace = namespace
    this.#store = store
    this.#options = options
  }

  /** Resolves when what is published from now on will be delivered, by this member or another. */
  async start(): Promise<void> {
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(LIMIT)])
    this.#partitions = await this.#namespace.partitions(this.#options.hub, signal)
    await this.#begin(signal)
    await this.#round(signal)
    this.#looping = this.#loop()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { hub, every } = this.#options
    const known = await this.#store.checkpoints(signal)
    const fresh = this.#partitions.filter((partition) => !known.has(partition))
    if (fresh.length === 0) return
    const ends = await this.#namespace.ends(hub, fresh, signal)
    for (const end of ends) this.#starts.set(end.partition, end)
    if (every > 0) await eachOf(ends, (end) => this.#store.begin(end, signal))
  }

  async #loop(): Promise<void> {
    const { signal } = this.#over
    let failed = 0
    while (!signal.aborted) {
      // Not all members at the same moment.
      await pause(failed > 0 ? Math.min(INTERVAL, AGAIN * 2 ** failed) : INTERVAL * (0.8 + Math.random() / 2), signal)
      if (signal.aborted) return
      try {
        await this.#round(AbortSignal.any([signal, AbortSignal.timeout(LIMIT)]))
        failed = 0
      } catch (error) {
        if (signal.aborted) return
        failed++
        this.#options.log.warn(`${this.#options.label}: partitions are not shared out for now: ${messageOf(error)}`)
      }
    }
  }

  /** Renews what it has, takes what is missing to its share, and reads what it got. */
  async #round(signal: AbortSignal): Promise<void> {
    const { now, ownerships } = await this.#store.ownerships(signal)
    const share = { partitions: this.#partitions, ownerships, me: this.#me, now, expiry: EXPIRY, step: Number.POSITIVE_INFINITY }
    const claimed = new Set<string>()
    await eachOf(balanced(share), async (wanted) => {
      if (await this.#store.claim(wanted, signal)) claimed.add(wanted.partition)
    })
    for (const [partition, reader] of this.#held) if (!claimed.has(partition)) this.#drop(partition, reader)
    const fresh = [...claimed].filter((partition) => !this.#held.has(partition))
    if (fresh.length === 0) return
    const checkpoints = await this.#store.checkpoints(signal)
    const problems: unknown[] = []
    await eachOf(fresh, (partition) => this.#read(partition, checkpoints, signal).catch((error: unknown) => problems.push(error)))
    const { label, log } = this.#options
    log.debug(`${label}: ${this.#held.size} of ${this.#partitions.length} partitions are read here`)
    if (problems.length === 0) return
    if (this.#held.size === 0) throw problems[0]
    log.warn(`${label}: ${problems.length} partitions cannot be read for now: ${messageOf(problems[0])}`)
  }

  async #read(partition: string, checkpoints: ReadonlyMap<string, Checkpoint>, signal: AbortSignal): Promise<void> {
    const { hub, group, flow, every, label, handle, log } = this.#options
    const { retry, drainTimeout } = this.#namespace.settings
    const from = checkpoints.get(partition) ?? this.#starts.get(partition) ?? { partition, sequence: -1, offset: '-1' }
    const bookmark = new Bookmark(this.#store, every, `${label}: partition ${partition}`, log)
    const stolen = () => this.#drop(partition, reader)
    const reader = new PartitionReader(this.#namespace, {
      ...{ hub, group, from, me: this.#me, flow, retry, bookmark, drainTimeout, handle, stolen, log },
    })
    this.#held.set(partition, reader)
    try {
      await reader.start(signal)
    } catch (error) {
      this.#drop(partition, reader)
      throw error
    }
  }

  #drop(partition: string, reader: PartitionReader): void {
    if (this.#held.get(partition) !== reader) return
    this.#held.delete(partition)
    if (reader.handled) this.#starts.set(partition, reader.handled)
    void reader.end(false)
  }

  async #end(): Promise<void> {
    this.#over.abort(new Error('the subscription ends'))
    await this.#looping
    const held = [...this.#held.values()]
    await Promise.all(held.map((reader) => reader.end(true)))
    if (held.length > 0)
      await this.#giveBack().catch((error: unknown) => {
        this.#options.log.warn(
          `${this.#options.label}: partitions are not given back, others take them after ${EXPIRY / 1000} s: ${messageOf(error)}`,
        )
      })
    this.#held.clear()
  }

  /** Asks once more: of what the last round wrote, the answer may not have come. */
  async #giveBack(): Promise<void> {
    const signal = AbortSignal.timeout(LAST_LIMIT)
    const { ownerships } = await this.#store.ownerships(signal)
    const mine = ownerships.filter(({ owner }) => owner === this.#me)
    await eachOf(mine, (ownership) => this.#store.claim({ ...ownership, owner: '' }, signal))
  }
}

/** At most so many at once; rejects when one has failed, after the others have begun. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values()
  await Promise.all(
    Array.from({ length: Math.min(AT_ONCE, items.length) }, async () => {
      for (const item of queue) await work(item)
    }),
  )
}
