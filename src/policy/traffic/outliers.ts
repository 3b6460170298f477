export interface EjectionSettings {
  readonly consecutiveFailures: number
  /** Milliseconds out the first time; doubled each time. */
  readonly baseTime: number
  readonly maxTime: number
  /** Share of the addresses that may be out at once, e.g. 0.5. */
  readonly maxShare: number
}

/** Addresses under watch; of more the one heard of longest ago goes. */
const LIMIT = 1000

interface Watched {
  failures: number
  ejections: number
  /** When its time is over; 0 while it is in. */
  until: number
  /** One call looks whether it is well again. */
  probing: boolean
}

/**
 * Which addresses of one app are out for failing: in → (failures in a row) out → (its time over) one call probes → in again,
 * or out for longer. An address that does not fail is not kept.
 */
export class Outliers {
  readonly #settings: EjectionSettings
  readonly #now: () => number
  readonly #onEject: ((address: string, milliseconds: number) => void) | undefined
  readonly #watched = new Map<string, Watched>()
  /** Addresses that the app had when it was last called. */
  #known = 0

  constructor(
    settings: EjectionSettings,
    onEject?: (address: string, milliseconds: number) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#settings = settings
    this.#onEject = onEject
    this.#now = now
  }

  /** Whether calls may go to an address. `known`: how many there are. */
  usable(address: string, known: number): boolean {
    this.#known = known
    const watched = this.#watched.get(address)
    if (!watched?.until) return true
    return this.#now() >= watched.until && !watched.probing
  }

  /** A call to the address begins; true: it is the one that probes. */
  begin(address: string): boolean {
    const watched = this.#watched.get(address)
    if (!watched?.until || watched.probing || this.#now() < watched.until) return false
    watched.probing = true
    return true
  }

  /** A call to the address is over; `failed` undefined: it says nothing about it. `probed`: what `begin` said. */
  end(address: string, failed: boolean | undefined, probed: boolean): void {
    const watched = this.#watched.get(address)
    if (watched && probed) watched.probing = false
    if (failed === undefined) return
    if (!failed) {
      if (!watched || (watched.until && !probed)) return
      watched.failures = 0
      watched.until = 0
      // The time it would be out for shrinks as it grew.
      if (!probed) watched.ejections = Math.max(0, watched.ejections - 1)
      if (watched.ejections === 0) this.#watched.delete(address)
      return
    }
    const entry = watched ?? this.#add(address)
    // What was under way when it was put out is no news.
    if (entry.until && !probed) return
    if (!probed && ++entry.failures < this.#settings.consecutiveFailures) return
    if (!probed && !this.#mayEject()) return
    const { baseTime, maxTime } = this.#settings
    const time = Math.min(baseTime * 2 ** Math.min(entry.ejections++, 30), maxTime)
    entry.until = this.#now() + time
    entry.failures = 0
    this.#onEject?.(address, time)
  }

  #mayEject(): boolean {
    let out = 0
    for (const { until } of this.#watched.values()) if (until) out++
    return out + 1 <= this.#known * this.#settings.maxShare
  }

  #add(address: string): Watched {
    const entry = { failures: 0, ejections: 0, until: 0, probing: false }
    this.#watched.set(address, entry)
    if (this.#watched.size > LIMIT) this.#watched.delete(this.#watched.keys().next().value as string)
    return entry
  }
}
