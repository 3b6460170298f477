import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecretsBlock, isSecretAllowed } from './block.ts'
import type { SecretStore } from './driver.ts'

const component: SecretStore = {
  features: [],
  init: async () => {},
  get: async (name) => ({ [name]: 'v' }),
  bulkGet: async () => ({ a: { a: '1' }, b: { b: '2' } }),
  [Symbol.asyncDispose]: async () => {},
}
const stores = new Map([['s', { name: 's', type: 't', version: 'v1', component, properties: {} }]])

test('a scope: the allow list decides alone, then the deny list, then the default', () => {
  assert.equal(isSecretAllowed(undefined, 'a'), true)
  assert.equal(isSecretAllowed({ storeName: 's', allowedSecrets: ['a'], deniedSecrets: ['a'] }, 'a'), true)
  assert.equal(isSecretAllowed({ storeName: 's', allowedSecrets: ['a'] }, 'b'), false)
  assert.equal(isSecretAllowed({ storeName: 's', deniedSecrets: ['a'] }, 'a'), false)
  assert.equal(isSecretAllowed({ storeName: 's', defaultAccess: 'deny' }, 'a'), false)
  assert.equal(isSecretAllowed({ storeName: 's', defaultAccess: 'allow' }, 'a'), true)
})

test('a denied secret is refused alone and left out of all', async () => {
  const block = createSecretsBlock({ stores, scopes: [{ storeName: 's', deniedSecrets: ['b'] }] })
  await assert.rejects(block.get('s', 'b', {}), {
    code: 'ERR_PERMISSION_DENIED',
    http: 403,
    message: 'access denied by policy to get "b" from "s"',
  })
  assert.deepEqual(await block.bulkGet('s', {}), { a: { a: '1' } })
})

test('no store at all and an unknown one are told apart', async () => {
  await assert.rejects(createSecretsBlock({ stores: new Map() }).get('s', 'a', {}), { code: 'ERR_SECRET_STORES_NOT_CONFIGURED', http: 500 })
  await assert.rejects(createSecretsBlock({ stores }).get('x', 'a', {}), { code: 'ERR_SECRET_STORE_NOT_FOUND', http: 401 })
})
