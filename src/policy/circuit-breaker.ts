import { policyDuration } from './retry.ts'

export interface BreakerCounts {
  requests: number
  totalSuccesses: number
  totalFailures: number
  consecutiveSuccesses: number
  consecutiveFailures: number
}

export interface BreakerSettings {
  readonly name: string
  /** Calls let through while half open; so many successes in a row close it again. */
  readonly maxRequests: number
  /** Milliseconds after which the counts of a closed breaker begin anew; 0: never. */
  readonly interval: number
  /** Milliseconds that an open breaker refuses calls. */
  readonly timeout: number
  readonly trip: (counts: Readonly<BreakerCounts>) => boolean
}

export interface BreakerText {
  maxRequests?: number
  interval?: string
  timeout?: string
  trip?: string
}

export type BreakerState = 'closed' | 'half-open' | 'open'

/** A call that a breaker did not let through. Never tried again by the policy it is part of. */
export class BreakerOpenError extends Error {
  override readonly name = 'BreakerOpenError'
}

/** Throws an Error that names the field; a trip expression that is not valid CEL is one. */
export async function parseBreaker(name: string, text: BreakerText): Promise<BreakerSettings> {
  return {
    name,
    maxRequests: Math.max(text.maxRequests ?? 1, 1),
    interval: policyDuration(text.interval, 0, `circuit breaker ${name}: interval`),
    timeout: policyDuration(text.timeout, 60_000, `circuit breaker ${name}: timeout`) || 60_000,
    trip: text.trip ? await compileTrip(name, text.trip) : (counts) => counts.consecutiveFailures > 5,
  }
}

async function compileTrip(name: string, text: string): Promise<BreakerSettings['trip']> {
  const simple = /^\s*(requests|totalSuccesses|totalFailures|consecutiveSuccesses|consecutiveFailures)\s*(>=|>)\s*(\d+)\s*$/.exec(text)
  if (simple) {
    // What nearly everybody writes needs no expression library in memory.
    const count = simple[1] as keyof BreakerCounts
    const limit = Number(simple[3])
    return simple[2] === '>' ? (counts) => counts[count] > limit : (counts) => counts[count] >= limit
  }
  const { Environment } = await import('@marcbachmann/cel-js')
  const environment = ['requests', 'totalSuccesses', 'totalFailures', 'consecutiveSuccesses', 'consecutiveFailures'].reduce(
    (made, variable) => made.registerVariable(variable, 'int'),
    new Environment(),
  )
  const checked = environment.check(text)
  if (!checked.valid) throw new Error(`circuit breaker ${name}: trip "${text}" is no valid CEL expression: ${checked.error?.message}`)
  const program = environment.parse(text)
  return (counts) => {
    try {
      return program(Object.fromEntries(Object.entries(counts).map(([key, value]) => [key, BigInt(value)]))) === true
    } catch {
      // As daprd: what cannot be evaluated does not trip.
      return false
    }
  }
}

/**
 * One circuit breaker. States: closed → (trip) open → (timeout) half-open → closed or open again.
 * What began in one state does not count in the next.
 */
export class CircuitBreaker {
  readonly settings: BreakerSettings
  readonly #onChange: ((from: BreakerState, to: BreakerState) => void) | undefined
  readonly #now: () => number
  #state: BreakerState = 'closed'
  #generation = 0
  #expiry: number
  #counts: BreakerCounts = none()

  constructor(
    settings: BreakerSettings,
    onChange?: (from: BreakerState, to: BreakerState) => void,
    now: () => number = () => performance.now(),
  ) {
    this.settings = settings
    this.#onChange = onChange
    this.#now = now
    this.#expiry = settings.interval > 0 ? now() + settings.interval : Number.POSITIVE_INFINITY
  }

  get state(): BreakerState {
    this.#advance()
    return this.#state
  }

  /** Runs `operation` unless the breaker is open. Any rejection counts as a failure. */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    this.#advance()
    if (this.#state === 'open') throw new BreakerOpenError('circuit breaker is open')
    if (this.#state === 'half-open' && this.#counts.requests >= this.settings.maxRequests) throw new BreakerOpenError('too many requests')
    const generation = this.#generation
    this.#counts.requests++
    try {
      const result = await operation()
      this.#done(generation, true)
      return result
    } catch (error) {
      this.#done(generation, false)
      throw error
    }
  }

  #done(generation: number, success: boolean): void {
    this.#advance()
    if (generation !== this.#generation) return
    const counts = this.#counts
    if (success) {
      counts.totalSuccesses++
      counts.consecutiveSuccesses++
      counts.consecutiveFailures = 0
      if (this.#state === 'half-open' && counts.consecutiveSuccesses >= this.settings.maxRequests) this.#become('closed')
    } else {
      counts.totalFailures++
      counts.consecutiveFailures++
      counts.consecutiveSuccesses = 0
      if (this.#state === 'half-open' || this.settings.trip(counts)) this.#become('open')
    }
  }

  /** What time alone changes. */
  #advance(): void {
    if (this.#now() < this.#expiry) return
    if (this.#state === 'open') this.#become('half-open')
    else if (this.#state === 'closed') this.#begin()
  }

  #become(state: BreakerState): void {
    const from = this.#state
    this.#state = state
    this.#begin()
    this.#onChange?.(from, state)
  }

  #begin(): void {
    this.#generation++
    this.#counts = none()
    const { interval, timeout } = this.settings
    const lasts = this.#state === 'open' ? timeout : this.#state === 'closed' && interval > 0 ? interval : Number.POSITIVE_INFINITY
    this.#expiry = this.#now() + lasts
  }
}

function none(): BreakerCounts {
  return { requests: 0, totalSuccesses: 0, totalFailures: 0, consecutiveSuccesses: 0, consecutiveFailures: 0 }
}
