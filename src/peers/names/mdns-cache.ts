import type { Address } from '../resolver.ts'

/** Apps whose addresses are remembered, and addresses of one app. */
const APP_LIMIT = 1000
const ADDRESS_LIMIT = 256
/** Milliseconds after the last word of an address that it counts: daprd's minute, and a little for the answer under way. */
const ADDRESS_TIME = 63_000
/** Milliseconds that the addresses of an app have to speak up once one of them could not be reached. */
const DOUBT_TIME = 3000
/** Milliseconds between two questions for an app in doubt. */
const ASK_PAUSE = 1000
/** Milliseconds after its last call that an app is kept fresh. */
const USE_TIME = 300_000
/** Milliseconds that an app nobody answered for is not asked for again, unless it announces itself. */
const MISSING_TIME = 3000

interface Entry {
  addresses: Map<string, Address & { until: number }>
  /** The same as a list, made when asked for. */
  list: Address[] | undefined
  /** When the first of the list is too old. */
  check: number
  used: number
  asked: number
  missingUntil: number
}

/** What mDNS has told of the apps that were asked for. */
export class MdnsCache {
  readonly #apps = new Map<string, Entry>()

  get size(): number {
    return this.#apps.size
  }

  has(appId: string): boolean {
    return this.#apps.has(appId)
  }

  /** Addresses that count now; empty when the app is known to be missing; undefined when somebody must be asked. */
  find(appId: string, now: number): Address[] | undefined {
    const entry = this.#apps.get(appId)
    if (!entry) return undefined
    entry.used = now
    if (!entry.list || entry.check <= now) {
      entry.list = []
      entry.check = Number.POSITIVE_INFINITY
      for (const [key, { host, port, until }] of entry.addresses) {
        if (until <= now) entry.addresses.delete(key)
        else {
          entry.list.push({ host, port })
          entry.check = Math.min(entry.check, until)
        }
      }
    }
    if (entry.list.length > 0) return entry.list
    return entry.missingUntil > now ? entry.list : undefined
  }

  /** From now on what is told of the app is remembered. */
  want(appId: string, now: number): void {
    const known = this.#apps.get(appId)
    if (known) {
      known.used = now
      return
    }
    if (this.#apps.size >= APP_LIMIT) {
      let oldest: string | undefined
      for (const [id, entry] of this.#apps) if (oldest === undefined || entry.used < (this.#apps.get(oldest) as Entry).used) oldest = id
      if (oldest !== undefined) this.#apps.delete(oldest)
    }
    this.#apps.set(appId, { addresses: new Map(), list: undefined, check: 0, used: now, asked: now, missingUntil: 0 })
  }

  seen(appId: string, address: Address, now: number): void {
    const entry = this.#apps.get(appId)
    if (!entry) return
    const key = `${address.port} ${address.host}`
    const known = entry.addresses.get(key)
    if (known) known.until = now + ADDRESS_TIME
    else if (entry.addresses.size < ADDRESS_LIMIT) {
      entry.addresses.set(key, { ...address, until: now + ADDRESS_TIME })
      entry.list = undefined
    }
  }

  gone(appId: string, address: Address): void {
    const entry = this.#apps.get(appId)
    if (entry?.addresses.delete(`${address.port} ${address.host}`)) entry.list = undefined
  }

  missing(appId: string, now: number): void {
    const entry = this.#apps.get(appId)
    if (entry) entry.missingUntil = now + MISSING_TIME
  }

  /**
   * An address of this app could not be reached. The only one is forgotten; of several each has a moment to speak up, and
   * serves meanwhile. Returns whether the app is to be asked for.
   */
  doubt(appId: string, now: number): boolean {
    const entry = this.#apps.get(appId)
    if (!entry) return false
    entry.missingUntil = 0
    entry.list = undefined
    if (entry.addresses.size < 2) {
      entry.addresses.clear()
      return false
    }
    if (now - entry.asked < ASK_PAUSE) return false
    entry.asked = now
    for (const address of entry.addresses.values()) address.until = Math.min(address.until, now + DOUBT_TIME)
    return true
  }

  /** Drops what is too old; returns the apps in use, to be asked for again. */
  sweep(now: number): string[] {
    const inUse: string[] = []
    for (const [appId, entry] of this.#apps) {
      for (const [key, { until }] of entry.addresses)
        if (until <= now) {
          entry.addresses.delete(key)
          entry.list = undefined
        }
      if (now - entry.used > USE_TIME) this.#apps.delete(appId)
      else if (entry.addresses.size > 0) inUse.push(appId)
      else if (entry.missingUntil <= now && now - entry.used > MISSING_TIME) this.#apps.delete(appId)
    }
    return inUse
  }
}
