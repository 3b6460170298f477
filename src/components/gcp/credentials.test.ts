import assert from 'node:assert/strict'
import { generateKeyPairSync, verify } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { parseMetadata } from '../metadata.ts'
import { GoogleCredentials } from './credentials.ts'
import { googleFields, readIdentity } from './settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-google-'))
const asked: { path: string; flavor: unknown; form: URLSearchParams }[] = []
let status = 200
const server = createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (part: string) => {
    body += part
  })
  request.on('end', () => {
    asked.push({ path: request.url ?? '', flavor: request.headers['metadata-flavor'], form: new URLSearchParams(body) })
    const reply =
      status === 200
        ? { access_token: `token-${asked.length}`, expires_in: 3599 }
        : { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' }
    response.writeHead(status).end(JSON.stringify(reply))
  })
}).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
after(() => {
  server.close()
  rmSync(folder, { recursive: true, force: true })
})
const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const of = (properties: Record<string, string>, env: NodeJS.ProcessEnv = {}) =>
  new GoogleCredentials(readIdentity(parseMetadata(googleFields, properties), { HOME: folder, ...env }), env)

describe('Google credentials', () => {
  const account = { private_key_id: 'k1', client_email: 'me@p.iam', token_uri: `http://${host}/token` }

  it('sign in with a service account’s key, of metadata or of the file that the environment names', async () => {
    const file = join(folder, 'key.json')
    writeFileSync(file, JSON.stringify({ type: 'service_account', private_key: pem, ...account }))
    for (const credentials of [
      of({ ...account, private_key: pem.replaceAll('\n', '\\n') }),
      of({}, { GOOGLE_APPLICATION_CREDENTIALS: file }),
    ]) {
      await using one = credentials
      assert.equal(await one.token(), await one.token())
      const form = asked.at(-1)?.form
      assert.equal(form?.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer')
      const [head, body, signature] = (form?.get('assertion') ?? '').split('.') as [string, string, string]
      const { iat, ...claims } = JSON.parse(Buffer.from(body, 'base64url').toString())
      assert.deepEqual(JSON.parse(Buffer.from(head, 'base64url').toString()), { alg: 'RS256', typ: 'JWT', kid: 'k1' })
      const scope = 'https://www.googleapis.com/auth/cloud-platform'
      assert.deepEqual(claims, { iss: 'me@p.iam', scope, aud: `http://${host}/token`, exp: iat + 3600 })
      assert.ok(verify('sha256', Buffer.from(`${head}.${body}`), rsa.publicKey, Buffer.from(signature, 'base64url')))
    }
    assert.equal(asked.length, 2)
  })

  it('are the machine’s without any', async () => {
    await using machine = of({}, { GCE_METADATA_HOST: host })
    assert.match(String(await machine.token()), /^token-/)
    assert.equal(asked.at(-1)?.flavor, 'Google')
    assert.match(asked.at(-1)?.path ?? '', /^\/computeMetadata\/v1\/instance\/service-accounts\/default\/token\?/)
    await using none = of({}, { GCE_METADATA_HOST: '127.0.0.1:1' })
    await assert.rejects(none.token(), /could not find default credentials: .*no answer of 127\.0\.0\.1:1/)
  })

  it('say what is wrong, and nothing of a key', async () => {
    status = 400
    await using refused = of({ ...account, private_key: pem })
    await assert.rejects(refused.token(), { message: `${host} gave no token: status 400: Invalid JWT Signature.` })
    status = 200
    const file = join(folder, 'broken.json')
    for (const [text, words] of [
      ['{"private_key": "canary', /it is no JSON object$/],
      ['{"type": "external_account"}', /credentials of type external_account are not supported: use service_account or authorized_user$/],
    ] as const) {
      writeFileSync(file, text)
      assert.throws(() => of({}, { GOOGLE_APPLICATION_CREDENTIALS: file }), words)
    }
    assert.throws(() => of({}, { GOOGLE_APPLICATION_CREDENTIALS: join(folder, 'none') }), /ENOENT/)
  })
})
