import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, it } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { azurite, startAzurite } from '../../../test/servers/azurite.ts'
import { testAuthority } from '../../../test/servers/certificates.ts'
import { help } from '../../../test/servers/server.ts'
import { createLogger } from '../../telemetry/log.ts'
import { driver as queues } from '../bindings/azure-queues/driver.ts'
import { driver as blobs } from '../state/azure-blob/driver.ts'
import { driver as tables } from '../state/azure-tables/driver.ts'
import { ACCOUNT } from './testing.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const folder = mkdtempSync(join(tmpdir(), 'outrider-storage-'))
const there = azurite.available()
if (!there && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(help(azurite))
after(() => rmSync(folder, { recursive: true, force: true }))

it('Blob, Queue and Table Storage take tokens of Entra ID whose claims Azurite checks', {
  skip: there ? false : help(azurite),
}, async (t) => {
  const authority = testAuthority()
  setDefaultCACertificates([...getCACertificates('default'), authority.ca])
  const { cert, key } = authority.issue('localhost')
  const signing = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  writeFileSync(signing.cert, cert)
  writeFileSync(signing.key, key)
  const servers = await Promise.all([startAzurite('blob', signing), startAzurite('queue', signing), startAzurite('table', signing)])
  t.after(() => Promise.all(servers.map((server) => server.stop())))

  let audience = 'https://storage.azure.com'
  const scopes: (string | null)[] = []
  const entra = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      scopes.push(new URLSearchParams(body).get('scope'))
      const now = Math.floor(Date.now() / 1000)
      const claims = { aud: audience, iss: 'https://sts.windows.net/tenant/', iat: now - 5, nbf: now - 5, exp: now + 3600 }
      const token = [{ alg: 'none', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      response.end(JSON.stringify({ access_token: `${token.join('.')}.x`, expires_in: 3600 }))
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => entra.once('listening', resolve))
  t.after(() => entra.close())
  process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(entra.address() as AddressInfo).port}`

  const signed = { accountName: ACCOUNT, azureTenantId: 'T', azureClientId: 'C', azureClientSecret: 'S' }
  const common = { name: 's', version: 'v2', appId: 'app', namespace: '', log }
  const [blob, queue, table] = servers.map((server) => server.address) as [string, string, string]
  const stateOf = () => {
    const properties = { ...signed, endpoint: blob, containerName: `c-${randomUUID()}`, retryCount: '0' }
    return blobs.create({ ...common, type: 'state.azure.blobstorage', properties })
  }
  await using state = stateOf()
  await state.init(AbortSignal.timeout(10_000))
  await state.set({ kind: 'upsert', key: 'k', value: Buffer.from('v'), json: false, metadata: {} })
  assert.equal((await state.get({ key: 'k', metadata: {} }))?.data.toString(), 'v')
  const properties = { ...signed, endpoint: queue, queueName: `q-${randomUUID()}` }
  await using binding = queues.create({ ...common, type: 'bindings.azure.storagequeues', properties })
  await binding.init(AbortSignal.timeout(10_000))
  await binding.invoke?.({ operation: 'create', data: Buffer.from('hello'), metadata: {} })
  const rows = { ...signed, serviceURL: `${table}/${ACCOUNT}`, tableName: `t${randomUUID().replaceAll('-', '')}` }
  await using entities = tables.create({ ...common, type: 'state.azure.tablestorage', properties: rows })
  await entities.init(AbortSignal.timeout(10_000))
  await entities.set({ kind: 'upsert', key: 'k', value: Buffer.from('v'), json: false, metadata: {} })
  assert.equal((await entities.get({ key: 'k', metadata: {} }))?.data.toString(), 'v')
  assert.deepEqual(scopes, Array(3).fill('https://storage.azure.com/.default'))

  audience = 'https://vault.azure.net'
  await using other = stateOf()
  await assert.rejects(
    other.init(AbortSignal.timeout(10_000)),
    /status 40[13], (AuthenticationFailed|AuthorizationFailure|InvalidAuthenticationInfo)/,
  )
})
