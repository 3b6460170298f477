import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { ACCOUNT, connectionTo, KEY } from '../../azure/testing.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'

proveColumns('state.azure.blobstorage')

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(azurite)
after(() => server?.stop())
const containerName = `state-${randomUUID()}`
const address = server?.address ?? 'http://127.0.0.1:1'

async function open(properties: Record<string, string>, version = 'v2'): Promise<StateStore> {
  const common = { name: 's', type: 'state.azure.blobstorage', version, appId: 'app', namespace: '', log }
  const store = driver.create({ ...common, properties: { containerName, retryCount: '1', ...properties } })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

describe('state.azure.blobstorage', { skip: server === undefined ? help(azurite) : false }, () => {
  const set = (store: StateStore, key: string, value: string, metadata: Record<string, string> = {}) =>
    store.set({ kind: 'upsert', key, value: Buffer.from(value), json: true, metadata })
  const get = async (store: StateStore, key: string) => (await store.get({ key, metadata: {} }))?.data.toString()

  it('is reached by connection string, or by account and key', async () => {
    await using one = await open({ connectionString: connectionTo(address) })
    await set(one, 'app||k', '1', { contentType: 'application/json', 'other-Ü': 'ä1' })
    await using two = await open({ accountName: ACCOUNT, accountKey: KEY, endpoint: `${address}/` })
    assert.equal(await get(two, 'app||k'), '1')
    assert.equal((await two.get({ key: 'app||k', metadata: {} }))?.contentType, 'application/json')
    await two.ping?.(AbortSignal.timeout(5000))
    await using bound = await open({ accountName: ACCOUNT, accountKey: KEY, endpoint: address, disableEntityManagement: 'true' })
    assert.equal(await get(bound, 'app||k'), '1')
  })

  it('keeps keys without their prefix in version 1, with it in version 2', async () => {
    await using one = await open({ connectionString: connectionTo(address) }, 'v1')
    await using two = await open({ connectionString: connectionTo(address) })
    await set(one, 'app||shared', '1')
    assert.equal(await get(one, 'other||shared'), '1')
    assert.deepEqual([await get(two, 'shared'), await get(two, 'app||shared')], ['1', undefined])
  })

  it('says what is wrong at the start, and nothing of the key', async () => {
    const account = { accountName: ACCOUNT, endpoint: address }
    for (const [settings, words] of [
      [{}, 'missing or empty accountName field from metadata'],
      [{ accountName: 'a', accountKey: KEY, containerName: '' }, 'missing or empty containerName field from metadata'],
      [{ accountName: 'a', azureAuthMethods: 'creds' }, /no suitable token provider for Azure AD; errors: parameters azureClientId/],
      [{ connectionString: 'AccountKey=canary' }, 'metadata field connectionString: it has neither AccountName nor BlobEndpoint'],
      [{ accountName: 'a', accountKey: KEY, endpoint: 'azure' }, 'metadata field endpoint is not an http or https URL'],
      [{ accountName: 'a', accountKey: KEY, publicAccessLevel: 'all' }, /publicAccessLevel: "all" is not one of none, blob, container/],
    ] as const)
      await assert.rejects(open(settings as Record<string, string>), { message: words })
    const wrong = Buffer.from('canary').toString('base64')
    await assert.rejects(
      open({ ...account, accountKey: wrong }),
      ({ message }: Error) =>
        /failed to create Azure Storage container .*status 403, AuthorizationFailure|AuthenticationFailed/.test(message) &&
        !message.includes(wrong),
    )
    const away = { accountName: ACCOUNT, accountKey: KEY, endpoint: 'http://127.0.0.1:1', disableEntityManagement: 'true' }
    await using store = await open(away)
    await assert.rejects(get(store, 'k'), /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await assert.rejects(store.ping?.(AbortSignal.timeout(5000)) ?? Promise.resolve(), /error connecting to Azure Blob Storage at 'http:/)
    await using none = await open({ ...account, accountKey: KEY, containerName: 'nosuch', disableEntityManagement: 'true' })
    await assert.rejects(get(none, 'k'), /status 404, ContainerNotFound/)
  })
})
