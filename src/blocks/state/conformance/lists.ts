import assert from 'node:assert/strict'
import type { StateDelete } from '../driver.ts'
import { type Cases, deleteAll, getAll, same, setAll, upsert } from './kit.ts'

const remove = (key: string): StateDelete => ({ kind: 'delete', key, metadata: {} })

/** Many items in one call. */
export function listCases({ check, id, options }: Cases): void {
  check('reads, writes and deletes lists', async (store) => {
    const items = [
      upsert(id('list a'), '1'),
      upsert(id('list b'), '"two"'),
      upsert(id('list c'), Buffer.from([1, 2, 255]), { json: false }),
      upsert(id('list d'), '{"x":[1]}'),
    ]
    const keys = items.map((item) => item.key)
    await setAll(store, items)
    const found = await getAll(store, [...keys, id('list missing')])
    items.forEach((item, index) => void same(found[index], item))
    assert.equal(found.length, 5)
    assert.equal(found[4], undefined)
    await deleteAll(store, [...keys, id('list missing')].map(remove))
    assert.deepEqual(await getAll(store, keys), [undefined, undefined, undefined, undefined])
  })

  check('keeps the last of one key given twice in a list', async (store, unclaimed) => {
    if (!store.bulkSet) return unclaimed()
    const key = id('twice')
    await store.bulkSet([upsert(key, '1'), upsert(id('twice other'), '0'), upsert(key, '2')])
    assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
  })

  check('writes 1,000 items of a list', async (store) => {
    const items = Array.from({ length: 1000 }, (_, index) => upsert(id(`many ${index}`), String(index)))
    const keys = items.map((item) => item.key)
    await setAll(store, items)
    assert.deepEqual(
      (await getAll(store, keys)).map((item) => item?.data.toString()),
      items.map((_, index) => String(index)),
    )
    await deleteAll(store, keys.map(remove))
    assert.deepEqual(
      (await getAll(store, keys)).filter((item) => item !== undefined),
      [],
    )
  })

  check('writes a list whose values together are large', async (store) => {
    const size = Math.min(128 * 1024, (options.largestValue ?? Number.POSITIVE_INFINITY) / 2 - 4096)
    const items = Array.from({ length: 20 }, (_, index) => upsert(id(`heavy ${index}`), Buffer.alloc(size, index), { json: false }))
    await setAll(store, items)
    const found = await getAll(
      store,
      items.map((item) => item.key),
    )
    items.forEach((item, index) => void same(found[index], item))
    await deleteAll(
      store,
      items.map((item) => remove(item.key)),
    )
  })
}
