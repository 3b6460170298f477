import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type LockStore, UnlockStatus } from './driver.ts'

/** What every lock store must do; `open` gives a new connection to the same locks each time, undefined skips. */
export function lockStoreConformance(name: string, open: () => Promise<LockStore | undefined>): void {
  test(`${name}: one owner at a time, unlocked by its owner only`, async (t) => {
    const first = await open()
    const second = await open()
    if (!first || !second) return t.skip('no server')
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

  test(`${name}: an expired lock is free`, { timeout: 10_000 }, async (t) => {
    const store = await open()
    if (!store) return t.skip('no server')
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
  })
}
