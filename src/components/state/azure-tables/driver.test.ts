import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azuriteTables } from '../../../../test/servers/azurite.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { ACCOUNT, KEY } from '../../azure/testing.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'

proveColumns('state.azure.tablestorage')

const server = await serverOf(azuriteTables)
after(() => server?.stop())
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const tableName = `t${randomUUID().replaceAll('-', '')}`
const serviceURL = `${server?.address ?? 'http://127.0.0.1:1'}/${ACCOUNT}/`

async function open(more: Record<string, string> = {}): Promise<StateStore> {
  const properties = { accountName: ACCOUNT, accountKey: KEY, serviceURL, tableName, ...more }
  const store = driver.create({ name: 's', type: 'state.azure.tablestorage', version: 'v1', appId: 'app', namespace: '', log, properties })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

const item = (key: string, value: string | Buffer, more: Partial<StateSet> = {}): StateSet => ({
  kind: 'upsert',
  key,
  value: Buffer.from(value),
  json: true,
  metadata: {},
  ...more,
})

describe('state.azure.tablestorage', { skip: server === undefined ? help(azuriteTables) : false }, () => {
  const get = async (store: StateStore, key: string) => (await store.get({ key, metadata: {} }))?.data.toString()

  it('tells apart keys with several parts, which daprd takes for one, and keys with none', async () => {
    await using store = await open()
    for (const [index, key] of ['app||a||1', 'app||a||2', 'app', 'app||', "it's||'"].entries()) await store.set(item(key, String(index)))
    assert.deepEqual(await Promise.all(['app||a||1', 'app||a||2', "it's||'"].map((key) => get(store, key))), ['0', '1', '4'])
    // Without a row both are the same, as in daprd.
    assert.deepEqual([await get(store, 'app'), await get(store, 'app||')], ['3', '3'])
    await using cosmos = await open({ cosmosDbMode: 'true', skipCreateTable: 'true' })
    await cosmos.set(item('alone', '5'))
    assert.deepEqual([await get(cosmos, 'alone'), await get(store, 'alone||_dapr_empty_row_key_value_')], ['5', '5'])
    await store.ping?.(AbortSignal.timeout(5000))
  })

  it('makes an item for an ETag that names none, and not over another one', async () => {
    await using store = await open()
    const etag = `W/"datetime'2023-05-09T12%3A28%3A54.1442151Z'"`
    await store.set(item('e||k', '1', { etag }))
    await assert.rejects(store.set(item('e||k', '2', { etag })), { name: 'EtagError' })
    await assert.rejects(store.set(item('e||k', '2', { concurrency: 'first-write' })), {
      name: 'EtagError',
      message: 'update with Concurrency.FirstWrite without ETag',
    })
    assert.equal(await get(store, 'e||k'), '1')
    await assert.rejects(store.delete({ kind: 'delete', key: 'e||none', etag, metadata: {} }), { name: 'EtagError' })
  })

  it('says what is wrong, and nothing of the key', async () => {
    const wrong = Buffer.from('canary').toString('base64')
    for (const [settings, words] of [
      [{ accountName: '' }, /^missing or empty accountName field from metadata$/],
      [{ tableName: '' }, /^missing or empty tableName field from metadata$/],
      [{ serviceURL: 'azure' }, /^metadata field serviceURL is not an http or https URL$/],
      [{ accountKey: '', azureAuthMethods: 'creds' }, /no suitable token provider for Azure AD; errors: parameters azureClientId/],
      [{ accountKey: wrong }, /^failed to create Azure table .* status 403, (AuthorizationFailure|AuthenticationFailed)/],
      [{ tableName: 'a-b' }, /^failed to create Azure table a-b: POST .* status 400, /],
    ] as const)
      await assert.rejects(open(settings), ({ message }: Error) => {
        assert.match(message, words)
        return !message.includes(wrong)
      })
    await using none = await open({ tableName: 'nosuchtable', skipCreateTable: 'true' })
    await assert.rejects(none.set(item('k', '1')), /status 404, TableNotFound/)
    await using store = await open()
    await assert.rejects(store.set(item('large', JSON.stringify('x'.repeat(40_000)))), /status 40\d, /)
  })
})
