import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { stringify } from 'yaml'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

// The one call of the API that the driver makes, as Kubernetes documents it: no cluster can run here.
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const raw = randomBytes(32)
const data: Record<string, Buffer | string> = {
  pem: rsa.export({ type: 'pkcs8', format: 'pem' }),
  jwk: JSON.stringify(rsa.export({ format: 'jwk' })),
  raw,
  base64: raw.toString('base64'),
  broken: '{"canary-of-a-key":',
  empty: '',
}
const asked: string[] = []
const server = createServer((request, response) => {
  asked.push(request.url ?? '')
  const answer = (status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  if (request.headers.authorization !== 'Bearer canary') return answer(401, { kind: 'Status', message: 'Unauthorized' })
  if (!/^\/api\/v1\/namespaces\/(ours|theirs)\/secrets\/keys$/.test(request.url ?? '')) return answer(404, { message: 'not found' })
  answer(200, {
    data: Object.fromEntries(Object.entries(data).map(([name, value]) => [name, Buffer.from(value as string).toString('base64')])),
  })
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const folder = mkdtempSync(join(tmpdir(), 'outrider-kube-keys-'))
after(() => {
  server.close()
  server.closeAllConnections()
  rmSync(folder, { recursive: true })
})

async function open(properties: Record<string, string>, token = 'canary', port = (server.address() as AddressInfo).port) {
  const kubeconfigPath = join(folder, `${token}-${port}`)
  const config = {
    'current-context': 'here',
    contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: 'u', user: { token } }],
  }
  writeFileSync(kubeconfigPath, stringify(config))
  const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
  const common = { name: 'keys', type: 'crypto.dapr.kubernetes.secrets', version: 'v1', appId: 'app', namespace: '', log }
  const provider = driver.create({ ...common, properties: { kubeconfigPath, ...properties } })
  await provider.init(AbortSignal.timeout(5000))
  return provider
}

test('keys wrap and unwrap by namespace, secret and member, whatever form they have', async () => {
  await using provider = await open({ defaultNamespace: 'ours' })
  const key = randomBytes(32)
  for (const [name, algorithm] of [
    ['keys/pem', 'RSA-OAEP-256'],
    ['theirs/keys/jwk', 'RSA-OAEP-256'],
    ['keys/raw', 'A256KW'],
  ] as const)
    assert.deepEqual(await provider.unwrapKey(await provider.wrapKey(key, algorithm, name), algorithm, name), key)
  // The same key in another form.
  assert.deepEqual(await provider.unwrapKey(await provider.wrapKey(key, 'A256KW', 'keys/raw'), 'A256KW', 'ours/keys/base64'), key)
  assert.deepEqual(await provider.unwrapKey(await provider.wrapKey(key, 'RSA-OAEP-256', 'keys/pem'), 'RSA-OAEP-256', 'keys/jwk'), key)
  await provider.ping?.(AbortSignal.timeout(5000))
})

test('names that are none, keys that are not there or broken are told without showing them', async () => {
  await using provider = await open({ defaultNamespace: 'ours' })
  await using bare = await open({})
  const wrap = (name: string, from = provider) => from.wrapKey(raw, 'A256KW', name)
  for (const name of ['raw', 'a/b/c/d', '']) await assert.rejects(wrap(name), /required namespace\/secretName\/key or secretName\/key/)
  await assert.rejects(wrap('keys/raw', bare), /key doesn't have a namespace and the default namespace isn't set/)
  await assert.rejects(wrap('nosuch/raw'), /secrets "nosuch" not found/)
  for (const name of ['keys/nosuch', 'keys/empty', 'keys/__proto__', '../../keys', 'keys/', '/raw/x']) {
    const before = asked.length
    await assert.rejects(wrap(name), /key not found|doesn't have a namespace/)
    assert.ok(asked.slice(before).every((url) => url.endsWith('/secrets/keys')))
  }
  await assert.rejects(
    wrap('keys/broken'),
    ({ message }: Error) => /failed to parse key from secret: 'keys\/broken' cannot be read/.test(message) && !message.includes('canary'),
  )
})

test('what the cluster refuses, and a cluster that is not there, is told without the token', async () => {
  await using wrong = await open({ defaultNamespace: 'ours' }, 'canary-2')
  await assert.rejects(wrong.wrapKey(raw, 'A256KW', 'keys/raw'), ({ message }: Error) => /401/.test(message) && !message.includes('canary'))
  await using away = await open({ defaultNamespace: 'ours' }, 'canary', 1)
  await assert.rejects(away.wrapKey(raw, 'A256KW', 'keys/raw'), /cannot reach Kubernetes at 127\.0\.0\.1:1/)
})
