import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { redis } from '../../../../test/servers/redis.ts'
import { redisStack } from '../../../../test/servers/redis-stack.ts'
import { type ServerKind, serverOf } from '../../../../test/servers/server.ts'
import { EtagError, type StateSet, type StateStore } from '../../../blocks/state/driver.ts'
import { parseQuery } from '../../../blocks/state/query.ts'
import { createLogger } from '../../../telemetry/log.ts'
import type { Argument } from '../../redis/client.ts'
import { RedisConnection } from '../../redis/connection.ts'
import { driver } from './driver.ts'
import { createIndex, type QueryIndex, readIndexes } from './indexes.ts'
import { toSearch } from './query.ts'

const JSON_TYPE = { contentType: 'application/json' }
const own = `t${Math.random().toString(36).slice(2, 10)}`
const indexes = (...names: string[]) => JSON.stringify([{ name: own, indexes: names.map((key) => ({ key, type: 'TEXT' })) }])
const upsert = (key: string, value: string, more: Partial<StateSet> = {}): StateSet => ({
  kind: 'upsert',
  key: `${own}-${key}`,
  value: Buffer.from(value),
  json: true,
  metadata: JSON_TYPE,
  ...more,
})

/** A test with a store and a connection of its own to the same server. */
function withStore(kind: ServerKind, body: (store: StateStore, server: RedisConnection, warnings: string[]) => Promise<void>) {
  return async (context: { skip(why: string): void }) => {
    const running = await serverOf(kind)
    if (!running) return context.skip(`no ${kind.name}`)
    const [host, port] = running.address.split(':') as [string, string]
    const warnings: string[] = []
    const log = createLogger({ level: 'warning', json: false, appId: 'test', version: 'test', write: (line) => warnings.push(line) })
    const properties = { redisHost: running.address, queryIndexes: indexes('message') }
    const store = driver.create({ name: 'orders', type: 'state.redis', version: 'v1', properties, appId: 'test', namespace: '', log })
    const server = new RedisConnection({ host, port: Number(port) })
    try {
      await Promise.all([store.init(AbortSignal.timeout(10_000)), server.connect()])
      await body(store, server, warnings)
    } finally {
      await store[Symbol.asyncDispose]()
      server.disconnect()
      await running.stop()
    }
  }
}

