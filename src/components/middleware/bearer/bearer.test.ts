import assert from 'node:assert/strict'
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { Middleware, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

interface Key {
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
  extra?: object
}

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve })

/** Signs with what the header says, whatever the key is. */
function token(key: KeyObject, header: { alg: string; kid?: string; crit?: string[] }, claims: object): string {
  const text = `${encode(header)}.${encode(claims)}`
  const { alg } = header
  const digest = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`
  const padding = alg.startsWith('PS') ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : {}
  return `${text}.${sign(digest, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363', ...padding }).toString('base64url')}`
}

describe('bearer', () => {
  const keys: Record<string, Key> = {
    rsa: { kid: 'rsa', ...rsa() },
    p256: { kid: 'p256', ...ec('prime256v1') },
    p384: { kid: 'p384', ...ec('secp384r1') },
    p521: { kid: 'p521', ...ec('secp521r1') },
    ed: { kid: 'ed', ...generateKeyPairSync('ed25519') },
    only512: { kid: 'only512', ...rsa(), extra: { alg: 'RS512' } },
    forEncryption: { kid: 'forEncryption', ...rsa(), extra: { use: 'enc' } },
  }
  const stranger = rsa()
  const server = createServer((request, response) => {
    if (request.url === '/keys')
      response.end(
        JSON.stringify({
          keys: Object.values(keys).map(({ kid, publicKey, extra }) => ({ kid, ...publicKey.export({ format: 'jwk' }), ...extra })),
        }),
      )
    else if (request.url === '/wrong/.well-known/openid-configuration')
      response.end(JSON.stringify({ issuer: 'other', jwks_uri: `${url}/keys` }))
    else if (request.url === '/.well-known/openid-configuration') response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }))
    else response.writeHead(404).end()
  })
  let url = ''
  let bearer: Middleware
  const made = (properties: Record<string, string>) =>
    driver.create({ name: 'b', type: 'middleware.http.bearer', version: 'v1', properties, appId: 'a', namespace: '', log })
  const statusOf = async (authorization: string | undefined) => {
    const request: Partial<MiddlewareRequest> = { header: (name) => (name === 'authorization' ? authorization : undefined) }
    return (await bearer.handle(request as MiddlewareRequest))?.status
  }
  const now = () => Math.floor(Date.now() / 1000)
  const claims = () => ({ iss: url, aud: 'me', exp: now() + 60 })
  const key = (name: string) => (keys[name] as Key).privateKey

  before(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    bearer = made({ issuer: url, audience: 'me' })
    await bearer.init(AbortSignal.timeout(5000))
  })
  after(async () => {
    await bearer[Symbol.asyncDispose]()
    server.closeAllConnections()
    server.close()
  })

  it('lets through tokens of every algorithm whose key is published', async () => {
    const cases = [
      ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [alg, 'rsa']),
      ['ES256', 'p256'],
      ['ES384', 'p384'],
      ['ES512', 'p521'],
      ['EdDSA', 'ed'],
      ['RS512', 'only512'],
    ] as [string, string][]
    for (const [alg, kid] of cases) {
      assert.equal(await statusOf(`Bearer ${token(key(kid), { alg, kid }, claims())}`), undefined, `${alg} with ${kid}`)
      assert.equal(await statusOf(`bEaReR ${token(key(kid), { alg, kid }, { ...claims(), aud: ['x', 'me'] })}`), undefined)
    }
  })

  it('refuses what is no token, or not for it', async () => {
    const good = token(key('rsa'), { alg: 'RS256', kid: 'rsa' }, claims())
    const [head, , signature] = good.split('.')
    const with_ = (changed: object) => `Bearer ${token(key('rsa'), { alg: 'RS256', kid: 'rsa' }, { ...claims(), ...changed })}`
    const wrong: Record<string, string | undefined> = {
      nothing: undefined,
      'another scheme': `Basic ${good}`,
      short: 'Bearer abc.def.g',
      'no signature': `Bearer ${head}.${encode(claims())}.`,
      'other claims': `Bearer ${head}.${encode({ ...claims(), aud: ['me'] })}.${signature}`,
      'alg none': `Bearer ${encode({ alg: 'none', kid: 'rsa' })}.${encode(claims())}.`,
      'alg of the prototype': `Bearer ${encode({ alg: 'constructor', kid: 'rsa' })}.${encode(claims())}.AAAA`,
      'no key id': `Bearer ${token(key('rsa'), { alg: 'RS256' }, claims())}`,
      'a stranger’s key': `Bearer ${token(stranger.privateKey, { alg: 'RS256', kid: 'rsa' }, claims())}`,
      'an unknown key': `Bearer ${token(stranger.privateKey, { alg: 'RS256', kid: 'other' }, claims())}`,
      'a key of another kind': `Bearer ${token(key('p384'), { alg: 'ES256', kid: 'p384' }, claims())}`,
      'a key for another algorithm': `Bearer ${token(key('only512'), { alg: 'RS256', kid: 'only512' }, claims())}`,
      'a key for encryption': `Bearer ${token(key('forEncryption'), { alg: 'RS256', kid: 'forEncryption' }, claims())}`,
      'critical extensions': `Bearer ${token(key('rsa'), { alg: 'RS256', kid: 'rsa', crit: ['b64'] }, claims())}`,
      'another issuer': with_({ iss: `${url}/` }),
      'another audience': with_({ aud: 'you' }),
      'no audience': with_({ aud: undefined }),
      expired: with_({ exp: now() - 301 }),
      'an expiry that is no number': with_({ exp: String(now() + 60) }),
      'too early': with_({ nbf: now() + 320 }),
      'issued later': with_({ iat: now() + 320 }),
    }
    for (const [what, authorization] of Object.entries(wrong)) assert.equal(await statusOf(authorization), 401, what)
    assert.equal(await statusOf(with_({ exp: now() - 240, nbf: now() + 240 })), undefined, 'clocks may be five minutes apart')
  })

  it('does not start without its keys, or with another issuer’s', async () => {
    const start = async (properties: Record<string, string>) => {
      await using started = made(properties)
      await started.init(AbortSignal.timeout(5000))
    }
    await assert.rejects(start({ issuer: `${url}/wrong`, clientID: 'me' }), /the issuer found in it \('other'\) is not the one/)
    await assert.rejects(start({ issuer: `${url}/none`, audience: 'me' }), /OpenID Configuration document .*status code: 404/)
    await assert.rejects(start({ issuer: 'any', audience: 'me', jwksURL: `${url}/none` }), /failed to fetch JWKS/)
    await start({ issuerURL: 'any', audience: 'me', jwksURL: `${url}/keys` })
    assert.throws(() => made({ issuer: url }), /missing required metadata field audience/)
  })
})
