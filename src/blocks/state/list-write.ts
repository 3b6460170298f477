import { messageOf } from '../../errors.ts'
import type { Around } from '../around.ts'
import { EtagError, type StateOperation } from './driver.ts'

export interface ListWrite<T extends StateOperation> {
  /** The store's name, and what policies call the operation. */
  store: string
  operation: string
  items: readonly T[]
  /** The store's list call; undefined where it has none. */
  bulk: ((items: readonly T[], signal?: AbortSignal) => Promise<void>) | undefined
  single: (item: T, signal?: AbortSignal) => Promise<void>
  /** The error of the whole; `list`: the request had several items. */
  failed: (causes: readonly unknown[], list: boolean) => Error
}

/**
 * One item by its own call, several by the store's list call or, where it has none, each alone and all at once.
 * When a policy tries again, it does so with the items that failed: what was written stays as it is, and an ETag that was
 * refused is final. (Dapr forgets such a refusal when the others come through; here it is still the answer.)
 */
export async function writeAll<T extends StateOperation>(
  write: ListWrite<T>,
  around: Around,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { store, operation, items, single } = write
  const [first] = items
  if (first === undefined) return
  if (items.length === 1) {
    try {
      checkOptions(first)
      await around(store, operation, (limit) => single(first, limit), signal)
    } catch (error) {
      throw write.failed(causesOf(error), false)
    }
    return
  }
  let pending = items
  const refused: EtagError[] = []
  const run = async (limit?: AbortSignal): Promise<void> => {
    try {
      await attempt(write, pending, limit)
    } catch (error) {
      const causes = causesOf(error)
      // Without keys nothing is known of single items: all of them are tried again.
      if (!causes.every(hasKey)) throw error
      const others = causes.filter((cause) => !(cause instanceof EtagError))
      refused.push(...causes.filter((cause) => cause instanceof EtagError))
      const again = new Set(others.map((cause) => cause.key))
      pending = pending.filter((item) => again.has(item.key))
      throw Object.assign(new AggregateError(others), { permanent: others.length === 0 })
    }
  }
  try {
    for (const item of items) checkOptions(item)
    await around(store, operation, run, signal)
  } catch (error) {
    throw write.failed([...refused, ...causesOf(error)], true)
  }
  if (refused.length) throw write.failed(refused, true)
}

async function attempt<T extends StateOperation>(write: ListWrite<T>, items: readonly T[], signal: AbortSignal | undefined): Promise<void> {
  if (write.bulk && items.length > 1) return write.bulk(items, signal)
  const outcomes = await Promise.allSettled(items.map((item) => write.single(item, signal)))
  const causes = outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [withKey(outcome.reason, items[index] as T)] : []))
  if (causes.length) throw new AggregateError(causes)
}

function causesOf(error: unknown): readonly unknown[] {
  return error instanceof AggregateError && !error.message ? error.errors : [error]
}

function hasKey(cause: unknown): cause is Error & { key: string } {
  return cause instanceof Error && 'key' in cause && typeof cause.key === 'string'
}

function withKey(reason: unknown, item: StateOperation): Error {
  return Object.assign(reason instanceof Error ? reason : new Error(messageOf(reason)), { key: item.key })
}

/** Throws what an unknown word among the options of a write is refused with. */
export function checkOptions(operation: StateOperation): void {
  const { concurrency, consistency } = operation
  if (concurrency !== undefined && concurrency !== 'first-write' && concurrency !== 'last-write')
    throw new Error(`unrecognized concurrency model '${concurrency as string}'`)
  if (consistency !== undefined && consistency !== 'strong' && consistency !== 'eventual')
    throw new Error(`unrecognized consistency model '${consistency as string}'`)
}
