import assert from 'node:assert/strict'
import { parseQuery } from '../query.ts'
import { type Cases, upsert } from './kit.ts'

/** The query API. */
export function queryCases({ check, id, options }: Cases): void {
  check(
    'answers queries',
    async (store) => {
      // Of one word each: an index over text finds words.
      const word = (text: string) => id(text).replaceAll(/\W/g, '')
      const data = [
        { message: word('A'), product: { value: 15 }, status: 'ACTIVE' },
        { message: word('B'), product: { value: 0.5 }, status: 'INACTIVE' },
        { message: word('C'), product: { value: 12 }, status: 'ACTIVE' },
      ]
      for (const [index, value] of data.entries()) await store.set(upsert(id(`query ${index}`), JSON.stringify(value)))
      const ask = async (query: object) =>
        await store.query?.(parseQuery(JSON.stringify(query)), { contentType: 'application/json', queryIndexName: 'qIndx' })
      const keys = async (query: object) => (await ask(query))?.results.map((result) => result.key)
      const q = (...indexes: number[]) => indexes.map((index) => id(`query ${index}`))
      const sort = [{ key: 'message' }]
      assert.deepEqual(await keys({ filter: { OR: [{ EQ: { message: word('A') } }, { IN: { message: [word('x'), word('y')] } }] } }), q(0))
      assert.deepEqual(
        await keys({
          filter: {
            AND: [
              { EQ: { message: word('A') } },
              { GTE: { 'product.value': 15 } },
              { LT: { 'product.value': 16 } },
              { NEQ: { status: 'INACTIVE' } },
            ],
          },
        }),
        q(0),
      )
      assert.deepEqual(
        await keys({
          filter: {
            OR: [
              { AND: [{ EQ: { message: word('B') } }, { LTE: { 'product.value': 0.5 } }] },
              { AND: [{ EQ: { message: word('B') } }, { GT: { 'product.value': 11.1 } }] },
            ],
          },
        }),
        q(1),
      )
      const all = { IN: { message: ['A', 'B', 'C'].map(word) } }
      assert.deepEqual(await keys({ filter: all, sort: [{ key: 'message', order: 'DESC' }] }), q(2, 1, 0))
      const first = await ask({ filter: all, sort, page: { limit: 2 } })
      assert.deepEqual(
        first?.results.map((result) => result.key),
        q(0, 1),
      )
      assert.deepEqual(JSON.parse(first?.results[1]?.data.toString() ?? ''), data[1])
      assert.ok(first?.results[0]?.etag)
      assert.deepEqual(await keys({ filter: all, sort, page: { limit: 2, token: first?.token } }), q(2))
      assert.deepEqual(await keys({ filter: { EQ: { message: word('nobody') } }, sort, page: { limit: 2 } }), [])
      const sly = keys({ filter: { EQ: { "x' OR 1=1 --": word('A') } } })
      if (options.indexedQueries) await assert.rejects(sly, /is not indexed/)
      else assert.deepEqual(await sly, [])
    },
    'QUERY_API',
  )
}
