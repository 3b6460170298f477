import assert from 'node:assert/strict'
import { type Cases, deleteAll, etagOf, getAll, setAll, upsert } from './kit.ts'

const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))

/** Many at once: nobody's write is torn, mixed up or lost. */
export function concurrencyCases({ check, id }: Cases): void {
  check('survives many writers of one key: every write is one of theirs', async (store) => {
    const key = id('contended')
    await Promise.all(many(50, (index) => store.set(upsert(key, String(index)))))
    assert.ok(Number((await store.get({ key, metadata: {} }))?.data.toString()) < 50)
  })

  check('gives each of 500 readers and writers at once what is theirs', async (store) => {
    const item = (index: number) => upsert(id(`own ${index}`), Buffer.alloc(1 + (index % 7) * 1000, index), { json: false })
    await Promise.all(
      many(250, async (index) => {
        await store.set(item(index))
        assert.deepEqual((await store.get({ key: item(index).key, metadata: {} }))?.data, item(index).value)
      }),
    )
  })

  check('survives lists and single writes of the same keys at once', async (store) => {
    const keys = many(20, (index) => id(`crossed ${index}`))
    // Up and down: whoever locks in the order given would wait for the other in a circle.
    await Promise.all(
      many(10, async (turn) => {
        const order = turn % 2 ? keys : [...keys].reverse()
        await setAll(
          store,
          order.map((key) => upsert(key, String(turn))),
        )
        await store.set(upsert(keys[turn] as string, String(turn)))
      }),
    )
    assert.equal((await getAll(store, keys)).filter((item) => item !== undefined).length, 20)
    await deleteAll(
      store,
      keys.map((key) => ({ kind: 'delete', key, metadata: {} })),
    )
  })

  check(
    'lets one of many writers with the same ETag win, and the others know',
    async (store) => {
      const key = id('etag race')
      await store.set(upsert(key, '"before"'))
      const etag = await etagOf(store, key)
      const outcomes = await Promise.allSettled(many(20, (index) => store.set(upsert(key, String(index), { etag }))))
      const winners = outcomes.flatMap((outcome, index) => (outcome.status === 'fulfilled' ? [index] : []))
      assert.equal(winners.length, 1)
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), String(winners[0]))
    },
    'ETAG',
  )

  check(
    'lets either a delete or a write with the same ETag win',
    async (store) => {
      const key = id('etag delete race')
      await store.set(upsert(key, '1'))
      const etag = await etagOf(store, key)
      const [written, deleted] = await Promise.allSettled([
        store.set(upsert(key, '2', { etag })),
        store.delete({ kind: 'delete', key, etag, metadata: {} }),
      ])
      assert.notEqual(written?.status, deleted?.status)
      assert.equal((await store.get({ key, metadata: {} })) !== undefined, written?.status === 'fulfilled')
    },
    'ETAG',
  )
}
