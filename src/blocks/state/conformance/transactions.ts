import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { EtagError } from '../driver.ts'
import { type Cases, etagOf, getAll, upsert } from './kit.ts'

/** All or nothing, in order, seen by others at once. */
export function transactionCases({ check, id, options }: Cases): void {
  const del = (key: string, etag?: string) => ({ kind: 'delete', key: id(key), etag, metadata: {} }) as const
  check(
    'applies a transaction in its order',
    async (store) => {
      await store.set(upsert(id('t1'), '"value1"'))
      await store.transact?.(
        [
          del('t1'),
          upsert(id('t2'), '"value2"'),
          del('t2'),
          upsert(id('t3'), '"value3"'),
          del('t never'),
          upsert(id('t4'), Buffer.from([255, 0]), { json: false }),
        ],
        {},
      )
      const found = await getAll(store, ['t1', 't2', 't3', 't4'].map(id))
      assert.deepEqual(
        found.map((item) => item?.data),
        [undefined, undefined, Buffer.from('"value3"'), Buffer.from([255, 0])],
      )
      await store.transact?.([], {})
      await store.transact?.([del('t3')], {})
      assert.equal(await store.get({ key: id('t3'), metadata: {} }), undefined)
    },
    'TRANSACTIONAL',
  )
  check(
    'applies nothing of a transaction with a stale ETag, wherever it stands',
    async (store) => {
      await store.set(upsert(id('all'), '1'))
      for (const stale of [upsert(id('all'), '9', { etag: options.badEtag }), del('all', options.badEtag)]) {
        for (const operations of [
          [upsert(id('nothing'), '1'), stale],
          [stale, upsert(id('nothing'), '1')],
        ]) {
          await assert.rejects(
            Promise.resolve(store.transact?.(operations, {})),
            (error: unknown) => error instanceof EtagError === options.transactionEtagError,
          )
          assert.equal(await store.get({ key: id('nothing'), metadata: {} }), undefined)
          assert.equal((await store.get({ key: id('all'), metadata: {} }))?.data.toString(), '1')
        }
      }
      await store.transact?.([upsert(id('all'), '2', { etag: await etagOf(store, id('all')) }), upsert(id('nothing'), '2')], {})
      assert.equal((await store.get({ key: id('nothing'), metadata: {} }))?.data.toString(), '2')
    },
    'TRANSACTIONAL',
  )
  check(
    'loses no increment of concurrent transactions that repeat on a stale ETag',
    async (store) => {
      const key = id('counter')
      await store.set(upsert(key, '0'))
      const increment = async (): Promise<void> => {
        for (;;) {
          const item = await store.get({ key, metadata: {} })
          const done = await store.transact?.([upsert(key, String(Number(item?.data) + 1), { etag: item?.etag })], {}).then(
            () => true,
            () => false,
          )
          if (done) return
        }
      }
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let turn = 0; turn < 5; turn++) await increment()
        }),
      )
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '40')
    },
    'TRANSACTIONAL',
  )
  check(
    'shows others all of a transaction or nothing',
    async (store) => {
      const [one, two] = [id('seen one'), id('seen two')]
      const number = async (key: string) => Number((await store.get({ key, metadata: {} }))?.data ?? 0)
      await store.transact?.([upsert(one, '0'), upsert(two, '0')], {})
      let writing = true
      const writer = async () => {
        try {
          for (let value = 1; value <= 60; value++) await store.transact?.([upsert(one, String(value)), upsert(two, String(value))], {})
        } finally {
          writing = false
        }
      }
      // Numbers only grow, and both at once: what is read second is never behind what was read first.
      const reader = async (first: string, second: string) => {
        while (writing) {
          const before = await number(first)
          const after = await number(second)
          // A store that answers at once would never let the writer have its turn.
          await turn()
          assert.ok(after >= before, `${second} was ${after} when ${first} had been ${before}`)
        }
      }
      await Promise.all([writer(), reader(one, two), reader(two, one)])
    },
    'TRANSACTIONAL',
  )
}
