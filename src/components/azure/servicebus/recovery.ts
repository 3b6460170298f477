/** Waits between tries to receive again, milliseconds: from the first to the second, growing by half, a fifth more or less. */
export class Recovery {
  readonly #least: number
  readonly #most: number
  #wait: number

  constructor([least, most]: readonly [number, number]) {
    this.#least = least
    this.#most = most
    this.#wait = least
  }

  next(): number {
    const wait = this.#wait
    this.#wait = Math.min(this.#most, Math.max(100, this.#wait * 1.5))
    return Math.round(wait * (0.8 + Math.random() * 0.4))
  }

  /** It receives again. */
  reset(): void {
    this.#wait = this.#least
  }
}
