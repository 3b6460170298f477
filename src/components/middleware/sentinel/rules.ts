/** Requests of one resource that may pass in a time. */
export interface FlowRule {
  readonly resource: string
  readonly threshold: number
  /** Milliseconds. */
  readonly interval: number
}

/** Requests of one resource that may be under way. */
export interface IsolationRule {
  readonly resource: string
  readonly threshold: number
}

export interface BreakerRule {
  readonly resource: string
  readonly strategy: 'slow' | 'errorRatio' | 'errorCount'
  /** Milliseconds that an open breaker refuses. */
  readonly retryTimeout: number
  readonly minRequests: number
  /** Milliseconds. */
  readonly interval: number
  /** Milliseconds that are not yet slow. */
  readonly maxAllowed: number
  readonly threshold: number
  /** Good probes that close it again. */
  readonly probes: number
}

const SLOTS = 2

/** Counts of the last time, in slots that fall out as they age. */
class Window {
  readonly #slot: number
  readonly #counts: { slot: number; total: number; bad: number }[] = []

  constructor(interval: number) {
    this.#slot = interval / SLOTS
  }

  add(now: number, bad: boolean): void {
    const slot = Math.floor(now / this.#slot)
    let last = this.#counts.at(-1)
    if (last?.slot !== slot) {
      last = { slot, total: 0, bad: 0 }
      this.#counts.push(last)
      if (this.#counts.length > SLOTS) this.#counts.shift()
    }
    last.total++
    if (bad) last.bad++
  }

  sum(now: number): { total: number; bad: number } {
    const first = Math.floor(now / this.#slot) - SLOTS + 1
    let total = 0
    let bad = 0
    for (const count of this.#counts) {
      if (count.slot < first) continue
      total += count.total
      bad += count.bad
    }
    return { total, bad }
  }

  clear(): void {
    this.#counts.length = 0
  }
}

/** What one rule says of requests to its resource. */
export interface Guard {
  /** Whether one may pass now. */
  allows(now: number): boolean
  /** It passes, for all rules allow it. */
  enter(now: number): void
  /** It is over. */
  leave(now: number, took: number, failed: boolean): void
}

export function flowGuard({ threshold, interval }: FlowRule): Guard {
  const window = new Window(interval)
  return {
    allows: (now) => window.sum(now).total + 1 <= threshold,
    enter: (now) => window.add(now, false),
    leave() {},
  }
}

export function isolationGuard({ threshold }: IsolationRule): Guard {
  let underWay = 0
  return {
    allows: () => underWay + 1 <= threshold,
    enter: () => void underWay++,
    leave: () => void underWay--,
  }
}

/** closed → (too many bad ones) open → (its time is over) half-open, one request at a time → closed, or open again. */
export function breakerGuard(rule: BreakerRule): Guard {
  const { strategy, threshold, minRequests, maxAllowed, retryTimeout, probes } = rule
  const window = new Window(rule.interval)
  let state: 'closed' | 'open' | 'half-open' = 'closed'
  let openUntil = 0
  let probing = false
  let good = 0
  const open = (now: number) => {
    state = 'open'
    openUntil = now + retryTimeout
    good = 0
  }
  return {
    allows: (now) => state === 'closed' || (now >= openUntil && !probing),
    enter() {
      if (state === 'closed') return
      state = 'half-open'
      probing = true
    },
    leave(now, took, failed) {
      const bad = strategy === 'slow' ? took > maxAllowed : failed
      if (state === 'half-open' && probing) {
        probing = false
        if (bad) return open(now)
        if (++good < probes) return
        state = 'closed'
        window.clear()
        return
      }
      if (state !== 'closed') return
      window.add(now, bad)
      const counts = window.sum(now)
      if (counts.total < minRequests) return
      if ((strategy === 'errorCount' ? counts.bad : counts.bad / counts.total) >= threshold) open(now)
    },
  }
}
