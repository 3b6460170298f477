import assert from 'node:assert/strict'
import { EtagError, type StateFeature, type StateItem, type StateSet, type StateStore } from '../driver.ts'

export interface Subject {
  store: StateStore
  /** Ends what was started for the store; the suite disposes the store itself. */
  stop?(): Promise<void>
}

export interface ConformanceOptions {
  /** An ETag that this store could have given but has not. */
  badEtag: string
  /** An ETag that cannot be one of this store's. */
  invalidEtag?: { text: string; kind: 'mismatch' | 'invalid' }
  /** Capabilities this driver must claim, so that one cannot vanish unseen. */
  features: readonly StateFeature[]
  /** Whether reads tell `ttlExpireTime`. */
  tellsExpiry: boolean
  /** Whether a write without TTL leaves an older TTL in place. */
  keepsTtl?: boolean
  /** Whether a first-write without ETag is refused on a key that was written without first-write. */
  strictFirstWrite: boolean
  /** Whether a stale ETag inside a transaction is an EtagError. */
  transactionEtagError: boolean
  /** The protocol takes no JSON null: a write of it is refused. */
  refusesNull?: boolean
  /** The protocol has one error for a whole list and cannot name the key. */
  oneErrorForLists?: boolean
  /** Keys hold no spaces or control characters: others are refused. */
  plainKeys?: boolean
  /** Characters that its names have not, or take for others: keys that have one are refused. */
  refusedInKeys?: string
  /** A cluster whose transactions hold together for keys of one slot: those of the suite are of one. */
  oneSlot?: boolean
  /** Queries find by what an index names, and refuse other members. */
  indexedQueries?: boolean
  /** Bytes of the largest value it takes, where that is less than the API does. */
  largestValue?: number
}

/** Adds one case to the suite; with a feature, only for stores that claim it. A body calls `unclaimed` when there is nothing to prove. */
export type Check = (title: string, body: (store: StateStore, unclaimed: () => void) => Promise<void>, feature?: StateFeature) => void
/** A key of this run alone. */
export type Id = (key: string) => string
/** What the cases of one subject are made of. */
export interface Cases {
  check: Check
  id: Id
  options: ConformanceOptions
}

export function upsert(key: string, value: string | Buffer, rest: Partial<StateSet> = {}): StateSet {
  return { kind: 'upsert', key, value: Buffer.from(value), json: true, metadata: {}, ...rest }
}

/** JSON may come back written differently, bytes may not. */
export function same(found: StateItem | Error | undefined, item: StateSet): void {
  if (found === undefined || found instanceof Error) assert.fail(`${item.key} is not there: ${found}`)
  if (item.json) assert.deepEqual(JSON.parse(found.data.toString()), JSON.parse(item.value.toString()))
  else assert.deepEqual(found.data, item.value)
}

export async function etagOf(store: StateStore, key: string): Promise<string> {
  const etag = (await store.get({ key, metadata: {} }))?.etag
  assert.ok(etag, `${key} has no ETag`)
  return etag
}

export async function rejectsEtag(work: Promise<void>, kind: 'mismatch' | 'invalid' = 'mismatch'): Promise<void> {
  await assert.rejects(work, (error: unknown) => error instanceof EtagError && error.kind === kind)
}

/** A list that failed for this key alone. */
export async function rejectsOne(work: Promise<void>, key: string): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof AggregateError)
    assert.equal(error.errors.length, 1)
    assert.ok(error.errors[0] instanceof EtagError)
    assert.equal((error.errors[0] as EtagError & { key?: string }).key, key)
    return true
  })
}

export async function setAll(store: StateStore, items: readonly StateSet[]): Promise<void> {
  return store.bulkSet ? store.bulkSet(items) : each(items, (item) => store.set(item))
}

export async function deleteAll(store: StateStore, items: readonly Parameters<StateStore['delete']>[0][]): Promise<void> {
  return store.bulkDelete ? store.bulkDelete(items) : each(items, (item) => store.delete(item))
}

export async function getAll(store: StateStore, keys: readonly string[]): Promise<(StateItem | undefined)[]> {
  const requests = keys.map((key) => ({ key, metadata: {} }))
  if (!store.bulkGet) return Promise.all(requests.map((request) => store.get(request)))
  return (await store.bulkGet(requests)).map((item) => (item instanceof Error ? assert.fail(item) : item))
}

async function each<T extends { key: string }>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const outcomes = await Promise.allSettled(items.map(work))
  const errors = outcomes.flatMap((outcome, index) =>
    outcome.status === 'rejected' ? [Object.assign(outcome.reason as Error, { key: items[index]?.key })] : [],
  )
  if (errors.length) throw new AggregateError(errors)
}
