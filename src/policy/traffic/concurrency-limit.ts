export interface ConcurrencySettings {
  readonly algorithm: 'aimd' | 'gradient'
  readonly initial: number
  readonly min: number
  readonly max: number
  /** aimd: milliseconds that are still well. */
  readonly latency: number
  /** gradient: how many times slower than usual is still well. */
  readonly tolerance: number
}

const BACKOFF = 0.9
/** How far one measurement moves the limit of the gradient, and the long-term latency. */
const SMOOTHING = 0.2
const LONG_TERM = 0.01
/** Calls above the estimate that may wait at the other side. */
const QUEUE = 4

/**
 * How many calls may be under way at once, learned from how they go.
 * aimd: one more after a good call at a well-used limit, a tenth fewer after a slow or refused one.
 * gradient: follows the ratio of the long-term latency to the last one, so that queues at the other side stay short.
 */
export class ConcurrencyLimit {
  readonly #settings: ConcurrencySettings
  #limit: number
  #inFlight = 0
  #usual = 0

  constructor(settings: ConcurrencySettings) {
    this.#settings = settings
    this.#limit = this.#bounded(settings.initial)
  }

  /** Calls that may be under way. */
  get limit(): number {
    return Math.floor(this.#limit)
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** Takes a place; false: there is none. */
  enter(): boolean {
    if (this.#inFlight >= this.limit) return false
    this.#inFlight++
    return true
  }

  /**
   * Gives the place back.
   * @param took Milliseconds; undefined when the call says nothing about the other side.
   * @param overloaded The call ran out of time or was refused for load.
   */
  leave(took: number | undefined, overloaded: boolean): void {
    const used = this.#inFlight-- * 2 >= this.#limit
    if (overloaded) this.#limit = this.#bounded(this.#limit * BACKOFF)
    else if (took !== undefined) this.#learn(took, used)
  }

  #learn(took: number, used: boolean): void {
    const { algorithm, latency, tolerance } = this.#settings
    if (algorithm === 'aimd') {
      if (took > latency) this.#limit = this.#bounded(this.#limit * BACKOFF)
      else if (used) this.#limit = this.#bounded(this.#limit + 1)
      return
    }
    this.#usual = this.#usual === 0 ? took : this.#usual + (took - this.#usual) * LONG_TERM
    // After an overload the long-term figure is too high for too long.
    if (this.#usual > took * 2) this.#usual *= 0.95
    if (!used) return
    const gradient = Math.max(0.5, Math.min(1, (tolerance * this.#usual) / Math.max(took, 0.001)))
    const wanted = this.#limit * gradient + QUEUE
    this.#limit = this.#bounded(this.#limit + (wanted - this.#limit) * SMOOTHING)
  }

  #bounded(limit: number): number {
    return Math.max(this.#settings.min, Math.min(this.#settings.max, limit))
  }
}
