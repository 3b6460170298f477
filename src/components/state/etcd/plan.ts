import { EtagError, type StateOperation, type StateSet } from '../../../blocks/state/driver.ts'

/** What a list of operations comes to: conditions on what is there now, and one outcome a key, for etcd writes a key once a transaction. */
export interface Plan {
  /** No ETag: there must be no such key. */
  conditions: { key: string; etag: string | undefined }[]
  /** undefined: the key goes. */
  outcomes: Map<string, StateSet | undefined>
}

/**
 * @param base Stands before every key; errors name the whole, as daprd's do. Throws EtagError where the operations contradict each other: an ETag given for a key that an earlier one has already changed.
 */
export function planOf(operations: readonly StateOperation[], base: string): Plan {
  const plan: Plan = { conditions: [], outcomes: new Map() }
  for (const operation of operations) {
    const { key, etag } = operation
    const touched = plan.outcomes.has(key)
    const first = operation.concurrency === 'first-write' && etag === undefined
    if (touched && etag !== undefined) throw mismatch(base + key, etag, undefined)
    if (touched && first && plan.outcomes.get(key)) throw taken()
    if (!touched && (etag !== undefined || first)) plan.conditions.push({ key, etag })
    plan.outcomes.set(key, operation.kind === 'upsert' ? operation : undefined)
  }
  return plan
}

/** @param current The ETag that the key has now, if it is known. */
export function mismatch(key: string, etag: string, current: string | undefined): EtagError {
  return new EtagError(
    'mismatch',
    current ? `state etag not match for key=${key}: current=${current}, expect=${etag}` : `state not exist or expired for key=${key}`,
  )
}

export function taken(): EtagError {
  return new EtagError('mismatch', 'item already exists and no etag was passed')
}
