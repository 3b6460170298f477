export interface RetryBudgetSettings {
  /** Retries for each call, e.g. 0.2. */
  readonly share: number
  readonly minPerSecond: number
  /** Milliseconds that are looked back upon. */
  readonly window: number
}

/** Parts that the window moves by. */
const SLOTS = 10

/**
 * How many of the requests to one target may be retries: a share of the calls of the last window, and a few a second whatever
 * the traffic. So an outage costs its callers a little more load, not a multiple of it.
 */
export class RetryBudget {
  readonly #settings: RetryBudgetSettings
  readonly #now: () => number
  readonly #calls = new Float64Array(SLOTS)
  readonly #retries = new Float64Array(SLOTS)
  #slot: number

  constructor(settings: RetryBudgetSettings, now: () => number = () => performance.now()) {
    this.#settings = settings
    this.#now = now
    this.#slot = this.#current()
  }

  /** A call begins. */
  call(): void {
    this.#advance()
    add(this.#calls, this.#slot, 1)
  }

  /** Takes one retry; false: there is none left. */
  take(): boolean {
    this.#advance()
    const { share, minPerSecond, window } = this.#settings
    const allowed = sum(this.#calls) * share + (minPerSecond * window) / 1000
    if (sum(this.#retries) + 1 > allowed) return false
    add(this.#retries, this.#slot, 1)
    return true
  }

  #current(): number {
    return Math.floor((this.#now() / this.#settings.window) * SLOTS)
  }

  #advance(): void {
    const current = this.#current()
    for (let slot = Math.max(this.#slot + 1, current - SLOTS + 1); slot <= current; slot++) {
      this.#calls[slot % SLOTS] = 0
      this.#retries[slot % SLOTS] = 0
    }
    this.#slot = current
  }
}

function add(counts: Float64Array, slot: number, amount: number): void {
  counts[slot % SLOTS] = (counts[slot % SLOTS] as number) + amount
}

function sum(counts: Float64Array): number {
  let total = 0
  for (const count of counts) total += count
  return total
}
