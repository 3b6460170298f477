import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, hkdfSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { driver } from '../../components/crypto/localstorage/driver.ts'
import type { Named } from '../../components/sets.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createCryptoBlock } from './block.ts'
import type { CryptoProvider } from './driver.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-crypto-'))
after(() => rmSync(folder, { recursive: true }))
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
writeFileSync(join(folder, 'rsa.pem'), rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }))
writeFileSync(join(folder, 'rsa-public.json'), JSON.stringify({ ...rsa.publicKey.export({ format: 'jwk' }), alg: 'RSA-OAEP-256' }))
writeFileSync(join(folder, 'sym256'), `${randomBytes(32).toString('base64')}\n`)
writeFileSync(join(folder, 'sym192'), randomBytes(24))
writeFileSync(join(folder, 'sym128'), randomBytes(16))
writeFileSync(join(folder, 'signing.json'), JSON.stringify({ kty: 'oct', k: randomBytes(32).toString('base64url'), use: 'sig' }))

const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const component = driver.create({
  name: 'keys',
  type: 'crypto.dapr.localstorage',
  version: 'v1',
  properties: { path: folder },
  appId: 'app',
  namespace: 'default',
  log,
})
await component.init(AbortSignal.timeout(5000))
const components = new Map<string, Named<CryptoProvider>>([
  ['keys', { name: 'keys', type: 'crypto.dapr.localstorage', version: 'v1', component, properties: {} }],
])
const block = createCryptoBlock({ components })

async function* pieces(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
}
async function all(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream))
}
const aes = { keyName: 'sym256', keyWrapAlgorithm: 'aes' }

for (const [keyName, keyWrapAlgorithm] of [
  ['sym256', 'A256KW'],
  ['sym128', 'A128CBC-NOPAD'],
  ['sym192', 'A192CBC-NOPAD'],
  ['sym256', 'A256CBC-NOPAD'],
  ['rsa.pem', 'RSA'],
] as const) {
  test(`a document wrapped with ${keyWrapAlgorithm} opens again`, async () => {
    const plain = randomBytes(100_000)
    const document = await all(block.encrypt('keys', { keyName, keyWrapAlgorithm }, pieces(plain, 999)))
    assert.ok((await all(block.decrypt('keys', {}, pieces(document, 1313)))).equals(plain))
  })
}

for (const cipher of ['aes-gcm', 'chacha20-poly1305']) {
  for (const size of [0, 1, 65_535, 65_536, 65_537, 131_072]) {
    test(`${size} bytes through ${cipher}`, async () => {
      const plain = randomBytes(size)
      const document = await all(block.encrypt('keys', { ...aes, dataEncryptionCipher: cipher }, pieces(plain, 10_000)))
      const head = document.indexOf('\n', document.indexOf('\n', document.indexOf('\n') + 1) + 1) + 1
      assert.equal(document.length - head, size + 16 * Math.ceil(size / 65_536), 'one tag a segment, none for nothing')
      assert.ok((await all(block.decrypt('keys', {}, pieces(document, 4096)))).equals(plain))
    })
  }
}

test('the head is three lines, signed with a key made from the file key', async () => {
  const document = await all(block.encrypt('keys', aes, pieces(Buffer.from('x'), 1)))
  const [scheme, json, mac] = document.toString('latin1').split('\n') as [string, string, string]
  assert.equal(scheme, 'dapr.io/enc/v1')
  const manifest = JSON.parse(json) as Record<string, string | number>
  assert.deepEqual(Object.keys(manifest), ['k', 'kw', 'wfk', 'cph', 'np'])
  assert.deepEqual([manifest.k, manifest.kw, manifest.cph], ['sym256', 1, 1])
  const fileKey = await component.unwrapKey(Buffer.from(String(manifest.wfk), 'base64'), 'A256KW', 'sym256')
  const key = Buffer.from(hkdfSync('sha256', fileKey, '', 'header', 32))
  assert.equal(mac, createHmac('sha256', key).update(`${scheme}\n${json}\n`).digest('base64'))
})

test('a changed, swapped or cut document is refused', async () => {
  const document = await all(block.encrypt('keys', aes, pieces(randomBytes(200_000), 65_536)))
  const open = (data: Buffer) => all(block.decrypt('keys', {}, pieces(data, 50_000)))
  const flipped = Buffer.from(document)
  flipped[flipped.length - 20] = (flipped[flipped.length - 20] as number) ^ 1
  await assert.rejects(open(flipped), { code: 'ERROR', message: /segment 3 is damaged/ })
  const lastSegment = 200_000 - 3 * 65_536 + 16
  await assert.rejects(open(document.subarray(0, document.length - lastSegment)), { code: 'ERROR', message: /segment 2 is damaged/ })
  await assert.rejects(open(Buffer.from(document.toString('latin1').replace('"cph":1', '"cph":2'), 'latin1')), {
    code: 'ERR_CRYPTO',
    message: /signature does not match/,
  })
  await assert.rejects(open(Buffer.from('no document')), { code: 'ERR_CRYPTO' })
})

test('the key may be left out of the document and named at decryption', async () => {
  const document = await all(block.encrypt('keys', { ...aes, omitDecryptionKeyName: true }, pieces(Buffer.from('x'), 1)))
  await assert.rejects(all(block.decrypt('keys', {}, pieces(document, 100))), { code: 'ERR_CRYPTO', message: /names no key/ })
  assert.equal((await all(block.decrypt('keys', { keyName: 'sym256' }, pieces(document, 100)))).toString(), 'x')
  const forPrivate = await all(
    block.encrypt(
      'keys',
      { keyName: 'rsa-public.json', keyWrapAlgorithm: 'RSA', decryptionKeyName: 'rsa.pem' },
      pieces(Buffer.from('y'), 1),
    ),
  )
  assert.equal((await all(block.decrypt('keys', {}, pieces(forPrivate, 100)))).toString(), 'y')
})

test('keys are used only for what they are, and only from their folder', async () => {
  const refused = async (options: { keyName: string; keyWrapAlgorithm: string }, message: RegExp) =>
    assert.rejects(async () => all(block.encrypt('keys', options, pieces(Buffer.from('x'), 1))), { code: 'ERR_CRYPTO', message })
  await refused({ keyName: 'none', keyWrapAlgorithm: 'AES' }, /key none not found/)
  await refused({ keyName: '../sym256', keyWrapAlgorithm: 'AES' }, /not a valid key name/)
  await refused({ keyName: 'signing.json', keyWrapAlgorithm: 'AES' }, /for signatures/)
  await refused({ keyName: 'sym128', keyWrapAlgorithm: 'AES' }, /does not fit A256KW/)
  await refused({ keyName: 'sym256', keyWrapAlgorithm: 'ROT13' }, /invalid key wrap algorithm/)
  assert.throws(() => block.encrypt('nokeys', aes, pieces(Buffer.from('x'), 1)), { code: 'ERR_CRYPTO_PROVIDER_NOT_FOUND', http: 400 })
})
