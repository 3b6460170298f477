import assert from 'node:assert/strict'
import { type Cases, upsert } from './kit.ts'

/** Stores that keep an item in the partition that a request names. */
export function partitionCases({ check, id }: Cases): void {
  check(
    'keeps the items of partitions apart, and those of a transaction in one',
    async (store) => {
      const key = id('parted')
      const [one, two] = [{ partitionKey: id('one') }, { partitionKey: id('two') }]
      const data = async (metadata: Record<string, string>, name = key) => (await store.get({ key: name, metadata }))?.data.toString()
      await store.set(upsert(key, '1', { metadata: one }))
      await store.set(upsert(key, '2', { metadata: two }))
      assert.deepEqual([await data(one), await data(two)], ['1', '2'])
      await store.transact?.([upsert(key, '3'), upsert(id('parted too'), '4')], one)
      assert.deepEqual([await data(one), await data(one, id('parted too')), await data(two)], ['3', '4', '2'])
      await store.delete({ kind: 'delete', key, metadata: one })
      assert.deepEqual([await data(one), await data(two)], [undefined, '2'])
    },
    'PARTITION_KEY',
  )
}
