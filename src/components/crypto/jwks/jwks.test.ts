import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createLogger } from '../../../telemetry/log.ts'
import { createKeySet } from '../key-set.ts'
import { driver } from './driver.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-jwks-'))
after(() => rmSync(folder, { recursive: true }))
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
const oct = (kid: string) => ({ kid, kty: 'oct', k: randomBytes(32).toString('base64url') })
const setOf = (...keys: object[]) => JSON.stringify({ keys })

const open = async (jwks: string) => {
  const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
  const common = { name: 'keys', type: 'crypto.dapr.jwks', version: 'v1', appId: 'app', namespace: 'default', log }
  const component = driver.create({ ...common, properties: { jwks } })
  await component.init(AbortSignal.timeout(5000))
  return component
}

test('keys wrap and unwrap by their kid, given as JSON, Base64 of it, or a file', async () => {
  const jwks = setOf({ ...rsa, kid: 'r' }, oct('s'), { kid: 'odd', kty: 'NEW' })
  const file = join(folder, 'given.json')
  writeFileSync(file, jwks)
  for (const location of [jwks, Buffer.from(jwks).toString('base64'), Buffer.from(jwks).toString('base64').replace(/=+$/, ''), file]) {
    await using component = await open(location)
    const key = randomBytes(32)
    for (const [name, algorithm] of [
      ['r', 'RSA-OAEP-256'],
      ['s', 'A256KW'],
    ] as const)
      assert.deepEqual(await component.unwrapKey(await component.wrapKey(key, algorithm, name), algorithm, name), key)
    await assert.rejects(component.wrapKey(key, 'A256KW', 'odd'), { message: 'failed to retrieve the key encryption key: key not found' })
  }
})

test('what is no key set stops the component, without showing it', async () => {
  await assert.rejects(open('{"secret'), (error: Error) => !error.message.includes('secret') && /is not a URL/.test(error.message))
  await assert.rejects(open('{"other":1}'), /no member "keys"/)
})

test('a file that is replaced is read again, and a broken one leaves the keys as they are', async () => {
  const file = join(folder, 'changing.json')
  const replace = (content: string) => {
    writeFileSync(`${file}.new`, content)
    renameSync(`${file}.new`, file)
  }
  replace(setOf(oct('one')))
  const errors: Error[] = []
  await using keys = createKeySet({
    location: file,
    requestTimeout: 1000,
    minRefreshInterval: 600_000,
    onError: (error) => errors.push(error),
  })
  await keys.load()
  await keys.find('one')
  await assert.rejects(keys.find('two'), { message: 'key not found' })
  replace(setOf(oct('two')))
  await keys.find('two')
  await assert.rejects(keys.find('one'), { message: 'key not found' })
  replace('{')
  await keys.find('two')
  assert.equal(errors.length, 1)
})

test('a URL is fetched again for a key it may hold by now, but not before its interval', async () => {
  let served = setOf(oct('one'))
  let fetched = 0
  const server = createServer((_, response) => {
    fetched++
    response.end(served)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const location = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
  try {
    await using patient = createKeySet({ location, requestTimeout: 1000, minRefreshInterval: 600_000, onError: assert.fail })
    await patient.load()
    served = setOf(oct('one'), oct('two'))
    await assert.rejects(patient.find('two'), { message: 'key not found' })
    assert.equal(fetched, 1)
    await using eager = createKeySet({ location, requestTimeout: 1000, minRefreshInterval: 0, onError: assert.fail })
    await eager.load()
    served = setOf(oct('three'))
    await eager.find('three')
    assert.equal(fetched, 3)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('a URL that answers with an error stops the component', async () => {
  const server = createServer((_, response) => response.writeHead(503).end('down')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await assert.rejects(open(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`), /failed to fetch JWKS: .* answered 503/)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
