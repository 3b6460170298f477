import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SecretStore } from './driver.ts'

/** What every secret store must do; the store holds conftestsecret=abcd and secondsecret=efgh. */
export function secretStoreConformance(name: string, open: () => Promise<SecretStore>): void {
  test(`${name}: gives a secret, all secrets, and closes`, async () => {
    await using store = await open()
    await store.ping?.(AbortSignal.timeout(5000))
    assert.deepEqual({ ...(await store.get('conftestsecret', {})) }, { conftestsecret: 'abcd' })
    const all = await store.bulkGet({})
    assert.deepEqual({ ...all.conftestsecret }, { conftestsecret: 'abcd' })
    assert.deepEqual({ ...all.secondsecret }, { secondsecret: 'efgh' })
  })
}
