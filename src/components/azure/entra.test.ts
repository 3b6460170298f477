import assert from 'node:assert/strict'
import { constants, createHash, generateKeyPairSync, verify, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { issueCertificate } from '../../transport/identity/certificate.ts'
import { parseMetadata } from '../metadata.ts'
import { Entra } from './entra.ts'
import { entraFields, environmentField, readEntra } from './entra-settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-entra-'))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Asked {
  method: string | undefined
  path: string
  headers: Record<string, unknown>
  form: URLSearchParams
}

/** A token endpoint: what it was asked, and what it answers. */
async function endpoint(answer: (asked: Asked, count: number) => [number, unknown]) {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      const one = { method: request.method, path: request.url ?? '', headers: request.headers, form: new URLSearchParams(body) }
      asked.push(one)
      const [status, reply] = answer(one, asked.length)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(reply))
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  after(() => server.close())
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const good = (_: Asked, count: number): [number, unknown] => [
  200,
  { access_token: `token-${count}`, expires_in: 3599, token_type: 'Bearer' },
]
const VAULT = 'https://vault.azure.net'
function entra(properties: Record<string, string>, env: NodeJS.ProcessEnv): Entra {
  return new Entra(readEntra(parseMetadata([...entraFields, environmentField], properties)), VAULT, env)
}

