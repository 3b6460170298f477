import { messageOf } from '../../../errors.ts'
import { type Database, inTransaction, isBusy } from '../../../storage/sqlite.ts'
import type { Logger } from '../../../telemetry/log.ts'

/** One change; runs inside a transaction, perhaps more than once when others in the same transaction fail. */
export interface Job {
  run(): void
  /** After the commit. */
  done?(): void
  /** Nothing of it was written. A job without this is tried again until it succeeds. */
  failed?(error: Error): void
  /** Other processes should look after the commit. */
  rings?: boolean
}

export interface WriterOptions {
  database: Database
  log: Logger
  /** What a failed job is told. */
  explain(error: Error): Error
  /** Adds work of its own to the transaction (taking messages); gives what to do after the commit. */
  extra(): () => void
  /** Whether `extra` would find anything; only reads. */
  wanted(): boolean
  ring(): void
}

/** Longest wait for another process's transaction before a job fails. */
const BUSY_LIMIT = 10_000
/** Jobs in one transaction: bounds the time that the event loop stands still. */
const BATCH = 1000
/** Jobs that may wait; beyond it, new ones that can fail do. */
const MAX_JOBS = 50_000
const RETRY = 500

/**
 * Group commit. Everything asked for in one turn of the event loop shares one transaction. When another process
 * holds the write lock, the loop is not blocked: the batch comes back a few milliseconds later.
 */
export class Writer {
  readonly #options: WriterOptions
  #jobs: Job[] = []
  #scheduled = false
  #busySince = 0
  #idle: PromiseWithResolvers<void> | undefined
  #closed = false

  constructor(options: WriterOptions) {
    this.#options = options
  }

  add(job: Job): void {
    if (job.failed !== undefined) {
      if (this.#closed) return job.failed(new Error('the component is closed'))
      if (this.#jobs.length >= MAX_JOBS)
        return job.failed(new Error(`${MAX_JOBS} writes are waiting for the database; publish more slowly`))
    }
    this.#jobs.push(job)
    this.schedule()
  }

  /** `work` in a transaction of this turn. */
  write<T>(work: () => T, rings = false): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    let result: T
    const run = () => {
      result = work()
    }
    this.add({ run, done: () => resolve(result), failed: reject, rings })
    return promise
  }

  schedule(delay = 0): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    const turn = () => {
      this.#scheduled = false
      if (!this.#closed) this.#turn()
    }
    if (delay === 0) setImmediate(turn)
    else setTimeout(turn, delay)
  }

  /** Resolves when no job waits, or when the database has refused them for too long. */
  async flushed(): Promise<void> {
    if (this.#jobs.length === 0 || this.#closed) return
    this.#idle ??= Promise.withResolvers<void>()
    const idle = this.#idle
    const timer = setTimeout(idle.resolve, BUSY_LIMIT)
    this.schedule()
    await idle.promise
    clearTimeout(timer)
  }

  close(): void {
    this.#closed = true
    for (const job of this.#jobs.splice(0)) job.failed?.(new Error('the component is closed'))
    this.#idle?.resolve()
  }

  #turn(): void {
    if (this.#jobs.length === 0 && !this.#options.wanted()) return
    const batch = this.#jobs.splice(0, BATCH)
    try {
      this.#commit(batch, true)
    } catch (error) {
      this.#recover(batch, error instanceof Error ? error : new Error(messageOf(error)))
    }
    if (this.#jobs.length > 0) this.schedule()
    else {
      this.#idle?.resolve()
      this.#idle = undefined
    }
  }

  #commit(batch: readonly Job[], extra: boolean): void {
    const { database } = this.#options
    const after = inTransaction(database, () => {
      for (const job of batch) job.run()
      return extra ? this.#options.extra() : undefined
    })
    this.#busySince = 0
    if (batch.some((job) => job.rings)) this.#options.ring()
    for (const job of batch) job.done?.()
    after?.()
  }

  #recover(batch: Job[], error: Error): void {
    if (isBusy(error)) {
      this.#busySince ||= Date.now()
      if (Date.now() - this.#busySince < BUSY_LIMIT) {
        this.#jobs.unshift(...batch)
        // Spread out, so that processes that met once do not meet again.
        this.schedule(1 + Math.random() * 4)
        return
      }
      this.#busySince = 0
    } else if (batch.length > 1) {
      // One bad job must not fail its neighbours: each gets a transaction of its own.
      for (const job of batch) {
        try {
          this.#commit([job], false)
        } catch (own) {
          this.#recover([job], own instanceof Error ? own : new Error(messageOf(own)))
        }
      }
      return
    }
    const again = batch.filter((job) => job.failed === undefined)
    const told = this.#options.explain(error)
    for (const job of batch) job.failed?.(told)
    this.#options.log.warn(`cannot write to the database: ${told.message}`)
    this.#jobs.unshift(...again)
    if (this.#jobs.length > 0) {
      this.#scheduled = false
      this.schedule(RETRY)
    }
  }
}
