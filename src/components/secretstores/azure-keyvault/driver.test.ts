import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { keyVault } from '../../../../test/servers/clouds.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { secretStoreConformance } from '../../../blocks/secrets/conformance.ts'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { askVault, vaultOf } from '../../azure/testing-vault.ts'
import { driver } from './driver.ts'

// A server of our own: what is listed is all that there is.
const server = await ownServer(keyVault)
const address = server?.address ?? 'http://127.0.0.1:1'
process.env.AZURE_AUTHORITY_HOST = address
after(() => server?.stop())
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

async function open(properties: Record<string, string> = {}): Promise<SecretStore> {
  const common = { name: 's', type: 'secretstores.azure.keyvault', version: 'v1', appId: 'app', namespace: '', log }
  const store = driver.create({ ...common, properties: { ...vaultOf(address), ...properties } })
  try {
    await store.init(AbortSignal.timeout(5000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

let first = ''
if (server) {
  const put = (name: string, value: string, enabled = true) =>
    askVault(address, 'PUT', `/secrets/${name}`, { value, attributes: { enabled } })
  for (const [name, value] of Object.entries({ conftestsecret: 'abcd', secondsecret: 'efgh' })) await put(name, value)
  first = String((await put('login', 'first')).id)
    .split('/')
    .pop() as string
  await put('login', 'second')
  await put('off', 'x', false)
  for (let number = 0; number < 60; number++) await put(`many-${number}`, `of ${number}`)
  secretStoreConformance('secretstores.azure.keyvault (SDK’s server)', () => open())
}

describe('secretstores.azure.keyvault', { skip: server === undefined ? help(keyVault) : false }, () => {
  it('gives the newest version of a secret, or the one that is asked for', async () => {
    await using store = await open()
    assert.deepEqual(store.features, [])
    assert.deepEqual(await store.get('login', {}), { login: 'second' })
    assert.deepEqual(await store.get('login', { version_id: first }), { login: 'first' })
  })

  it('gives all secrets that are enabled, of more than a page, or pages until there are enough', async () => {
    await using store = await open()
    const all = await store.bulkGet({})
    assert.equal(Object.keys(all).length, 63)
    assert.deepEqual(all['many-59'], { 'many-59': 'of 59' })
    assert.equal(all.off, undefined)
    assert.equal(Object.keys(await store.bulkGet({ maxresults: '10' })).length, 25)
    await assert.rejects(store.bulkGet({ maxresults: 'few' }), /maxresults: "few" is not a whole number/)
  })

  it('says what Azure says, and nothing of the client’s secret', async () => {
    await using store = await open()
    await assert.rejects(store.get('nosuch', {}), /GET 127\.0\.0\.1:\d+\/secrets\/nosuch\/: status 404, SecretNotFound: /)
    await assert.rejects(store.get('off', {}), /status 403, Forbidden/)
    await assert.rejects(
      open({ azureClientSecret: 'wrong-canary' }),
      ({ message }: Error) => /status 401: AADSTS7000215: Invalid client secret provided\.$/.test(message) && !message.includes('canary'),
    )
    await using away = await open({ endpoint: 'http://127.0.0.1:1' })
    await assert.rejects(away.get('login', {}, AbortSignal.timeout(10_000)), /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await assert.rejects(open({ vaultName: '' }), /missing required metadata field vaultName/)
    await assert.rejects(open({ endpoint: 'vault' }), /metadata field endpoint: "vault" is no address of a vault/)
  })
})
