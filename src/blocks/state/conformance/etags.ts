import assert from 'node:assert/strict'
import { type Cases, deleteAll, etagOf, getAll, rejectsEtag, rejectsOne, setAll, upsert } from './kit.ts'

/** ETags and first-write: who may overwrite whom. */
export function etagCases({ check, id, options }: Cases): void {
  const { badEtag: bad } = options
  check(
    'gives a new ETag with every write, the same one in lists',
    async (store) => {
      const key = id('etag')
      await setAll(store, [upsert(key, '1'), upsert(id('etag other'), '1')])
      const first = await etagOf(store, key)
      assert.equal((await getAll(store, [key, id('etag other')]))[0]?.etag, first)
      await store.set(upsert(key, '2', { etag: first }))
      assert.notEqual(await etagOf(store, key), first)
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
      await rejectsEtag(store.set(upsert(key, '3', { etag: first })))
      await rejectsEtag(store.set(upsert(key, '3', { etag: bad })))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
    },
    'ETAG',
  )
  check(
    'deletes with the current ETag only',
    async (store) => {
      const key = id('etag delete')
      await store.set(upsert(key, '1'))
      await rejectsEtag(store.delete({ kind: 'delete', key, etag: bad, metadata: {} }))
      assert.ok(await store.get({ key, metadata: {} }))
      await store.delete({ kind: 'delete', key, etag: await etagOf(store, key), metadata: {} })
      assert.equal(await store.get({ key, metadata: {} }), undefined)
    },
    'ETAG',
  )
  check(
    'refuses an ETag that is none of its own',
    async (store, unclaimed) => {
      if (!options.invalidEtag) return unclaimed()
      const { text, kind } = options.invalidEtag
      await store.set(upsert(id('etag odd'), '1'))
      await rejectsEtag(store.set(upsert(id('etag odd'), '2', { etag: text })), kind)
      assert.equal((await store.get({ key: id('etag odd'), metadata: {} }))?.data.toString(), '1')
    },
    'ETAG',
  )
  check(
    'writes the rest of a list when one ETag is stale, and names that one',
    async (store) => {
      const [one, two] = [id('partly bad'), id('partly good')]
      await setAll(store, [upsert(one, '1'), upsert(two, '1')])
      const [before, good] = [await etagOf(store, one), await etagOf(store, two)]
      const refused = options.oneErrorForLists ? (work: Promise<void>) => rejectsEtag(work) : rejectsOne
      await refused(setAll(store, [upsert(one, '2', { etag: bad }), upsert(two, '2', { etag: good })]), one)
      assert.equal(await etagOf(store, one), before)
      assert.equal((await store.get({ key: two, metadata: {} }))?.data.toString(), '2')
      await refused(
        deleteAll(store, [
          { kind: 'delete', key: two, etag: await etagOf(store, two), metadata: {} },
          { kind: 'delete', key: one, etag: bad, metadata: {} },
        ]),
        one,
      )
      assert.equal(await store.get({ key: two, metadata: {} }), undefined)
      assert.equal(await etagOf(store, one), before)
    },
    'ETAG',
  )
  check(
    'lets one first-write win',
    async (store) => {
      const key = id('first')
      const first = (value: string, etag?: string) =>
        store.set(upsert(key, value, { concurrency: 'first-write', consistency: 'strong', etag }))
      await first('1')
      await assert.rejects(first('2'))
      const etag = await etagOf(store, key)
      await first('3', etag)
      await assert.rejects(first('4', etag))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '3')
      const race = id('first race')
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) => store.set(upsert(race, String(index), { concurrency: 'first-write' }))),
      )
      assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    },
    'ETAG',
  )
  check(
    'first-write without ETag on a key written otherwise',
    async (store) => {
      const key = id('first later')
      await store.set(upsert(key, '1'))
      const later = store.set(upsert(key, '2', { concurrency: 'first-write' }))
      if (options.strictFirstWrite) await assert.rejects(later)
      else await later
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), options.strictFirstWrite ? '1' : '2')
    },
    'ETAG',
  )
}
