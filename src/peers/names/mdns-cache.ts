import type { Address } from '../resolver.ts'

/** Apps whose addresses are remembered, and addresses of one app. */
const APP_LIMIT = 1000
const ADDRESS_LIMIT = 256
/** Milliseconds after the last word of an address that it counts, as daprd's. */
const ADDRESS_TIME = 60_000
/** Milliseconds after its last call that an app is kept fresh. */
const USE_TIME = 300_000
/** Milliseconds that an app nobody answered for is not asked for again, unless it announces itself. */
const MISSING_TIME = 3000

interface Entry {
  addresses: Map<string, Address & { until: number }>
  /** The same as a list, made when asked for. */
  list: Address[] | undefined
  used: number
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
    if (!entry.list) {
      entry.list = []
      for (const { host, port } of entry.addresses.values()) entry.list.push({ host, port })
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
    this.#apps.set(appId, { addresses: new Map(), list: undefined, used: now, missingUntil: 0 })
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

  /** The addresses of this app are in doubt. */
  forget(appId: string): void {
    const entry = this.#apps.get(appId)
    if (!entry) return
    entry.addresses.clear()
    entry.list = undefined
    entry.missingUntil = 0
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
