/** Wakes those who wait for a change. */
export class Changes {
  readonly #waiting = new Set<() => void>()
  /** How often it has fired: what somebody saw before looking is given to `next`, so that nothing in between is missed. */
  count = 0

  /** Resolves at the next `fire` after the count was `seen`, when the signal aborts, or after `milliseconds`; never rejects. */
  next(signal: AbortSignal, milliseconds?: number, seen = this.count): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted || seen !== this.count) return resolve()
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = milliseconds === undefined ? undefined : setTimeout(done, milliseconds)
      this.#waiting.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  fire(): void {
    this.count++
    for (const done of [...this.#waiting]) done()
  }
}
