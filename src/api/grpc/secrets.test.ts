import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecretsBlock, type SecretsBlock } from '../../blocks/secrets/block.ts'
import type { SecretStore } from '../../blocks/secrets/driver.ts'
import { Code } from '../../errors.ts'
import { serveGrpc, statusOf, stub } from './harness.ts'
import { rawMap, rawMessage, readRaw } from './raw-proto.ts'
import { secretsMethods } from './secrets.ts'

const entries = [{ 1: 's', 2: 's' }] as const

test('GetSecret hands over store, key and metadata and answers the map', async () => {
  const asked: unknown[] = []
  await using api = await serveGrpc({
    methods: secretsMethods(
      stub<SecretsBlock>({
        get: async (store, key, metadata) => {
          asked.push([store, key, { ...metadata }])
          return key === 'none' ? undefined : { a: '1', b: '' }
        },
      }),
    ),
  })
  const reply = await api.call('GetSecret', rawMessage({ 1: 'sec', 2: 'k', 3: rawMap({ version_id: '2' }) }))
  assert.deepEqual(readRaw(reply, { 1: entries }), {
    1: [{ 1: 'a', 2: '1' }, { 1: 'b' }],
  })
  assert.equal((await api.call('GetSecret', rawMessage({ 1: 'sec', 2: 'none' }))).length, 0)
  assert.deepEqual(asked, [
    ['sec', 'k', { version_id: '2' }],
    ['sec', 'none', {}],
  ])
})

test('scopes hold over gRPC: one secret is refused, all secrets come without the hidden ones', async () => {
  const component = stub<SecretStore>({
    get: async (name) => ({ [name]: 'v' }),
    bulkGet: async () => ({ open: { open: 'o' }, hidden: { hidden: 'h' }, multi: { one: '1', two: '2' } }),
  })
  const block = createSecretsBlock({
    stores: new Map([['sec', { name: 'sec', type: 't', version: 'v1', component, properties: {} }]]),
    scopes: [{ storeName: 'sec', deniedSecrets: ['hidden'] }],
  })
  await using api = await serveGrpc({ methods: secretsMethods(block) })
  const status = await statusOf(api.call('GetSecret', rawMessage({ 1: 'sec', 2: 'hidden' })))
  assert.deepEqual(
    [status.code, status.message, status.details],
    [Code.PermissionDenied, 'access denied by policy to get "hidden" from "sec"', []],
  )
  const all = readRaw(await api.call('GetBulkSecret', rawMessage({ 1: 'sec', 2: rawMap({ m: 'v' }) })), {
    1: [{ 1: 's', 2: { 1: entries } }],
  })
  assert.deepEqual(all, {
    1: [
      { 1: 'open', 2: { 1: [{ 1: 'open', 2: 'o' }] } },
      {
        1: 'multi',
        2: {
          1: [
            { 1: 'one', 2: '1' },
            { 1: 'two', 2: '2' },
          ],
        },
      },
    ],
  })
  for (const method of ['GetSecret', 'GetBulkSecret'])
    assert.equal((await statusOf(api.call(method, rawMessage({ 1: 'no' })))).code, Code.InvalidArgument)
})
