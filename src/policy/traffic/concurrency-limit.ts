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
/** gradient: how far one call moves the limit, and the latency of late. */
const SMOOTHING = 0.1
/** gradient: calls above the estimate that may wait at the other side. */
const QUEUE = 4
/** gradient: calls that the usual latency is the mean of, and calls until it is measured again. */
const SAMPLE = 20
const PERIOD = 2000

/**
 * How many calls may be under way at once, learned from how they go.
 * aimd: one more after a good call at a well-used limit, a tenth fewer after a slow or refused one.
 * gradient: settling (calls of the limit before end) → measuring (the usual latency, at a limit where nothing should queue) →
 * following (the limit goes by the ratio of the usual latency to that of late) → settling again, at a lower limit.
 */
export class ConcurrencyLimit {
  readonly #settings: ConcurrencySettings
  #limit: number
  #inFlight = 0
  #settling = 0
  #measured = 0
  #usual = 0
  #late = 0
  #followed = 0

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
    if (this.#settling > 0) this.#settling--
    else if (this.#measured < SAMPLE) this.#measure(took)
    else this.#follow(took, tolerance, used)
  }

  #measure(took: number): void {
    this.#usual = (this.#usual * this.#measured + took) / ++this.#measured
    this.#late = this.#usual
  }

  #follow(took: number, tolerance: number, used: boolean): void {
    this.#late += (took - this.#late) * SMOOTHING
    if (++this.#followed >= PERIOD) {
      // At this limit a queue may stand: what is usual is measured without one.
      this.#limit = this.#bounded(this.#limit / (tolerance + 0.5))
      this.#settling = this.#inFlight
      this.#measured = 0
      this.#followed = 0
      return
    }
    if (!used) return
    const gradient = Math.max(0.5, Math.min(1, (tolerance * this.#usual) / Math.max(this.#late, 0.001)))
    const wanted = this.#limit * gradient + QUEUE
    this.#limit = this.#bounded(this.#limit + (wanted - this.#limit) * SMOOTHING)
  }

  #bounded(limit: number): number {
    return Math.max(this.#settings.min, Math.min(this.#settings.max, limit))
  }
}
