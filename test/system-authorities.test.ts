import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { testAuthority } from './servers/certificates.ts'
import { startSidecar } from './sidecar.ts'

// Whom a real outriderd trusts over TLS that names no authority, by what its environment says of the system's.
const home = mkdtempSync(join(tmpdir(), 'outrider-authorities-'))
const authority = testAuthority()
const server = createServer(authority.issue('localhost'), (_, response) => response.end('served'))
const NONE = { SSL_CERT_FILE: join(home, 'none.pem'), SSL_CERT_DIR: join(home, 'none'), NODE_EXTRA_CA_CERTS: '' }

before(async () => {
  for (const folder of ['none', 'other', 'trusted']) mkdirSync(join(home, folder))
  writeFileSync(join(home, 'none.pem'), '')
  writeFileSync(join(home, 'trusted.pem'), authority.ca)
  writeFileSync(join(home, 'trusted', 'ours.crt'), authority.ca)
  writeFileSync(join(home, 'trusted', 'README'), 'no certificate')
  writeFileSync(join(home, 'other', 'other.crt'), testAuthority().ca)
  server.listen(0, 'localhost')
  await once(server, 'listening')
})

after(() => {
  server.closeAllConnections()
  server.close()
  rmSync(home, { recursive: true, force: true })
})

/** The sidecar's answer to a call of the server. */
async function call(appId: string, env: Record<string, string>): Promise<{ status: number; text: string }> {
  await using sidecar = await startSidecar({ appId, dataDir: home, env: { ...NONE, ...env } })
  const url = `https://localhost:${(server.address() as AddressInfo).port}`
  const reply = await fetch(`${sidecar.http}/v1.0/invoke/${url}/method/x`)
  return { status: reply.status, text: await reply.text() }
}

const TRUSTED: readonly (readonly [name: string, env: Record<string, string>])[] = [
  ['a file of the system', { SSL_CERT_FILE: join(home, 'trusted.pem') }],
  ['a directory of the system', { SSL_CERT_DIR: join(home, 'trusted') }],
  ['the second of two directories', { SSL_CERT_DIR: `${join(home, 'other')}:${join(home, 'trusted')}` }],
  ['the first of two directories', { SSL_CERT_DIR: `${join(home, 'trusted')}:${join(home, 'absent')}` }],
  ["what Node's own variable adds", { NODE_EXTRA_CA_CERTS: join(home, 'trusted.pem') }],
]

for (const [name, env] of TRUSTED)
  test(`trusted: ${name}`, async () => {
    assert.deepEqual(await call('trusting', env), { status: 200, text: 'served' })
  })

test('not trusted: an authority that stands nowhere', async () => {
  const { status, text } = await call('distrusting', { SSL_CERT_DIR: join(home, 'other') })
  assert.equal(status, 500)
  assert.match(text, /certificate/)
})

test('no certificate is read before TLS is spoken', async () => {
  const pipe = join(home, 'pipe')
  execFileSync('mkfifo', [pipe])
  await using _ = await startSidecar({ appId: 'plain', dataDir: home, embedded: true, env: { ...NONE, SSL_CERT_FILE: pipe } })
  // A pipe without a reader cannot be opened for writing; whoever had begun to read it would wait in it until now.
  assert.throws(() => openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK), { code: 'ENXIO' })
})
