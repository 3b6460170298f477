import { randomUUID } from 'node:crypto'
import {
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateOperation,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import type { DeletesByPrefix, KeysPage, ListsKeys } from '../../../blocks/state/keys.ts'
import type { DriverModule } from '../../component.ts'
import { likeMatcher } from '../like.ts'
import { rfc3339 } from '../ttl.ts'

interface Entry {
  data: Buffer
  etag: string
  /** Milliseconds since the epoch. */
  expires?: number | undefined
  /** Order of first insertion; the token of key listings. */
  order: number
}

const PURGE = 1000

/** Keeps state in this process: for trying things out and for tests. Its size is the application's to bound. */
class InMemoryState implements StateStore, ListsKeys, DeletesByPrefix {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'DELETE_WITH_PREFIX', 'KEYS_LIKE']
  private readonly entries = new Map<string, Entry>()
  private inserted = 0
  private purge: NodeJS.Timeout | undefined

  async init(): Promise<void> {}

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    const entry = this.live(key)
    if (!entry) return undefined
    return {
      data: entry.data,
      etag: entry.etag,
      metadata: entry.expires === undefined ? undefined : { ttlExpireTime: rfc3339(entry.expires) },
    }
  }

  async set(item: StateSet): Promise<void> {
    const ttl = readAtoi(item.metadata)
    this.checkEtag(item)
    this.put(item, ttl)
  }

  async delete(item: StateDelete): Promise<void> {
    this.checkEtag(item)
    this.entries.delete(item.key)
  }

  async transact(operations: readonly StateOperation[]): Promise<void> {
    const ttls = operations.map((operation) => (operation.kind === 'upsert' ? readAtoi(operation.metadata) : undefined))
    for (const operation of operations) this.checkEtag(operation)
    operations.forEach((operation, index) => {
      if (operation.kind === 'upsert') this.put(operation, ttls[index])
      else this.entries.delete(operation.key)
    })
  }

  async keysLike(pattern: string, page: { size?: number; token?: string }): Promise<KeysPage> {
    const matches = likeMatcher(pattern)
    const after = page.token ? Number(page.token) : 0
    if (!Number.isInteger(after)) throw new Error(`invalid continuation token ${JSON.stringify(page.token)}`)
    const found = [...this.entries]
      .filter(([key, entry]) => entry.order > after && !expired(entry) && matches(key))
      .sort(([, a], [, b]) => a.order - b.order)
    const size = page.size && page.size > 0 ? page.size : found.length
    const keys = found.slice(0, size)
    return { keys: keys.map(([key]) => key), ...(found.length > size ? { token: String(keys.at(-1)?.[1].order) } : {}) }
  }

  async deleteWithPrefix(prefix: string): Promise<number> {
    if (prefix === '' || prefix === '||') throw new Error('prefix is required')
    const start = prefix.endsWith('||') ? prefix : `${prefix}||`
    let count = 0
    for (const key of this.entries.keys()) {
      if (!key.startsWith(start) || key.includes('||', start.length)) continue
      if (this.live(key)) count++
      this.entries.delete(key)
    }
    return count
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.purge)
    this.entries.clear()
  }

  private live(key: string): Entry | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined || !expired(entry)) return entry
    this.entries.delete(key)
    return undefined
  }

  private checkEtag({ key, etag, concurrency, kind }: StateOperation): void {
    const entry = this.live(key)
    if (etag !== undefined) {
      if (!entry) throw new EtagError('mismatch', `state not exist or expired for key=${key}`)
      if (entry.etag !== etag) throw new EtagError('mismatch', `state etag not match for key=${key}: current=${entry.etag}, expect=${etag}`)
    } else if (kind === 'upsert' && concurrency === 'first-write' && entry) {
      throw new EtagError('mismatch', 'item already exists and no etag was passed')
    }
  }

  /** Runs only while something is to expire. */
  private expireLater(): void {
    this.purge ??= setTimeout(() => {
      this.purge = undefined
      let more = false
      for (const [key, entry] of this.entries) {
        if (expired(entry)) this.entries.delete(key)
        else more ||= entry.expires !== undefined
      }
      if (more) this.expireLater()
    }, PURGE).unref()
  }

  private put(item: StateSet, ttl: number | undefined): void {
    const order = this.entries.get(item.key)?.order ?? ++this.inserted
    if (ttl !== undefined && ttl > 0) this.expireLater()
    // A view of a request body would keep the whole body alive.
    this.entries.set(item.key, {
      data: Buffer.from(item.value),
      etag: randomUUID(),
      order,
      expires: ttl !== undefined && ttl > 0 ? Date.now() + ttl * 1000 : undefined,
    })
  }
}

function expired(entry: Entry): boolean {
  return entry.expires !== undefined && entry.expires <= Date.now()
}

/** This store's own words for a bad TTL; a negative one counts as none. */
function readAtoi(metadata: Readonly<Record<string, string>>): number | undefined {
  const text = metadata.ttlInSeconds
  if (text === undefined) return undefined
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`)
  return Math.min(Math.max(0, Number(text)), 2 ** 31 - 1)
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in the memory of the sidecar; gone when it stops.',
  metadata: [],
  create: () => new InMemoryState(),
}
