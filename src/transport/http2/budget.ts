import { ConnectionError, H2 } from './protocol.ts'

/** How often the other side may do what costs us more than it: so much at once, then so much a second. */
export class Budget {
  readonly #what: string
  readonly #burst: number
  readonly #rate: number
  #left: number
  #at = performance.now()

  constructor(what: string, burst: number, rate: number) {
    this.#what = what
    this.#burst = burst
    this.#rate = rate
    this.#left = burst
  }

  /** Throws ConnectionError when nothing is left. */
  spend(): void {
    if (--this.#left >= 0) return
    const now = performance.now()
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) / 1000) * this.#rate)
    this.#at = now
    if (this.#left < 0) throw new ConnectionError(H2.CALM, `too many ${this.#what}`)
  }
}
