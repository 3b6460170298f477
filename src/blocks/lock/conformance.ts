import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { matrixCases } from '../../../test/matrix.ts'
import { type LockStore, UnlockStatus } from './driver.ts'

/** What every lock store must do; `open` gives a new connection to the same locks each time, undefined when there is no server. */
export function lockStoreConformance(name: string, open: () => Promise<LockStore | undefined>): void {
  const check = matrixCases('lock', name)
  check('one owner at a time, unlocked by its owner only', async (context) => {
    const first = await open()
    const second = await open()
    if (!first || !second) return context.missing('server')
    try {
      const key = `lock||app||${randomUUID()}`
      assert.equal(await first.tryLock(key, 'a', 15), true)
      assert.equal(await first.tryLock(key, 'a', 15), false, 'not even the same owner')
      assert.equal(await second.tryLock(key, 'b', 15), false)
      assert.equal(await second.unlock(`${key}-none`, 'b'), UnlockStatus.DoesNotExist)
      assert.equal(await second.unlock(key, 'b'), UnlockStatus.BelongsToOthers)
      assert.equal(await first.unlock(key, 'a'), UnlockStatus.Success)
      assert.equal(await second.unlock(key, 'a'), UnlockStatus.DoesNotExist)
      const won = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? first : second).tryLock(`${key}-race`, `o${i}`, 15)))
      assert.equal(won.filter(Boolean).length, 1, 'one of twenty wins')
    } finally {
      await first[Symbol.asyncDispose]()
      await second[Symbol.asyncDispose]()
    }
  })

  check(
    'an expired lock is free',
    async (context) => {
      const store = await open()
      if (!store) return context.missing('server')
      try {
        const key = `lock||app||${randomUUID()}`
        const began = Date.now()
        assert.equal(await store.tryLock(key, 'a', 1), true)
        while (!(await store.tryLock(key, 'b', 10))) await new Promise((resolve) => setImmediate(resolve))
        assert.ok(Date.now() - began >= 900, 'not before its time')
        assert.equal(await store.unlock(key, 'a'), UnlockStatus.BelongsToOthers)
      } finally {
        await store[Symbol.asyncDispose]()
      }
    },
    { timeout: 10_000 },
  )
}
