import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, hkdfSync, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { driver } from '../../components/crypto/localstorage/driver.ts'
import type { Named } from '../../components/sets.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createCryptoBlock } from './block.ts'
import type { CryptoProvider } from './driver.ts'

interface Recorded {
  keys: Record<string, string>
  documents: { keyName: string; keyWrapAlgorithm: string; cipher: string; plain: string; document: string }[]
}
const recorded = JSON.parse(readFileSync(new URL('./testdata/daprd-1.18.3.json', import.meta.url), 'utf8')) as Recorded
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
  ['sym256', 'aes'],
  ['rsa.pem', 'RSA-OAEP-256'],
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
  await assert.rejects(open(flipped), { name: 'SegmentError', message: /segment 3: failed to decrypt/ })
  const lastSegment = 200_000 - 3 * 65_536 + 16
  await assert.rejects(open(document.subarray(0, document.length - lastSegment)), {
    name: 'SegmentError',
    message: /segment 2: failed to decrypt/,
  })
  await assert.rejects(open(Buffer.from(document.toString('latin1').replace('"cph":1', '"cph":2'), 'latin1')), {
    code: 'ERR_CRYPTO',
    message: /failed to validate the document's signature/,
  })
  await assert.rejects(open(Buffer.from('no document')), { code: 'ERR_CRYPTO' })
})

test('the key may be left out of the document and named at decryption', async () => {
  const document = await all(block.encrypt('keys', { ...aes, omitDecryptionKeyName: true }, pieces(Buffer.from('x'), 1)))
  await assert.rejects(all(block.decrypt('keys', {}, pieces(document, 100))), {
    code: 'ERR_CRYPTO',
    message: /does not contain a key name/,
  })
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
  await refused({ keyName: 'none', keyWrapAlgorithm: 'AES' }, /failed to load key 'none': no such file or directory$/)
  await refused({ keyName: '../sym256', keyWrapAlgorithm: 'AES' }, /cannot contain '..'/)
  await refused({ keyName: 'signing.json', keyWrapAlgorithm: 'AES' }, /key cannot perform the 'wrapKey' operation/)
  await refused({ keyName: 'rsa-public.json', keyWrapAlgorithm: 'AES' }, /key cannot be used with algorithm 'A256KW'/)
  await refused({ keyName: 'sym128', keyWrapAlgorithm: 'AES' }, /key type mismatch/)
  await refused({ keyName: 'rsa.pem', keyWrapAlgorithm: 'AES' }, /key type mismatch/)
  await refused({ keyName: 'sym256', keyWrapAlgorithm: 'RSA' }, /key type mismatch/)
  await refused({ keyName: 'sym256', keyWrapAlgorithm: 'rot13' }, /option Algorithm is not valid: algorithm ROT13 is not supported/)
  assert.throws(() => block.encrypt('nokeys', aes, pieces(Buffer.from('x'), 1)), { code: 'ERR_CRYPTO_PROVIDER_NOT_FOUND', http: 400 })
})

test('AES-CBC without padding is refused as the real daprd refuses it: the format has no place for its vector', async () => {
  for (const [keyName, keyWrapAlgorithm] of [
    ['sym128', 'A128CBC-NOPAD'],
    ['sym192', 'A192CBC-NOPAD'],
    ['sym256', 'A256CBC-NOPAD'],
  ] as const)
    await assert.rejects(all(block.encrypt('keys', { keyName, keyWrapAlgorithm }, pieces(Buffer.from('x'), 1))), {
      message: 'failed to perform operation: failed to wrap the file key: failed to encrypt data: unsupported algorithm',
    })
})

test('text that could be Base64 is Base64 whatever its length, as daprd reads it', async () => {
  writeFileSync(join(folder, 'looks-raw'), 'abcdefghijklmnopqrstuvwxyz012345')
  writeFileSync(join(folder, 'url'), Buffer.alloc(32, 0xfb).toString('base64url'))
  writeFileSync(join(folder, 'neither'), '-+abcdefghijklmnopqrstuvwxyz0123')
  const use = (keyName: string) => all(block.encrypt('keys', { keyName, keyWrapAlgorithm: 'AES' }, pieces(Buffer.from('x'), 1)))
  await assert.rejects(use('looks-raw'), { message: /key type mismatch/ })
  await use('url')
  await use('neither')
})

for (const { keyName, keyWrapAlgorithm, cipher, plain, document } of recorded.documents) {
  test(`a document that daprd made with ${keyWrapAlgorithm} and ${cipher} opens: ${plain.length} bytes`, async () => {
    writeFileSync(join(folder, `daprd-${keyName}`), recorded.keys[keyName] as string)
    assert.equal(
      (await all(block.decrypt('keys', { keyName: `daprd-${keyName}` }, pieces(Buffer.from(document, 'base64'), 17)))).toString(),
      plain,
    )
  })
}
