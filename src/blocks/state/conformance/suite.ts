import assert from 'node:assert/strict'
import { after, before, describe } from 'node:test'
import { matrixCases } from '../../../../test/matrix.ts'
import type { StateFeature, StateStore } from '../driver.ts'
import { deletesByPrefix, listsKeys } from '../keys.ts'
import { concurrencyCases } from './concurrency.ts'
import { etagCases } from './etags.ts'
import { keyCases } from './keys.ts'
import type { Cases, ConformanceOptions, Subject } from './kit.ts'
import { listCases } from './lists.ts'
import { partitionCases } from './partitions.ts'
import { queryCases } from './queries.ts'
import { transactionCases } from './transactions.ts'
import { ttlCases } from './ttl.ts'
import { valueCases } from './values.ts'

const PROOFS: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE', 'DELETE_WITH_PREFIX', 'QUERY_API', 'PARTITION_KEY']
const SUBJECTS = [valueCases, listCases, concurrencyCases, etagCases, transactionCases, ttlCases, keyCases, queryCases, partitionCases]

/** What every state store must do, claim by claim. `open` gives an initialised store, or undefined to skip by name. */
export function stateConformance(name: string, open: () => Promise<Subject | undefined>, options: ConformanceOptions): void {
  describe(`state conformance: ${name}`, () => {
    let subject: Subject | undefined
    const word = Math.random().toString(36).slice(2, 10)
    const run = options.oneSlot ? `{${word}}` : word
    const cases: Cases = {
      options,
      id: (key) => `${run}-${options.plainKeys ? key.replaceAll(' ', '-') : key}`,
      check: (title, body, feature) =>
        proven(title, async (context) => {
          if (!subject) return context.missing('server')
          if (feature && !subject.store.features.includes(feature)) return context.unclaimed()
          await body(subject.store, context.unclaimed)
        }),
    }
    const proven = matrixCases('state', name)
    before(async () => {
      subject = await open()
    })
    after(async () => {
      await subject?.store[Symbol.asyncDispose]()
      await subject?.stop?.()
    })

    cases.check('claims exactly what is expected, with the methods each claim needs', (store) => claims(store, options))
    for (const add of SUBJECTS) add(cases)
  })
}

async function claims(store: StateStore, options: ConformanceOptions): Promise<void> {
  assert.deepEqual([...store.features].sort(), [...options.features].sort())
  assert.deepEqual(
    store.features.filter((feature) => !PROOFS.includes(feature)),
    [],
    'a claim without a proof',
  )
  assert.equal(store.transact !== undefined, store.features.includes('TRANSACTIONAL'))
  assert.equal(listsKeys(store) !== undefined, store.features.includes('KEYS_LIKE'))
  assert.equal(deletesByPrefix(store) !== undefined, store.features.includes('DELETE_WITH_PREFIX'))
  if (store.features.includes('QUERY_API')) assert.ok(store.query)
  await store.ping?.(AbortSignal.timeout(5000))
}
