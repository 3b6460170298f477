import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, it } from 'node:test'
import { secretManager } from '../../../../test/servers/clouds.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { secretStoreConformance } from '../../../blocks/secrets/conformance.ts'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { bytes, message, nested, string } from '../../../transport/grpc/message.ts'
import { GoogleService } from '../../gcp/service.ts'
import type { Identity } from '../../gcp/settings.ts'
import { driver } from './driver.ts'

// A server of our own: what is listed is all that there is.
const server = await ownServer(secretManager)
const address = server?.address ?? '127.0.0.1:1'
after(() => server?.stop())
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

let token = 'token-1'
const tokens = createServer((_, response) => response.end(JSON.stringify({ access_token: token, expires_in: 3600 }))).listen(0, '127.0.0.1')
await new Promise((resolve) => tokens.once('listening', resolve))
after(() => tokens.close())
const tokenUri = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`
const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

async function open(properties: Record<string, string> = {}): Promise<SecretStore> {
  const account = { type: 'service_account', private_key_id: 'k', private_key: key, client_email: 'e', token_uri: tokenUri }
  const all = { project_id: 'p', endpoint: `http://${address}`, ...account, ...properties }
  const common = { name: 's', type: 'secretstores.gcp.secretmanager', version: 'v1', appId: 'app', namespace: '', log }
  const store = driver.create({ ...common, properties: all })
  try {
    await store.init(AbortSignal.timeout(5000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

/** Among all, a secret's name is whole. */
const short = (name: string) => name.replace('projects/p/secrets/', '')
function shortened(store: SecretStore): SecretStore {
  return {
    features: store.features,
    init: (signal) => store.init(signal),
    ping: async (signal) => store.ping?.(signal),
    get: (name, metadata) => store.get(name, metadata),
    async bulkGet(metadata) {
      const all = Object.entries(await store.bulkGet(metadata))
      return Object.fromEntries(all.map(([name, values]) => [short(name), { [short(name)]: values[name] ?? '' }]))
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

if (server) {
  const identity: Identity = { kind: 'account', email: 'e', keyId: 'k', key, tokenUri }
  await using service = new GoogleService({
    package: 'google.cloud.secretmanager.v1',
    address,
    secure: false,
    identity,
    maxMessage: 1 << 20,
  })
  const Any = message('test.Any', { name: string(1) })
  const Create = message('test.Create', { parent: string(1), secretId: string(2) })
  const Add = message('test.Add', { parent: string(1), payload: nested(2, message('test.Payload', { data: bytes(1) })) })
  const made = new Set<string>()
  const put = async (name: string, value: string) => {
    const create = { parent: 'projects/p', secretId: name }
    if (!made.has(name)) await service.call('SecretManagerService/CreateSecret', 'parent=projects/p', Create, Any, create)
    made.add(name)
    const add = { parent: `projects/p/secrets/${name}`, payload: { data: Buffer.from(value) } }
    await service.call('SecretManagerService/AddSecretVersion', `parent=${add.parent}`, Add, Any, add)
  }
  for (const [name, value] of Object.entries({ conftestsecret: 'abcd', secondsecret: 'efgh', login: 'first' })) await put(name, value)
  await put('login', 'second ü')
  for (let number = 0; number < 110; number++) await put(`many-${number}`, `of ${number}`)
  secretStoreConformance('secretstores.gcp.secretmanager (SDK’s server)', async () => shortened(await open()))
}

describe('secretstores.gcp.secretmanager', { skip: server === undefined ? help(secretManager) : false }, () => {
  it('gives the newest version of a secret, or the one that is asked for', async () => {
    await using store = await open()
    assert.deepEqual(await store.get('login', {}), { login: 'second ü' })
    assert.deepEqual(await store.get('login', { version_id: '1' }), { login: 'first' })
  })

  it('gives all secrets by their whole names, of more than a page', async () => {
    await using store = await open()
    const all = await store.bulkGet({})
    assert.equal(Object.keys(all).length, 113)
    assert.deepEqual(all['projects/p/secrets/many-109'], { 'projects/p/secrets/many-109': 'of 109' })
  })

  it('asks for another token when Google does not take the one it has', async () => {
    token = 'stale'
    await using store = await open()
    token = 'token-2'
    assert.deepEqual(await store.get('login', {}), { login: 'second ü' })
  })

  it('says what Google says, and nothing of the key', async () => {
    await using store = await open()
    await assert.rejects(store.get('nosuch', {}), /failed to access secret version: Secret \[projects\/p\/secrets\/nosuch\] not found/)
    await assert.rejects(store.get('', {}), { message: 'missing secret name in request' })
    await assert.rejects(open({ project_id: '' }), { message: 'missing property `project_id` in metadata' })
    await assert.rejects(open({ client_email: '' }), { message: 'missing property `client_email` in metadata' })
    await assert.rejects(open({ token_uri: 'http://127.0.0.1:1/' }), /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await using away = await open({ endpoint: 'http://127.0.0.1:1' })
    await assert.rejects(away.get('login', {}), /failed to access secret version: .*ECONNREFUSED/)
  })
})
