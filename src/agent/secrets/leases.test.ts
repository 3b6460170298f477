import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { SecretStore } from '../../blocks/secrets/driver.ts'
import { driver } from '../../components/secretstores/vault/driver.ts'
import { type VaultDouble, vaultDouble } from '../../components/secretstores/vault/testing.ts'
import { createLogger } from '../../telemetry/log.ts'
import { openForTest } from '../testing/role-context.ts'
import { openSecretFiles } from './secret-files.ts'

// The same was driven by hand with Vault's own core 1.14 and its engine for RabbitMQ.

async function bed(t: TestContext, lease: Partial<VaultDouble['lease']>, own: object = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-leases-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const vault = await vaultDouble()
  t.after(() => vault[Symbol.asyncDispose]())
  Object.assign(vault.lease, lease)
  const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
  const properties = { vaultAddr: vault.url, vaultToken: 'root' }
  const store = driver.create({ name: 'vault', type: '', version: 'v1', properties, appId: 'app', namespace: '', log })
  t.after(() => store[Symbol.asyncDispose]())
  await store.init(AbortSignal.timeout(5000))
  const files = [
    { path: 'user', secret: 'rabbit/creds/app', key: 'username' },
    { path: 'url', template: '{{ with secret "rabbit/creds/app" }}amqp://{{ .Data.username }}@host{{ end }}' },
  ]
  const spec = { secretStore: 'vault', folder, refresh: '1h', leases: { paths: ['rabbit/'] }, files, ...own }
  const open = (secretStore: SecretStore = store) =>
    openForTest(openSecretFiles, 'SecretFiles', spec, { components: { secretStore: () => secretStore } })
  const read = (name: string) => readFileSync(join(folder, name), 'utf8')
  const counts = () => ({
    reads: vault.asked.filter((line) => line === 'GET /v1/rabbit/creds/app').length,
    renewals: vault.asked.filter((line) => line.endsWith('/renew')).length,
  })
  return { vault, open, read, counts }
}

test('what is leased is one for all files, is renewed before it ends, and stays as it is', async (t) => {
  const { vault, open, read, counts } = await bed(t, { ttl: 0.3 })
  await using opened = await open()
  assert.deepEqual([read('user'), read('url')], ['user-1', 'amqp://user-1@host'])
  await opened.until(() => (counts().renewals >= 4 ? true : undefined))
  assert.deepEqual([read('user'), counts().reads, vault.leases.size], ['user-1', 1, 1])
  assert.ok([...vault.leases.values()].every(({ ends }) => ends > Date.now()))
  assert.match(String(opened.role.metrics?.()), /outrider_secretfiles_leases\{name="test"\} 1\n/)
  assert.equal(opened.role.status?.().rounds, 1)
  assert.ok(!opened.log.some((line) => line.includes('hunter2') || line.includes('rabbit/creds/app/1')))
})

test('near its maximum it is asked for anew, while what was before still holds', async (t) => {
  const { vault, open, read } = await bed(t, { ttl: 2, max: 2 })
  await using opened = await open()
  await opened.until(() => (read('user') === 'user-2' ? true : undefined))
  const [first, second] = [...vault.leases.values()]
  assert.ok(first && second && first.ends > second.began, 'the first ended before there was a second')
  assert.equal(read('url'), 'amqp://user-2@host')
})

test('what cannot be renewed, was revoked or is refused is asked for anew', async (t) => {
  const { vault, open, read, counts } = await bed(t, { ttl: 0.3, renewable: false })
  await using opened = await open()
  await opened.until(() => (read('user') === 'user-2' ? true : undefined))
  assert.equal(counts().renewals, 0)
  vault.lease.renewable = true
  await opened.until(() => (counts().renewals > 0 ? true : undefined))
  const newest = [...vault.leases.values()].at(-1)
  const before = vault.leases.size
  assert.ok(newest)
  newest.revoked = true
  await opened.until(() => (read('user') === `user-${before + 1}` ? true : undefined))
  assert.ok(opened.log.some((line) => line.includes('the lease of rabbit/creds/app is over') && line.includes('lease not found')))
})

test('while Vault is away what is held stays, and it is renewed when Vault is back in time', async (t) => {
  const { vault, open, read, counts } = await bed(t, { ttl: 6 })
  await using opened = await open()
  vault.sealed = true
  const { error } = await opened.until(() => opened.reports.find(({ state }) => state === 'retrying'))
  assert.match(String(error), /the lease of rabbit\/creds\/app cannot be renewed: .*status 503/)
  vault.sealed = false
  await opened.until(() => (opened.reports.at(-1)?.state === 'up' ? true : undefined))
  assert.deepEqual([read('user'), counts().reads], ['user-1', 1])
  assert.ok(Number(vault.leases.get('rabbit/creds/app/1')?.ends) > Date.now() + 4000)
})

test('leases are given back at the end when that is asked for, and when nothing came of them', async (t) => {
  const asked = await bed(t, {}, { leases: { paths: ['rabbit/'], revoke: true } })
  await (await asked.open())[Symbol.asyncDispose]()
  assert.equal(asked.vault.leases.get('rabbit/creds/app/1')?.revoked, true)
  const not = await bed(t, {})
  await (await not.open())[Symbol.asyncDispose]()
  assert.equal(not.vault.leases.get('rabbit/creds/app/1')?.revoked, undefined)
  const files = [
    { path: 'user', secret: 'rabbit/creds/app', key: 'username' },
    { path: 'other', secret: 'nope', key: 'x' },
  ]
  const failing = await bed(t, {}, { files })
  await assert.rejects(failing.open(), /nope/)
  assert.equal(failing.vault.leases.get('rabbit/creds/app/1')?.revoked, true)
})

test('a store that leases nothing is named', async (t) => {
  const { open } = await bed(t, {})
  const plain = { get: async () => ({}) } as unknown as SecretStore
  await assert.rejects(open(plain), /the secret store vault leases nothing: spec\.leases is for secretstores\.hashicorp\.vault/)
})
