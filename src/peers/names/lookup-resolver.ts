import type { Address, Registration, Resolver } from '../resolver.ts'

export interface LookupOptions {
  /** Asks whoever knows: none for an unknown app, an error when nobody could be asked. */
  lookup(appId: string, namespace: string): Promise<Address[]>
  /** Milliseconds that an answer counts; as long again it serves while a new one is fetched. */
  ttl: number
  /** Milliseconds that an unknown app is not asked for again. Default 1000. */
  missingTtl?: number
  /** The error that callers get for an unknown app, where Dapr has words of its own for it. */
  unknown?(appId: string): Error
  register?(registration: Registration): Promise<() => Promise<void>>
  close?(): Promise<void>
}

const CACHE_LIMIT = 1000

interface Entry {
  addresses: Address[]
  until: number
  /** Until when the addresses serve although they are to be fetched anew. */
  stale: number
  pending: Promise<Address[]> | undefined
}

/** A resolver over a question that takes time: answers are remembered, one question an app is under way at most. */
export function createLookupResolver(options: LookupOptions): Resolver {
  const cache = new Map<string, Entry>()
  const leaving = new Set<() => Promise<void>>()
  const ask = (key: string, appId: string, namespace: string): Promise<Address[]> => {
    let entry = cache.get(key)
    if (entry?.pending) return entry.pending
    if (!entry) {
      if (cache.size >= CACHE_LIMIT) cache.delete(cache.keys().next().value as string)
      entry = { addresses: [], until: 0, stale: 0, pending: undefined }
      cache.set(key, entry)
    }
    const asked = entry
    asked.pending = options.lookup(appId, namespace).then(
      (addresses) => {
        const now = Date.now()
        asked.addresses = addresses
        asked.until = now + (addresses.length > 0 ? options.ttl : (options.missingTtl ?? 1000))
        asked.stale = addresses.length > 0 ? asked.until + options.ttl : 0
        asked.pending = undefined
        return addresses
      },
      (error: unknown) => {
        asked.pending = undefined
        throw error
      },
    )
    return asked.pending
  }
  const nobody = (appId: string) => {
    if (options.unknown) throw options.unknown(appId)
    return []
  }
  return {
    resolve(appId, namespace) {
      const key = `${namespace}/${appId}`
      const known = cache.get(key)
      const now = Date.now()
      if (known && known.until > now) return known.addresses.length > 0 ? known.addresses : nobody(appId)
      const fetched = ask(key, appId, namespace)
      if (!known || known.stale <= now) return fetched.then((found) => (found.length > 0 ? found : nobody(appId)))
      // Whoever cannot be asked just now leaves us with what we have.
      fetched.catch(() => {})
      return known.addresses
    },
    invalidate: (appId, namespace) => void cache.delete(`${namespace}/${appId}`),
    async register(registration) {
      const leave = await options.register?.(registration)
      if (leave) leaving.add(leave)
      return {
        async [Symbol.asyncDispose]() {
          if (leave && leaving.delete(leave)) await leave()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      for (const leave of leaving) await leave()
      leaving.clear()
      cache.clear()
      await options.close?.()
    },
  }
}
