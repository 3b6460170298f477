import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { Checkpoint, CheckpointStore } from './checkpoint-store.ts'

/** Limit for one write, and the pause after one that failed, milliseconds. */
const LIMIT = 15_000
const AGAIN = 1000

/**
 * How far one partition is handled, in the store: one write at a time, and of what came meanwhile only the newest. A write
 * that fails is made up for by the next; the partition goes on.
 */
export class Bookmark {
  readonly #store: CheckpointStore
  readonly #every: number
  readonly #label: string
  readonly #log: Logger
  readonly #over = new AbortController()
  #newest: Checkpoint | undefined
  #count = 0
  #writing: Promise<void> | undefined
  #failing = false

  /** `every`: messages between two writes; 0: nothing is ever written. */
  constructor(store: CheckpointStore, every: number, label: string, log: Logger) {
    this.#store = store
    this.#every = every
    this.#label = label
    this.#log = log
  }

  /** So many more messages are handled, up to this one. */
  reached(checkpoint: Checkpoint, count: number): void {
    if (this.#every === 0) return
    this.#newest = checkpoint
    this.#count += count
    if (this.#count >= this.#every) this.#writing ??= this.#write()
  }

  /** Writes what is left, once. */
  async end(): Promise<void> {
    this.#over.abort()
    await this.#writing
    if (this.#newest) await this.#once(this.#newest).catch((error: unknown) => this.#warn(error))
    this.#newest = undefined
  }

  /** Somebody else has the partition: what is not written is not ours to write. */
  forget(): void {
    this.#newest = undefined
    this.#over.abort()
  }

  async #write(): Promise<void> {
    while (this.#newest && this.#count >= this.#every && !this.#over.signal.aborted) {
      const checkpoint = this.#newest
      this.#count = 0
      try {
        await this.#once(checkpoint)
        if (this.#newest === checkpoint) this.#newest = undefined
      } catch (error) {
        this.#count = this.#every
        this.#warn(error)
        await pause(AGAIN, this.#over.signal)
      }
    }
    this.#writing = undefined
  }

  async #once(checkpoint: Checkpoint): Promise<void> {
    await this.#store.save(checkpoint, AbortSignal.timeout(LIMIT))
    this.#failing = false
  }

  /** Once for all tries until one passes. */
  #warn(error: unknown): void {
    if (!this.#failing) this.#log.warn(`${this.#label}: its checkpoint is not saved, tried again until it is: ${messageOf(error)}`)
    this.#failing = true
  }
}
