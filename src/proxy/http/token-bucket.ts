/** Tokens that come back `tokens` at a time each `interval` milliseconds, up to `burst`. */
export class TokenBucket {
  readonly #burst: number
  readonly #tokens: number
  readonly #interval: number
  #left: number
  #at = performance.now()

  constructor(burst: number, tokens: number, interval: number) {
    this.#burst = this.#left = burst
    this.#tokens = tokens
    this.#interval = interval
  }

  /** Whether there was one. */
  take(now: number = performance.now()): boolean {
    const times = Math.floor((now - this.#at) / this.#interval)
    if (times > 0) {
      this.#left = Math.min(this.#burst, this.#left + times * this.#tokens)
      this.#at += times * this.#interval
    }
    if (this.#left <= 0) return false
    this.#left--
    return true
  }
}
