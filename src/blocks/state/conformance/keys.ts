import assert from 'node:assert/strict'
import type { StateStore } from '../driver.ts'
import { deletesByPrefix, listsKeys } from '../keys.ts'
import { type Cases, deleteAll, getAll, setAll, upsert } from './kit.ts'

/** Finding and deleting by key: LIKE and prefixes. */
export function keyCases({ check, id }: Cases): void {
  const write = (store: StateStore, keys: readonly string[]) =>
    setAll(
      store,
      keys.map((key) => upsert(id(key), '1')),
    )
  check(
    'lists keys by pattern',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      await assert.rejects(lists.keysLike('', {}))
      await write(store, [
        'p||key1',
        'p||key2',
        'p||q||key3',
        'o||key1',
        'abcd',
        'abc_',
        'ABCD',
        'hello_workflow',
        'hello%%',
        'w.r',
        'w*r',
        'w[o]r',
      ])
      const like = async (pattern: string) => (await lists.keysLike(id(pattern), {})).keys.map((key) => key.slice(id('').length)).sort()
      assert.deepEqual(await like('p||%'), ['p||key1', 'p||key2', 'p||q||key3'])
      assert.deepEqual(await like('%key1'), ['o||key1', 'p||key1'])
      assert.deepEqual(await like('p%||%||%'), ['p||q||key3'])
      assert.deepEqual(await like('abc_'), ['abc_', 'abcd'])
      assert.deepEqual(await like('abc\\_'), ['abc_'])
      assert.deepEqual(await like('hello\\_%'), ['hello_workflow'])
      assert.deepEqual(await like('hello\\%\\%'), ['hello%%'])
      assert.deepEqual(await like('w.r'), ['w.r'])
      assert.deepEqual(await like('w*r'), ['w*r'])
      assert.deepEqual(await like('w[o]r'), ['w[o]r'])
    },
    'KEYS_LIKE',
  )
  check(
    'pages through keys without losing or repeating one',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      await write(
        store,
        Array.from({ length: 12 }, (_, index) => `page-${index}`),
      )
      const seen: string[] = []
      let token: string | undefined
      for (const [size, more] of [
        [6, true],
        [5, true],
        [100, false],
      ] as const) {
        const page = await lists.keysLike(id('page-%'), { size, ...(token === undefined ? {} : { token }) })
        seen.push(...page.keys)
        token = page.token
        assert.equal(token !== undefined, more)
      }
      assert.equal(new Set(seen).size, 12)
      assert.equal(seen.length, 12)
    },
    'KEYS_LIKE',
  )
  check(
    'lists more keys than one request of a driver holds',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      const names = Array.from({ length: 1100 }, (_, index) => `crowd-${index}`)
      await write(store, names)
      assert.equal(new Set((await lists.keysLike(id('crowd-%'), {})).keys).size, 1100)
      const page = await lists.keysLike(id('crowd-%'), { size: 100_000 })
      assert.deepEqual([page.keys.length, page.token], [1100, undefined])
      await deleteAll(
        store,
        names.map((name) => ({ kind: 'delete', key: id(name), metadata: {} })),
      )
    },
    'KEYS_LIKE',
  )
  check(
    'goes on with a page of keys while others come and go',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      await write(store, ['moving-1', 'moving-2', 'moving-3', 'moving-4'])
      const first = await lists.keysLike(id('moving-%'), { size: 3 })
      assert.equal(first.keys.length, 3)
      assert.ok(first.token)
      const [left, ...gone] = first.keys as [string, string, string]
      await deleteAll(
        store,
        gone.map((key) => ({ kind: 'delete', key, metadata: {} })),
      )
      await write(store, ['moving-5', 'moving-6'])
      const rest = await lists.keysLike(id('moving-%'), { size: 100, token: first.token })
      assert.equal(rest.token, undefined)
      assert.ok(!rest.keys.includes(left))
      assert.equal((await lists.keysLike(id('moving-%'), {})).keys.length, 4)
    },
    'KEYS_LIKE',
  )
  check(
    'deletes by prefix, not deeper',
    async (store) => {
      const deletes = deletesByPrefix(store)
      assert.ok(deletes)
      for (const prefix of ['', '||']) await assert.rejects(deletes.deleteWithPrefix(prefix), /prefix is required/)
      await write(store, ['d||key1', 'd||key2', 'd||e||key3', 'f||key1', 'd'])
      assert.equal(await deletes.deleteWithPrefix(id('d||')), 2)
      assert.equal(await deletes.deleteWithPrefix(id('f')), 1)
      const left = await getAll(store, ['d||key1', 'd||e||key3', 'd'].map(id))
      assert.deepEqual(
        left.map((item) => item !== undefined),
        [false, true, true],
      )
    },
    'DELETE_WITH_PREFIX',
  )
}
