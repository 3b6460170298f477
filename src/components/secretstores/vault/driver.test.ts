import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { secretStoreConformance } from '../../../blocks/secrets/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'
import { type VaultDouble, vaultDouble } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-vault-'))
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const vault = await vaultDouble()
after(async () => {
  await vault[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

async function open(properties: Record<string, string>, at: VaultDouble = vault) {
  const all = { vaultAddr: at.url, vaultToken: 'root', ...properties }
  const store = driver.create({
    name: 's',
    type: 'secretstores.hashicorp.vault',
    version: 'v1',
    properties: all,
    appId: 'app',
    namespace: '',
    log,
  })
  try {
    await store.init(AbortSignal.timeout(5000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

vault.secrets.set('dapr/conftestsecret', [{ conftestsecret: 'abcd' }])
vault.secrets.set('dapr/secondsecret', [{ secondsecret: 'efgh' }])
vault.secrets.set('dapr/deep/one two', [{ user: 'u1' }, { user: 'u2', port: 5432 }])
vault.secrets.set('dapr/gone', [{ user: 'u1' }, undefined])
vault.secrets.set('plain', [{ k: 'v' }])
secretStoreConformance('secretstores.hashicorp.vault', () => open({}))

test('the latest version is given, or the one that is asked for; a name may have slashes and spaces', async () => {
  await using store = await open({})
  assert.deepEqual(store.features, ['MULTIPLE_KEY_VALUES_PER_SECRET'])
  assert.deepEqual(await store.get('deep/one two', {}), { user: 'u2', port: '5432' })
  assert.deepEqual(await store.get('deep/one two', { version_id: '1' }), { user: 'u1' })
  assert.deepEqual(Object.keys(await store.bulkGet({})).sort(), ['conftestsecret', 'deep/one two', 'secondsecret'])
  assert.deepEqual(Object.keys(await store.bulkGet({ version_id: '2' })), ['deep/one two'])
  for (const name of ['nope', 'gone', '../plain']) await assert.rejects(store.get(name, {}), /secret key or version not exist/)
})

test('as text a secret is one value; without prefix and with version 1 of the engine the paths are others', async () => {
  await using text = await open({ vaultValueType: 'text' })
  assert.deepEqual(await text.get('conftestsecret', {}), { conftestsecret: '{"conftestsecret":"abcd"}' })
  await using bare = await open({ vaultKVUsePrefix: 'false' })
  assert.deepEqual(await bare.get('plain', {}), { k: 'v' })
  await using first = await open({ vaultKVUsePrefix: 'false', vaultKVVersion: '1', enginePath: 'old' })
  assert.deepEqual(await first.get('plain', {}), { k: 'v' })
  assert.ok(vault.asked.includes('GET /v1/old/plain'))
})

test('a token from a file is read again when the server refuses it', async () => {
  const path = join(folder, 'token')
  writeFileSync(path, 'short-lived\n')
  vault.tokens.add('short-lived')
  await using store = await open({ vaultToken: '', vaultTokenMountPath: path })
  assert.deepEqual(await store.get('conftestsecret', {}), { conftestsecret: 'abcd' })
  vault.tokens.delete('short-lived')
  writeFileSync(path, 'renewed')
  vault.tokens.add('renewed')
  assert.deepEqual(await store.get('conftestsecret', {}), { conftestsecret: 'abcd' })
  vault.tokens.delete('renewed')
  await assert.rejects(store.get('conftestsecret', {}), /status code 403/)
})

test('signs in with a Kubernetes service account', async () => {
  const path = join(folder, 'jwt')
  writeFileSync(path, 'service-account')
  const settings = { vaultToken: '', vaultAuthMethod: 'kubernetes', vaultKubernetesTokenPath: path }
  await using store = await open({ ...settings, vaultKubernetesRole: 'app' })
  assert.deepEqual(await store.get('conftestsecret', {}), { conftestsecret: 'abcd' })
  await assert.rejects(open({ ...settings, vaultKubernetesRole: 'other' }), /refused the sign-in as role other .*status 400/)
  await assert.rejects(open(settings), /vaultKubernetesRole is missing/)
})

test('a lease ends with the token it was made with, and is made with one that has half of its life before it', async () => {
  const path = join(folder, 'jwt-lease')
  writeFileSync(path, 'service-account')
  await using own = await vaultDouble()
  own.tokenLife = 0.6
  const settings = { vaultToken: '', vaultAuthMethod: 'kubernetes', vaultKubernetesRole: 'app', vaultKubernetesTokenPath: path }
  await using store = await open(settings, own)
  const signIns = () => own.asked.filter((line) => line.endsWith('/login')).length
  for (const began = performance.now(); performance.now() - began < 350; ) await new Promise((resolve) => setTimeout(resolve, 50))
  const lease = await store.leases?.read('rabbit/creds/app')
  assert.equal(signIns(), 2)
  assert.ok(lease && lease.duration > 0 && lease.duration <= 600 && lease.values.username === 'user-1', JSON.stringify(lease))
  await assert.rejects(Promise.resolve(store.leases?.read('../sys/seal')), /is no path in Vault/)
  await assert.rejects(Promise.resolve(store.leases?.renew('nope')), { name: 'LeaseGoneError', message: /status 400 lease not found/ })
})

test('settings and servers that are wrong are named, tokens are not', async () => {
  await assert.rejects(open({ vaultToken: '' }), /token mount path and token not set/)
  await assert.rejects(open({ vaultTokenMountPath: 'x' }), /token mount path and token both set/)
  await assert.rejects(open({ vaultAddr: 'vault' }), /vaultAddr: vault is no URL/)
  await assert.rejects(open({ vaultToken: 'canary', vaultAddr: 'http://127.0.0.1:1' }), (error: Error) => {
    assert.match(error.message, /cannot reach Vault at 127\.0\.0\.1:1: .*ECONNREFUSED/)
    return !error.message.includes('canary')
  })
  await using sealed = await vaultDouble()
  sealed.sealed = true
  await assert.rejects(open({}, sealed), /is sealed: unseal it/)
})
