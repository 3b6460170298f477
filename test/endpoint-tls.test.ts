import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { issueCertificate } from '../src/transport/identity/certificate.ts'
import { startSidecar } from './sidecar.ts'

// An address outside that asks for a client's certificate, which stands in a secret store.
const home = mkdtempSync(join(tmpdir(), 'outrider-endpoint-'))
after(() => rmSync(home, { recursive: true, force: true }))

const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
const root = generateKeyPairSync('ed25519')
const top = { name: 'root', ...root }
const ca = issueCertificate({ ...span, publicKey: root.publicKey, subject: 'root', issuer: top, authority: true })

function issue(name: string): { cert: string; key: string } {
  const pair = generateKeyPairSync('ed25519')
  const cert = issueCertificate({
    ...span,
    publicKey: pair.publicKey as KeyObject,
    subject: name,
    issuer: top,
    dns: ['localhost'],
    addresses: ['127.0.0.1'],
  })
  return { cert, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

test('the root, certificate and key of an HTTPEndpoint come from a secret store', async () => {
  const server = createServer({ ...issue('server'), ca, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const { subject } = (request.socket as TLSSocket).getPeerCertificate()
    response.end(`${request.url} for ${subject.O}`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = issue('the client')
  const secrets = join(home, 'secrets.json')
  writeFileSync(secrets, JSON.stringify({ ca, cert: client.cert, key: client.key }), { mode: 0o600 })
  const resources = join(home, 'resources')
  mkdirSync(resources)
  const secret = (key: string) => ({ secretKeyRef: { name: key, key } })
  const meta = (name: string) => ({ apiVersion: 'dapr.io/v1alpha1', metadata: { name } })
  const store = { type: 'secretstores.local.file', version: 'v1', metadata: [{ name: 'secretsFile', value: secrets }] }
  const write = (file: string, resource: object) => writeFileSync(join(resources, file), JSON.stringify(resource))
  write('store.yaml', { ...meta('files'), kind: 'Component', spec: store })
  const baseUrl = `https://127.0.0.1:${port}`
  write('with.yaml', {
    ...meta('with'),
    kind: 'HTTPEndpoint',
    auth: { secretStore: 'files' },
    spec: { baseUrl, clientTLS: { rootCA: secret('ca'), certificate: secret('cert'), privateKey: secret('key') } },
  })
  write('without.yaml', {
    ...meta('without'),
    kind: 'HTTPEndpoint',
    auth: { secretStore: 'files' },
    spec: { baseUrl, clientTLS: { rootCA: secret('ca') } },
  })
  try {
    await using sidecar = await startSidecar({ appId: 'endpoint-caller', dataDir: home, resources })
    const call = (name: string) => fetch(`${sidecar.http}/v1.0/invoke/${name}/method/orders/1`)
    const served = await call('with')
    assert.equal(`${served.status} ${await served.text()}`, '200 /orders/1 for the client')
    assert.equal((await call('without')).status, 500, 'a server that wants a certificate is not reached without one')
    assert.ok(!sidecar.log().includes(client.key.split('\n')[1] as string))
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
