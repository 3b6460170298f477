/** Lets at most `limit` tasks run; the others wait their turn in order, at most `maxWaiting` of them. */
export class ConcurrencyGate {
  readonly #limit: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<() => void>()
  #running = 0

  /** @param limit 0: no limit. */
  constructor(limit: number, maxWaiting = 10_000) {
    this.#limit = limit > 0 ? limit : Number.POSITIVE_INFINITY
    this.#maxWaiting = maxWaiting
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Calls `start` now or when a place is free. Returns a function that gives up waiting (no effect once started),
   * or undefined when the queue is full and `start` will never be called.
   */
  enter(start: () => void): (() => void) | undefined {
    if (this.#running < this.#limit) {
      this.#running++
      start()
      return nothing
    }
    if (this.#waiting.size >= this.#maxWaiting) return undefined
    const turn = () => start()
    this.#waiting.add(turn)
    return () => void this.#waiting.delete(turn)
  }

  /** Gives a place back; the one that waited longest takes it. */
  leave(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      next()
      return
    }
    this.#running--
  }
}

function nothing(): void {}
