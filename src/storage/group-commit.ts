import { type Database, inTransaction, isBusy } from './sqlite.ts'

interface Job {
  run(): void
  done(): void
  failed(error: unknown): void
}

/** Longest wait for another process's transaction before a job fails. */
const BUSY_LIMIT = 10_000
/** Jobs in one transaction: bounds the time that the event loop stands still. */
const BATCH = 500
/** Jobs that may wait; beyond it, new ones fail. */
const MAX_JOBS = 50_000

/**
 * What is asked for in one turn of the event loop shares one transaction. A lock that another process holds does not block
 * the loop: the batch comes back a few milliseconds later. The database's busy_timeout has to be 0.
 */
export class GroupCommit {
  readonly #database: Database
  #jobs: Job[] = []
  #scheduled = false
  #busySince = 0
  #closed = false

  constructor(database: Database) {
    this.#database = database
  }

  /** Runs `work` in the next transaction, perhaps more than once; resolves after the commit. What it throws undoes all it wrote. */
  write<T>(work: () => T): Promise<T> {
    if (this.#closed) return Promise.reject(new Error('the database is closed'))
    if (this.#jobs.length >= MAX_JOBS) return Promise.reject(new Error(`${MAX_JOBS} writes wait for the database`))
    return new Promise((resolve, reject) => {
      let result: T
      const run = () => {
        result = work()
      }
      this.#jobs.push({ run, done: () => resolve(result), failed: reject })
      this.#schedule(0)
    })
  }

  /** Writes what waits, if the lock is free, and takes no more. */
  close(): void {
    if (this.#jobs.length > 0) this.#turn()
    this.#closed = true
    for (const job of this.#jobs.splice(0)) job.failed(new Error('the database is closed'))
  }

  #schedule(delay: number): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const turn = () => {
      this.#scheduled = false
      if (!this.#closed) this.#turn()
    }
    if (delay === 0) setImmediate(turn)
    else setTimeout(turn, delay)
  }

  #turn(): void {
    const batch = this.#jobs.splice(0, BATCH)
    const late = this.#commit(batch)
    if (late.length > 0) {
      this.#jobs.unshift(...late)
      // Spread out, so that processes that met once do not meet again.
      this.#schedule(1 + Math.random() * 4)
    } else if (this.#jobs.length > 0) this.#schedule(0)
  }

  /** Gives the jobs that another process's lock keeps waiting. */
  #commit(batch: Job[]): Job[] {
    if (batch.length === 0) return []
    try {
      inTransaction(this.#database, () => {
        for (const job of batch) job.run()
      })
    } catch (error) {
      if (isBusy(error)) {
        this.#busySince ||= Date.now()
        if (Date.now() - this.#busySince < BUSY_LIMIT) return batch
        this.#busySince = 0
      } else if (batch.length > 1) {
        // One bad job must not fail its neighbours: each gets a transaction of its own.
        const late: Job[] = []
        for (const [index, job] of batch.entries()) {
          late.push(...this.#commit([job]))
          if (late.length > 0) return [...late, ...batch.slice(index + 1)]
        }
        return late
      }
      for (const job of batch) job.failed(error)
      return []
    }
    this.#busySince = 0
    for (const job of batch) job.done()
    return []
  }
}
