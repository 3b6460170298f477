/** A value that is asked for anew when it is older than `life` milliseconds; whoever comes meanwhile waits for the same answer. */
export class TimedValue<T> {
  readonly #load: () => Promise<T>
  readonly #life: number
  #value: Promise<T> | undefined
  #at = Number.NEGATIVE_INFINITY

  constructor(load: () => Promise<T>, life: number) {
    this.#load = load
    this.#life = life
  }

  get(): Promise<T> {
    const now = performance.now()
    if (this.#value === undefined || now - this.#at > this.#life) {
      this.#at = now
      const value = this.#load()
      this.#value = value
      // What failed is not kept.
      value.catch(() => {
        if (this.#value === value) this.#value = undefined
      })
    }
    return this.#value
  }
}