describe('state.redis with the JSON module', () => {
  it(
    'keeps documents as daprd has them',
    withStore(redisStack, async (store, server) => {
      const key = `${own}-document`
      await store.set(upsert('document', '{"b":"<ü>","a":[1,2.5,null]}', { concurrency: 'first-write' }))
      assert.equal(await server.call('JSON.GET', key), '{"data":{"b":"<ü>","a":[1,2.5,null]},"first-write":0,"version":1}')
      await assert.rejects(store.set(upsert('document', '1', { concurrency: 'first-write' })), /^Error: failed to set key .*user_script:17/)
      await store.set(upsert('document', '{"a":2}', { etag: '1' }))
      assert.equal(await server.call('JSON.GET', key), '{"data":{"a":2},"version":2}')
      const found = await store.get({ key, metadata: JSON_TYPE })
      assert.deepEqual([found?.data.toString(), found?.etag], ['{"a":2}', '2'])
      await assert.rejects(store.get({ key, metadata: {} }), /ReJSON-RL, which this store does not read without contentType/)
    }),
  )

  it(
    'tells documents and hashes apart in one transaction, and lets one take the place of the other with its ETag',
    withStore(redisStack, async (store, server) => {
      await store.transact?.([upsert('one', '{"x":1}'), upsert('two', '2', { metadata: {} }), upsert('gone', '3')], {})
      const types = () => Promise.all(['one', 'two', 'gone'].map((key) => server.call('TYPE', `${own}-${key}`)))
      assert.deepEqual(await types(), ['ReJSON-RL', 'hash', 'ReJSON-RL'])
      const refused = store.transact?.([upsert('one', '5'), { ...upsert('gone', ''), kind: 'delete', etag: '7' }], JSON_TYPE)
      await assert.rejects(refused as Promise<void>, /failed to delete/)
      assert.equal(await server.call('JSON.GET', `${own}-one`), '{"data":{"x":1},"version":1}')
      await assert.rejects(store.set(upsert('two', '{"y":1}', { etag: '9' })), EtagError)
      assert.equal((await store.get({ key: `${own}-two`, metadata: JSON_TYPE }))?.data.toString(), '2')
      await store.transact?.([upsert('one', '6', { metadata: {} }), upsert('two', '{"y":1}', { etag: '1' })], {})
      assert.deepEqual(await types(), ['hash', 'ReJSON-RL', 'ReJSON-RL'])
      assert.deepEqual((await store.get({ key: `${own}-two`, metadata: JSON_TYPE }))?.etag, '2')
      // Encrypted values are bytes.
      await store.set(upsert('two', 'c2VjcmV0||key', { json: false }))
      assert.equal((await store.get({ key: `${own}-two`, metadata: JSON_TYPE }))?.data.toString(), 'c2VjcmV0||key')
    }),
  )

  it(
    'finds by words, and makes an index anew only when it is another',
    withStore(redisStack, async (store, server) => {
      await store.set(upsert('mail', '{"message":"ann.lee@example.org wrote"}'))
      await store.set(upsert('text', '"5 o\'clock"'))
      const ask = (query: object, queryIndexName = own) => store.query?.(parseQuery(JSON.stringify(query)), { queryIndexName })
      const found = async (message: string) => (await ask({ filter: { EQ: { message } } }))?.results.map(({ key }) => key)
      for (const text of ['ann.lee@example.org', 'wrote', 'exam*', 'ann) | (lee'])
        assert.deepEqual(await found(text), [`${own}-mail`], text)
      for (const text of ['bob@example.org', 'x) | (@var0:(ann', 'exam']) assert.deepEqual(await found(text), [], text)
      const all = (await ask({ page: { limit: 100 } }))?.results.find(({ key }) => key === `${own}-text`)
      assert.equal(all?.data.toString(), '"5 o\'clock"')
      await assert.rejects(ask({}, 'none') as Promise<unknown>, { message: 'query index schema "none" not found' })
      await assert.rejects(ask({}, '') as Promise<unknown>, { message: 'query index not found' })

      const calls: unknown[] = []
      const client = {
        call: (name: string, ...args: Argument[]) => {
          calls.push(name)
          return server.call(name, ...args)
        },
      }
      const index = (...names: string[]) => readIndexes(indexes(...names)).get(own) as QueryIndex
      await createIndex(client, index('message'))
      assert.deepEqual(calls.splice(0), ['FT.CREATE', 'FT.INFO'])
      await createIndex(client, index('message', 'other'))
      assert.deepEqual(calls, ['FT.CREATE', 'FT.INFO', 'FT.DROPINDEX', 'FT.CREATE'])
    }),
  )

  it(
    'keeps hashes and says what is missing on a server without the modules',
    withStore(redis, async (store, server, warnings) => {
      assert.match(warnings.join(), /state store orders: queryIndexes need Redis's JSON and search modules/)
      assert.equal(store.features.includes('QUERY_API'), false)
      await store.set(upsert('plain', '{"a":1}'))
      assert.equal(await server.call('HGET', `${own}-plain`, 'data'), '{"a":1}')
      assert.equal((await store.get({ key: `${own}-plain`, metadata: JSON_TYPE }))?.data.toString(), '{"a":1}')
      await assert.rejects(store.query?.({}, { queryIndexName: own }) as Promise<unknown>, {
        message: 'redis-json server support is required for query capability',
      })
    }),
  )
})

const toIndex = () => readIndexes('[{"name":"q","indexes":[{"key":"a","type":"TEXT"},{"key":"b.c","type":"NUMERIC"}]}]').get('q')

it('a query is a search', () => {
  const search = (query: object) => {
    const index = toIndex()
    assert.ok(index)
    return toSearch(index, parseQuery(JSON.stringify(query))).slice(1, -4)
  }
  const filter = (given: object) => search({ filter: given })[0]
  assert.deepEqual(search({}), ['*'])
  assert.deepEqual(search({ sort: [{ key: 'b.c', order: 'DESC' }], page: { limit: 5, token: '10' } }), [
    '*',
    'SORTBY',
    'var1',
    'DESC',
    'LIMIT',
    10,
    5,
  ])
  assert.equal(filter({ AND: [{ EQ: { a: 'x y' } }, { NEQ: { 'b.c': 0.5 } }] }), '((@var0:(x y)) -(@var1:[0.5 0.5]))')
  assert.equal(filter({ OR: [{ GT: { 'b.c': 1 } }, { LTE: { 'b.c': -2 } }] }), '((@var1:[(1 +inf])|(@var1:[-inf -2]))')
  assert.equal(filter({ IN: { a: ['Dev Ops', 'Sales'] } }), '((@var0:(Dev Ops))|(@var0:(Sales)))')
  assert.equal(filter({ EQ: { a: 'a-b|c\\-d _e* *' } }), '(@var0:(a b c\\-d _e*))')
  assert.throws(() => filter({ EQ: { a: '*' } }), /finds words, and "\*" has none/)
  assert.throws(() => filter({ EQ: { a: null } }), /compares text or numbers, not null/)
  assert.throws(() => filter({ LT: { 'b.c': '1' } }), /unsupported type of value 1; string type not permitted/)
  assert.throws(() => filter({ EQ: { z: 'x' } }), { message: 'JSON path "z" is not indexed' })
  assert.throws(() => filter({ IN: { a: ['x'] } }), { message: 'too few values in IN operator for key "a"' })
  assert.throws(() => search({ sort: [{ key: 'a' }, { key: 'b.c' }] }), /multiple SORTBY/)
  assert.throws(() => search({ page: { limit: 1, token: 'x' } }), { message: 'invalid token "x"' })
})

it('queryIndexes that cannot be read are refused with what they should be', () => {
  for (const [text, message] of [
    ['{', /queryIndexes: not JSON/],
    ['{}', /queryIndexes is not a list of objects/],
    ['[{"indexes":[]}]', /an index without name/],
    ['[{"name":"q"},{"name":"q"}]', /two indexes are named q/],
    ['[{"name":"q","indexes":[{"type":"TEXT"}]}]', /empty key in index q/],
    ['[{"name":"q","indexes":[{"key":"a"}]}]', /empty type of a in index q/],
  ] as const)
    assert.throws(() => readIndexes(text), message)
})
