import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { listsKeys } from '../keys.ts'
import { type Cases, getAll, setAll, upsert } from './kit.ts'

/** A TTL counts in whole seconds: this much sooner or later an item may go. */
const EARLY = 1050
const LATE = 3000

/** Items that end by themselves. */
export function ttlCases({ check, id, options }: Cases): void {
  const ttl = (seconds: string) => ({ metadata: { ttlInSeconds: seconds } })
  check(
    'refuses a TTL that is no number, in single writes, lists and transactions',
    async (store) => {
      await assert.rejects(store.set(upsert(id('ttl bad'), '1', ttl('foo'))), /invalid syntax/)
      await assert.rejects(setAll(store, [upsert(id('ttl bad'), '1', ttl('foo')), upsert(id('ttl bad 2'), '1', ttl('foo'))]))
      if (store.transact) await assert.rejects(store.transact([upsert(id('ttl bad'), '1', ttl('foo'))], {}))
      assert.equal(await store.get({ key: id('ttl bad'), metadata: {} }), undefined)
    },
    'TTL',
  )
  check(
    'forgets an item when its TTL has passed, to the second, everywhere',
    async (store) => {
      const key = id('ttl short')
      const keys = [key, `${key}-l`, `${key}-l2`, ...(store.transact ? [`${key}-t`] : [])]
      const start = Date.now()
      await store.set(upsert(key, '1', ttl('3')))
      await store.transact?.([upsert(`${key}-t`, '1', ttl('3')), upsert(id('kept by transaction'), '1')], {})
      await setAll(store, [upsert(`${key}-l`, '1', ttl('3')), upsert(`${key}-l2`, '1', ttl('3'))])
      await store.set(upsert(id('ttl cleared'), '1', ttl('3')))
      await store.set(upsert(id('ttl cleared'), '2', ttl('-1')))
      await store.set(upsert(id('ttl zero'), '1', ttl('0')))
      const written = Date.now()
      for (const name of keys) assert.ok(await store.get({ key: name, metadata: {} }), `${name} is there right after the write`)
      for (;;) {
        const asked = Date.now()
        const gone = (await getAll(store, keys)).map((item) => item === undefined)
        if (gone.some(Boolean)) assert.ok(Date.now() >= start + 3000 - EARLY, `gone after ${Date.now() - start} ms of 3000`)
        if (gone.every(Boolean)) break
        assert.ok(asked < written + 3000 + LATE, 'there long after its TTL')
        await pause(50)
      }
      assert.deepEqual((await listsKeys(store)?.keysLike(`${key}%`, {}))?.keys ?? [], [])
      assert.ok(await store.get({ key: id('ttl cleared'), metadata: {} }), '-1 takes a TTL back')
      assert.ok(await store.get({ key: id('ttl zero'), metadata: {} }), '0 is no TTL')
      if (store.transact) assert.ok(await store.get({ key: id('kept by transaction'), metadata: {} }))
      await store.set(upsert(key, '2', { concurrency: 'first-write' }))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2', 'an expired key is free for a first-write')
    },
    'TTL',
  )
  check(
    'tells when an item expires, if it tells at all',
    async (store, unclaimed) => {
      const key = id('ttl long')
      await store.set(upsert(id('ttl none'), '1'))
      await store.set(upsert(key, '1', ttl('3600')))
      assert.equal((await store.get({ key: id('ttl none'), metadata: {} }))?.metadata?.ttlExpireTime, undefined)
      const told = (await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime
      assert.equal((await getAll(store, [key, id('ttl none')]))[0]?.metadata?.ttlExpireTime, told)
      if (!options.tellsExpiry) {
        assert.equal(told, undefined)
        return unclaimed()
      }
      assert.match(told ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      assert.ok(Math.abs(Date.parse(told ?? '') - Date.now() - 3_600_000) < 10_000)
      await store.set(upsert(key, '1', ttl('-1')))
      assert.equal((await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime, undefined)
      await store.set(upsert(key, '1', ttl('3600')))
      await store.set(upsert(key, '1'))
      assert.equal((await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime !== undefined, options.keepsTtl ?? false)
    },
    'TTL',
  )
  check(
    'takes a TTL of years',
    async (store) => {
      const key = id('ttl years')
      await store.set(upsert(key, '1', ttl(String(5 * 365 * 24 * 3600))))
      assert.ok(await store.get({ key, metadata: {} }))
    },
    'TTL',
  )
}
