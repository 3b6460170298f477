/** Milliseconds from the end of one try to the next when somebody asks. */
const LEAST = 100

/** When a lost server is tried next: after waits that grow while nobody asks for it, soon when somebody does. */
export class NextTry implements Disposable {
  #timer: NodeJS.Timeout | undefined
  #work: (() => void) | undefined
  #since = 0
  #due = 0

  /** Runs `work` in so many milliseconds, in place of what was to run. */
  after(wait: number, work: () => void): void {
    this.#work = work
    this.#since = performance.now()
    this.#arm(wait)
  }

  /** Somebody asks: no longer than LEAST after the last try came to nothing. */
  hurry(): void {
    const soonest = this.#since + LEAST
    if (this.#work && soonest < this.#due) this.#arm(soonest - performance.now())
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#work = undefined
  }

  #arm(wait: number): void {
    clearTimeout(this.#timer)
    const least = Math.max(wait, 0)
    this.#due = performance.now() + least
    this.#timer = setTimeout(() => {
      const work = this.#work
      this.#work = undefined
      work?.()
    }, least)
  }
}
