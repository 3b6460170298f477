export interface HedgeSettings {
  /** Milliseconds until a further request; with `percentile`, while too few calls were measured. */
  readonly delay: number
  /** Share of the last calls, e.g. 0.95, after whose time a further request begins. */
  readonly percentile: number | undefined
  /** Requests at once, the first included. */
  readonly maxAttempts: number
  /** HTTP methods that may be sent twice. */
  readonly methods: readonly string[]
}

/** Answers that the percentile is taken of. */
const KEPT = 200
/** With fewer the delay counts. */
const ENOUGH = 20

/** When a request that is slow is sent once more, and whether it may be. */
export class Hedging {
  readonly #settings: HedgeSettings
  readonly #onFurther: (() => boolean) | undefined
  readonly #times: number[] = []
  #at = 0
  #learned: number | undefined

  /** @param onFurther Hears of each further request, and may refuse it. */
  constructor(settings: HedgeSettings, onFurther?: () => boolean) {
    this.#settings = settings
    this.#onFurther = onFurther
  }

  get maxAttempts(): number {
    return this.#settings.maxAttempts
  }

  /** Whether a request may be sent twice. */
  covers(method: string): boolean {
    return this.#settings.methods.includes(method)
  }

  /** Milliseconds from one request to the next. */
  get delay(): number {
    const { percentile, delay } = this.#settings
    if (percentile === undefined || this.#times.length < ENOUGH) return delay
    if (this.#learned === undefined) {
      const sorted = this.#times.toSorted((a, b) => a - b)
      this.#learned = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * percentile))] as number
    }
    return this.#learned
  }

  /** A further request is due; false: it may not be sent. */
  further(): boolean {
    return this.#onFurther?.() ?? true
  }

  /** Milliseconds that a request took to be answered. */
  answered(time: number): void {
    if (this.#settings.percentile === undefined) return
    this.#times[this.#at] = time
    this.#at = (this.#at + 1) % KEPT
    // Sorting for each call would cost more than a slightly older figure does.
    if (this.#at % ENOUGH === 0) this.#learned = undefined
  }
}

/**
 * A race of requests that may be sent twice: the first → after the delay a further one → the first to be answered goes on, the
 * others are given up. One that fails leaves the race to the others; when none is left its error is the result.
 * @param request One request; calls `onAnswer` when its answer is good and before any of it is passed on.
 */
export function race(
  hedging: Hedging,
  request: (signal: AbortSignal, onAnswer: () => void) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const legs = new Set<AbortController>()
    let begun = 0
    let winner: AbortController | undefined
    let timer: NodeJS.Timeout | undefined
    const onAbort = () => {
      clearTimeout(timer)
      for (const leg of legs) leg.abort(signal?.reason)
    }
    const over = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const begin = () => {
      const leg = new AbortController()
      legs.add(leg)
      begun++
      const began = performance.now()
      const onAnswer = () => {
        if (winner) return
        winner = leg
        clearTimeout(timer)
        hedging.answered(performance.now() - began)
        for (const other of legs) if (other !== leg) other.abort(new Error('another request was answered first'))
      }
      if (begun < hedging.maxAttempts) timer = setTimeout(() => hedging.further() && begin(), hedging.delay)
      request(leg.signal, onAnswer).then(
        () => {
          over()
          resolve()
        },
        (error: unknown) => {
          legs.delete(leg)
          if (winner ? winner !== leg : legs.size > 0) return
          over()
          reject(error)
        },
      )
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    begin()
    if (signal?.aborted) onAbort()
  })
}
