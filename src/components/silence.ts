import { setTimeout as pause } from 'node:timers/promises'

export interface SilenceOptions {
  /**
   * Makes a fresh connection and ends it; resolves when the server is there, whatever it says. Rejects within `limit`
   * milliseconds when it is not.
   */
  probe(limit: number): Promise<void>
  /** The server is silent: breaks the connections whose answers will not come. */
  cut(error: Error): void
  /** Whether an operation failed for want of an answer: that is no sign of life. */
  unanswered(error: unknown): boolean
  /** What operations are told, from the reason of the failed probe. */
  explain(reason: unknown, waited: number): Error
  /** Milliseconds. Defaults: see the constants. */
  after?: number
  limit?: number
  again?: number
}

/** Without any answer for so long, the server is asked over another connection. */
const AFTER = 3000
/** How long that may take. */
const LIMIT = 2000
/** Between two questions to a silent server. */
const AGAIN = 250
const STEPS = 6

/**
 * Tells a server that hangs from a slow statement, for drivers whose operations may take long: hearing → (operations wait,
 * none is answered) asking → hearing, or silent: what waits fails now, what comes fails at once, and the server is asked
 * until it answers. So nobody waits for a dead server as long as a statement may take, and nothing piles up.
 */
export class Silence implements Disposable {
  readonly #options: SilenceOptions
  readonly #after: number
  readonly #waiting = new Set<(error: Error) => void>()
  readonly #ending = new AbortController()
  #answers = 0
  #seen = -1
  #quiet = 0
  #ticking: NodeJS.Timeout | undefined
  #asking = false
  #error: Error | undefined

  constructor(options: SilenceOptions) {
    this.#options = options
    this.#after = options.after ?? AFTER
  }

  /** Why the server is not asked now; undefined when it is. */
  get error(): Error | undefined {
    return this.#error
  }

  /** One operation at the server; rejects with what `explain` gave as soon as the server is known to be silent. */
  during<T>(work: () => Promise<T>): Promise<T> {
    if (this.#error) return Promise.reject(this.#error)
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject)
      this.#ticking ??= setInterval(() => this.#tick(), this.#after / STEPS)
      work().then(
        (value) => {
          this.#answers++
          this.#waiting.delete(reject)
          resolve(value)
        },
        (error: unknown) => {
          if (!this.#options.unanswered(error)) this.#answers++
          this.#waiting.delete(reject)
          // What broke because we broke it does not tell why.
          reject(this.#error ?? error)
        },
      )
    })
  }

  [Symbol.dispose](): void {
    this.#ending.abort()
    clearInterval(this.#ticking)
  }

  #tick(): void {
    if (this.#waiting.size === 0) {
      clearInterval(this.#ticking)
      this.#ticking = undefined
      this.#quiet = 0
      return
    }
    this.#quiet = this.#answers === this.#seen ? this.#quiet + 1 : 0
    this.#seen = this.#answers
    if (this.#quiet >= STEPS && !this.#asking) void this.#ask()
  }

  async #ask(): Promise<void> {
    this.#asking = true
    const answers = this.#answers
    const { probe, cut, explain, limit = LIMIT, again = AGAIN } = this.#options
    try {
      await probe(limit)
    } catch (reason) {
      if (answers !== this.#answers || this.#ending.signal.aborted) return
      this.#error = explain(reason, this.#after + limit)
      for (const reject of this.#waiting) reject(this.#error)
      this.#waiting.clear()
      cut(this.#error)
      while (!this.#ending.signal.aborted) {
        await pause(again, undefined, { signal: this.#ending.signal, ref: false }).catch(() => {})
        try {
          if (!this.#ending.signal.aborted) await probe(limit)
          break
        } catch (still) {
          this.#error = explain(still, this.#after + limit)
        }
      }
      this.#error = undefined
    } finally {
      this.#asking = false
      this.#quiet = 0
    }
  }
}
