import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StateBlock } from '../../blocks/state/state.ts'
import { Code, OutriderError } from '../../errors.ts'
import { serveGrpc, statusOf, stub } from './harness.ts'
import { type Raw, rawMap, rawMessage, readRaw } from './raw-proto.ts'
import { stateMethods } from './state.ts'

const serve = (state: Partial<StateBlock>) => serveGrpc({ methods: stateMethods(stub(state)) })
/** What a block was given, without the prototypes that decoding leaves out. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, member) => (member?.type === 'Buffer' ? `bytes ${Buffer.from(member.data).toString('hex')}` : member)),
  )
const item = (key: string, value: Raw = {}): Raw => ({ 1: key, ...value })

test('GetBulkState hands over keys, parallelism and metadata, and answers key by key', async () => {
  const asked: unknown[] = []
  await using api = await serve({
    bulkGet: async (store, request) => {
      asked.push(plain([store, request]))
      return [
        { key: 'a', item: { data: Buffer.from('1'), etag: 'e', metadata: { ttlExpireTime: 't' } } },
        { key: 'b', error: 'broken' },
        { key: 'c' },
      ]
    },
  })
  const reply = await api.call('GetBulkState', rawMessage({ 1: 'mem', 2: ['a', 'b', 'c'], 3: 7, 4: rawMap({ m: 'v' }) }))
  assert.deepEqual(asked, [['mem', { keys: ['a', 'b', 'c'], parallelism: 7, metadata: { m: 'v' } }]])
  assert.deepEqual(readRaw(reply, { 1: [{ 1: 's', 2: 's', 3: 's', 4: 's', 5: { 1: 's', 2: 's' } }] }), {
    1: [{ 1: 'a', 2: '1', 3: 'e', 5: { 1: 'ttlExpireTime', 2: 't' } }, { 1: 'b', 4: 'broken' }, { 1: 'c' }],
  })
})

test('DeleteState hands over etag, options and metadata; absent ones stay absent', async () => {
  const asked: unknown[] = []
  await using api = await serve({ delete: async (store, request) => void asked.push(plain([store, request])) })
  const reply = await api.call('DeleteState', rawMessage({ 1: 'mem', 2: 'k', 3: { 1: '7' }, 4: { 1: 1, 2: 2 }, 5: rawMap({ m: 'v' }) }))
  assert.equal(reply.length, 0)
  await api.call('DeleteState', rawMessage({ 1: 'mem', 2: 'k', 3: {} }))
  await api.call('DeleteState', rawMessage({ 1: 'mem', 2: 'k', 4: { 1: 2, 2: 1 } }))
  assert.deepEqual(asked, [
    ['mem', { key: 'k', etag: '7', concurrency: 'first-write', consistency: 'strong', metadata: { m: 'v' } }],
    ['mem', { key: 'k', etag: '', metadata: {} }],
    ['mem', { key: 'k', concurrency: 'last-write', consistency: 'eventual', metadata: {} }],
  ])
})

test('DeleteBulkState hands over each item', async () => {
  const asked: unknown[] = []
  await using api = await serve({ bulkDelete: async (store, items) => void asked.push(plain([store, items])) })
  await api.call(
    'DeleteBulkState',
    rawMessage({ 1: 'mem', 2: [item('a', { 3: { 1: '1' }, 5: { 1: 1, 2: 1 } }), item('b', { 4: rawMap({ m: 'v' }) })] }),
  )
  assert.deepEqual(asked, [
    [
      'mem',
      [
        { key: 'a', etag: '1', concurrency: 'first-write', consistency: 'eventual', metadata: {} },
        { key: 'b', metadata: { m: 'v' } },
      ],
    ],
  ])
})

test('ExecuteStateTransaction hands over operations in order, values as bytes, and metadata', async () => {
  const asked: unknown[] = []
  await using api = await serve({
    transact: async (store, operations, metadata) => void asked.push(plain([store, operations, metadata])),
  })
  await api.call(
    'ExecuteStateTransaction',
    rawMessage({
      1: 'mem',
      2: [
        {
          1: 'upsert',
          2: item('a', { 2: Buffer.from([0, 255]), 3: { 1: '9' }, 4: rawMap({ contentType: 'application/json' }), 5: { 1: 2, 2: 2 } }),
        },
        { 1: 'delete', 2: item('b', { 2: 'ignored' }) },
        { 1: 'rename' },
      ],
      3: rawMap({ partitionKey: 'p' }),
    }),
  )
  const write = { concurrency: 'last-write', consistency: 'strong', metadata: { contentType: 'application/json' } }
  assert.deepEqual(asked, [
    [
      'mem',
      [
        { operation: 'upsert', key: 'a', etag: '9', value: 'bytes 00ff', json: false, ...write },
        { operation: 'delete', key: 'b', metadata: {} },
        { operation: 'rename', key: '', value: 'bytes ', json: false, metadata: {} },
      ],
      { partitionKey: 'p' },
    ],
  ])
})

test('QueryStateAlpha1 hands over the text and answers results, token and metadata; without results nothing', async () => {
  const asked: unknown[] = []
  let results = [
    { key: 'a', data: Buffer.from('{"x":1}'), etag: 'e' },
    { key: 'b', data: Buffer.alloc(0), error: 'broken' },
  ]
  await using api = await serve({
    require: (...given) => void asked.push(given),
    query: async (store, query, metadata) => {
      asked.push(plain([store, query, metadata]))
      return { results, token: '2', metadata: { k: 'v' } }
    },
  })
  const request = rawMessage({ 1: 'pg', 2: '{"filter":{}}', 3: rawMap({ m: 'v' }) })
  assert.deepEqual(
    readRaw(await api.call('QueryStateAlpha1', request), { 1: [{ 1: 's', 2: 's', 3: 's', 4: 's' }], 2: 's', 3: { 1: 's', 2: 's' } }),
    {
      1: [
        { 1: 'a', 2: '{"x":1}', 3: 'e' },
        { 1: 'b', 4: 'broken' },
      ],
      2: '2',
      3: { 1: 'k', 2: 'v' },
    },
  )
  assert.deepEqual(asked, [
    ['pg', 'query'],
    ['pg', '{"filter":{}}', { m: 'v' }],
  ])
  results = []
  assert.equal((await api.call('QueryStateAlpha1', request)).length, 0)
})

test('SaveState reads a value as JSON only when its metadata says so', async () => {
  const saved: unknown[] = []
  await using api = await serve({ save: async (_, items) => void saved.push(items.map(({ value, json }) => [String(value), json])) })
  const json = rawMap({ contentType: 'application/json' })
  await api.call('SaveState', rawMessage({ 1: 'mem', 2: [item('a', { 2: '{ "y": 2 }', 4: json }), item('b', { 2: '{ "y": 2 }' })] }))
  assert.deepEqual(saved, [
    [
      ['{"y":2}', true],
      ['{ "y": 2 }', false],
    ],
  ])
  const status = await statusOf(api.call('SaveState', rawMessage({ 1: 'mem', 2: [item('a', { 2: 'no json', 4: json })] })))
  assert.deepEqual([status.code, status.message], [Code.Unknown, "invalid character 'o' in literal null (expecting 'u')"])
})

test('what the block refuses reaches the caller of every method', async () => {
  const refuse = () => Promise.reject(new OutriderError({ code: 'X', http: 409, grpc: Code.Aborted, message: 'no' }))
  const state = { get: refuse, save: refuse, delete: refuse, bulkDelete: refuse, bulkGet: refuse, transact: refuse, query: refuse }
  await using api = await serve({ ...state, require: () => {} })
  const methods = ['GetState', 'SaveState', 'DeleteState', 'DeleteBulkState', 'GetBulkState', 'ExecuteStateTransaction', 'QueryStateAlpha1']
  for (const method of methods) {
    const status = await statusOf(api.call(method, rawMessage({ 1: 'mem' })))
    assert.deepEqual([status.code, status.message], [Code.Aborted, 'no'], method)
  }
})

test('a store that cannot be queried is refused before its query is read', async () => {
  const unable = new OutriderError({ code: 'X', http: 500, grpc: Code.Internal, message: 'unable' })
  await using api = await serve({
    require: () => {
      throw unable
    },
  })
  assert.equal((await statusOf(api.call('QueryStateAlpha1', rawMessage({ 1: 'mem' })))).message, 'unable')
})