describe('Entra ID', () => {
  it('signs in with a client secret, and keeps the token', async () => {
    const { asked, url } = await endpoint(good)
    await using one = entra(
      { tenantId: 'T', clientId: 'C', clientSecret: 'S', azureAuthMethods: 'creds' },
      { AZURE_AUTHORITY_HOST: `${url}/` },
    )
    assert.deepEqual(await Promise.all([one.token(), one.token()]), ['token-1', 'token-1'])
    assert.equal(asked.length, 1)
    assert.deepEqual([asked[0]?.method, asked[0]?.path], ['POST', '/T/oauth2/v2.0/token'])
    assert.deepEqual(Object.fromEntries(asked[0]?.form ?? []), {
      grant_type: 'client_credentials',
      scope: 'https://vault.azure.net/.default',
      client_id: 'C',
      client_secret: 'S',
    })
    one.drop()
    assert.equal(await one.token(), 'token-2')
  })

  it('asks for another token shortly before the end of the first, and again after a failure', async (t) => {
    const { asked, url } = await endpoint((one, count) => (count === 2 ? [503, { error: 'temporarily_unavailable' }] : good(one, count)))
    await using one = entra({ tenantId: 'T', clientId: 'C', clientSecret: 'S' }, { AZURE_AUTHORITY_HOST: url })
    assert.equal(await one.token(), 'token-1')
    const now = Date.now()
    t.mock.method(Date, 'now', () => now + 3_290_000)
    assert.equal(await one.token(), 'token-1')
    t.mock.method(Date, 'now', () => now + 3_310_000)
    await assert.rejects(one.token(), /gave no token: status 503: temporarily_unavailable/)
    assert.equal(await one.token(), 'token-3')
    assert.equal(asked.length, 3)
  })

  it('signs in with a certificate, of metadata or of a file', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const issuer = { name: 'test', ...generateKeyPairSync('ed25519') }
    const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
    const cert = issueCertificate({ ...span, publicKey: rsa.publicKey, subject: 'app', dns: 'app', issuer })
    const key = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' })
    const { asked, url } = await endpoint(good)
    const file = join(folder, 'app.pem')
    writeFileSync(file, `${key}\n${cert}`)
    for (const [name, value] of [
      ['azureCertificate', `${cert}\n${key}`],
      ['spnCertificateFile', file],
    ] as const) {
      await using one = entra({ azureTenantId: 'T', azureClientId: 'C', [name]: value }, { AZURE_AUTHORITY_HOST: url })
      await one.token()
      const form = asked.at(-1)?.form
      assert.equal(form?.get('client_assertion_type'), 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
      const [head, body, signature] = (form?.get('client_assertion') ?? '').split('.') as [string, string, string]
      const certificate = new X509Certificate(cert)
      assert.deepEqual(JSON.parse(Buffer.from(head, 'base64url').toString()), {
        alg: 'PS256',
        typ: 'JWT',
        'x5t#S256': createHash('sha256').update(certificate.raw).digest('base64url'),
      })
      const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
      assert.deepEqual([claims.aud, claims.iss, claims.sub], [`${url}/T/oauth2/v2.0/token`, 'C', 'C'])
      const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
      assert.ok(
        verify('sha256', Buffer.from(`${head}.${body}`), { key: certificate.publicKey, ...padding }, Buffer.from(signature, 'base64url')),
      )
    }
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
    assert.throws(() => entra({ azureCertificate: `${ec}${cert}` }, {}), /azureCertificate: certificate must contain an RSA private key/)
    assert.throws(() => entra({ azureCertificate: 'PFX' }, {}), /it is not PEM; make it so with openssl/)
  })

  it('signs in by a workload identity, reading its token each time', async () => {
    const { asked, url } = await endpoint(good)
    const file = join(folder, 'federated')
    const env = { AZURE_AUTHORITY_HOST: url, AZURE_TENANT_ID: 'T', AZURE_CLIENT_ID: 'C', AZURE_FEDERATED_TOKEN_FILE: file }
    await using one = entra({}, env)
    for (const token of ['first', 'second']) {
      writeFileSync(file, `${token}\n`)
      one.drop()
      await one.token()
      assert.deepEqual([asked.at(-1)?.path, asked.at(-1)?.form.get('client_assertion')], ['/T/oauth2/v2.0/token', token])
    }
  })

  it('signs in by a managed identity of the machine or of App Service', async () => {
    const { asked, url } = await endpoint(() => [200, { access_token: 'own', expires_on: String(Math.floor(Date.now() / 1000) + 3600) }])
    await using machine = entra({ azureClientId: 'C' }, { AZURE_POD_IDENTITY_AUTHORITY_HOST: url })
    assert.equal(await machine.token(), 'own')
    assert.equal(asked[0]?.headers.metadata, 'true')
    const resource = encodeURIComponent(VAULT)
    assert.equal(asked[0]?.path, `/metadata/identity/oauth2/token?api-version=2018-02-01&resource=${resource}&client_id=C`)
    await using service = entra({ azureAuthMethods: 'mi' }, { IDENTITY_ENDPOINT: `${url}/msi`, IDENTITY_HEADER: 'H' })
    await service.token()
    assert.equal(asked[1]?.headers['x-identity-header'], 'H')
    assert.equal(asked[1]?.path, `/msi?api-version=2019-08-01&resource=${resource}`)
  })

  it('says what is wrong, and nothing of the secret', async () => {
    const words = 'AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1'
    const { url } = await endpoint(() => [401, { error: 'invalid_client', error_description: words }])
    await using wrong = entra({ tenantId: 'T', clientId: 'C', clientSecret: 'canary' }, { AZURE_AUTHORITY_HOST: url })
    await assert.rejects(wrong.token(), {
      message: `${new URL(url).host} gave no token: status 401: AADSTS7000215: Invalid client secret provided.`,
    })
    await using none = entra({ tenantId: 'T' }, { AZURE_POD_IDENTITY_AUTHORITY_HOST: 'http://127.0.0.1:1' })
    await assert.rejects(
      none.token(),
      /no suitable token provider for Azure AD; errors: parameters azureClientId.*; missing client certificate; no workload identity: .*; no managed identity: no answer of 127\.0\.0\.1:1/,
    )
    assert.throws(() => entra({ azureAuthMethods: 'none' }, {}), {
      message: "all Azure auth methods have been disabled with auth method 'None'",
    })
    assert.throws(() => entra({ azureAuthMethods: 'magic' }, {}), { message: 'invalid Azure auth method: magic' })
    assert.throws(() => entra({ azureAuthMethods: 'cli' }, {}), /"cli" is not supported here: use clientcredentials/)
  })
})
