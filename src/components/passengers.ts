/** Milliseconds that something small waits for company at most. A shorter timer costs as much as it saves. */
const PATIENCE = 5

/**
 * What need not leave by itself: it goes with the next writes to a connection, or some milliseconds later when there are none. That
 * saves a write and a read for each, here and at the server.
 */
export class Passengers implements Disposable {
  #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined

  /** `work` writes; it must not throw. */
  add(work: () => void): void {
    this.#waiting.push(work)
    // Runs out also when all have left: to stop it and start it again for each would cost more.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.board()
    }, PATIENCE)
  }

  /** The connection is written to now. */
  board(): void {
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const work of waiting) work()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#waiting = []
  }
}
