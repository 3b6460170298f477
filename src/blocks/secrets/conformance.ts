import assert from 'node:assert/strict'
import { matrixCases } from '../../../test/matrix.ts'
import type { SecretStore } from './driver.ts'

/** What every secret store must do; the store holds conftestsecret=abcd and secondsecret=efgh. `emptyWhenMissing`: a name it does not have has an empty value, as daprd's. */
export function secretStoreConformance(name: string, open: () => Promise<SecretStore>, options: { emptyWhenMissing?: boolean } = {}): void {
  const check = matrixCases('secretstores', name)
  check('answers a ping', async (context) => {
    await using store = await open()
    if (store.ping === undefined) return context.unclaimed()
    await store.ping(AbortSignal.timeout(5000))
  })

  check('gives a secret, and all secrets', async () => {
    await using store = await open()
    assert.deepEqual({ ...(await store.get('conftestsecret', {})) }, { conftestsecret: 'abcd' })
    const all = await store.bulkGet({})
    assert.deepEqual({ ...all.conftestsecret }, { conftestsecret: 'abcd' })
    assert.deepEqual({ ...all.secondsecret }, { secondsecret: 'efgh' })
  })

  check('refuses a name that it does not have', async (context) => {
    if (options.emptyWhenMissing) return context.unclaimed()
    await using store = await open()
    await assert.rejects(store.get('nosuchsecret', {}))
  })
}
