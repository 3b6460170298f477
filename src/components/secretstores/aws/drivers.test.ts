import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { moto } from '../../../../test/servers/moto.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { secretStoreConformance } from '../../../blocks/secrets/conformance.ts'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { accountOf, clientOf } from '../../aws/testing.ts'
import { secretStoreDrivers } from '../registry.ts'

// A server of our own: what is listed is all that there is.
const server = await ownServer(moto)
after(() => server?.stop())
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const SECRETS = { name: 'Secrets Manager', host: 'secretsmanager', id: '', target: { prefix: 'secretsmanager', version: '1.1' } } as const
const SSM = { name: 'SSM', host: 'ssm', id: '', target: { prefix: 'AmazonSSM', version: '1.1' } } as const
const MANAGER = 'secretstores.aws.secretmanager'
const PARAMETERS = 'secretstores.aws.parameterstore'

async function open(type: string, properties: Record<string, string> = {}): Promise<SecretStore> {
  const driver = await secretStoreDrivers.find((row) => row.type === type)?.load()
  if (!driver) throw new Error(`no driver ${type}`)
  const account = accountOf(server?.address ?? '')
  const store = driver.create({
    name: 's',
    type,
    version: 'v1',
    properties: { ...account, ...properties },
    appId: 'app',
    namespace: '',
    log,
  })
  await store.init(AbortSignal.timeout(5000))
  return store
}

const second: Record<string, string> = {}
if (server) {
  await using secrets = clientOf(server.address, SECRETS)
  await using parameters = clientOf(server.address, SSM)
  for (const [name, value] of Object.entries({ conftestsecret: 'abcd', secondsecret: 'efgh', 'db/login': 'first' })) {
    await secrets.json('CreateSecret', { Name: name, SecretString: value, ClientRequestToken: `${name}-${'0'.repeat(40)}` })
    await parameters.json('PutParameter', { Name: name.replace('db', '/db'), Value: value, Type: 'SecureString' })
  }
  const json = '{"user":"u","port":5432,"more":{"a":[1]},"none":null}'
  second.id = String((await secrets.json('PutSecretValue', { SecretId: 'db/login', SecretString: json })).VersionId)
  await secrets.json('CreateSecret', { Name: 'bytes', SecretBinary: 'AAAA' })
  await parameters.json('PutParameter', { Name: '/db/login', Value: 'second', Type: 'SecureString', Overwrite: true })
  for (let number = 0; number < 120; number++) {
    await parameters.json('PutParameter', { Name: `/many/${number}`, Value: `of ${number}`, Type: 'String' })
    await secrets.json('CreateSecret', { Name: `many-${number}`, SecretString: `of ${number}` })
  }
}

const skip = server === undefined ? help(moto) : false
if (server) {
  secretStoreConformance(`${MANAGER} (moto)`, () => open(MANAGER))
  secretStoreConformance(`${PARAMETERS} (moto)`, () => open(PARAMETERS))
}

describe(MANAGER, { skip }, () => {
  it('gives a secret, by name or ARN, the version or stage that is asked for, or its members', async () => {
    await using store = await open(MANAGER)
    assert.deepEqual(store.features, [])
    const latest = await store.get('db/login', {})
    assert.deepEqual(JSON.parse(latest['db/login'] ?? ''), { user: 'u', port: 5432, more: { a: [1] }, none: null })
    assert.deepEqual(await store.get('db/login', { version_stage: 'AWSPREVIOUS' }), { 'db/login': 'first' })
    assert.deepEqual(await store.get('db/login', { version_id: second.id ?? '' }), latest)
    assert.deepEqual(await store.get('bytes', {}), {})
    await using several = await open(MANAGER, { multipleKeyValuesPerSecret: 'true' })
    assert.deepEqual(several.features, ['MULTIPLE_KEY_VALUES_PER_SECRET'])
    assert.deepEqual(await several.get('db/login', {}), { user: 'u', port: '5432', more: '{"a":[1]}', none: 'null' })
    assert.deepEqual(await several.get('conftestsecret', {}), { conftestsecret: 'abcd' })
  })

  it('gives all secrets, of more than a page', async () => {
    await using store = await open(MANAGER)
    const all = await store.bulkGet({})
    assert.equal(Object.keys(all).length, 124)
    assert.deepEqual(all['many-119'], { 'many-119': 'of 119' })
  })
})

describe(PARAMETERS, { skip }, () => {
  it('gives a secret decrypted, the version that is asked for, with a prefix or without', async () => {
    await using store = await open(PARAMETERS)
    assert.deepEqual(await store.get('/db/login', {}), { '/db/login': 'second' })
    assert.deepEqual(await store.get('/db/login', { version_id: '1' }), { '/db/login': 'first' })
    await using prefixed = await open(PARAMETERS, { prefix: '/db/' })
    assert.deepEqual(await prefixed.get('login', {}), { login: 'second' })
    assert.deepEqual(await prefixed.bulkGet({}), { login: { login: 'second' } })
  })

  it('gives all secrets, of more than a page', async () => {
    await using store = await open(PARAMETERS, { prefix: '/many/' })
    const all = await store.bulkGet({})
    assert.equal(Object.keys(all).length, 120)
    assert.deepEqual(all['119'], { '119': 'of 119' })
  })
})

for (const type of [MANAGER, PARAMETERS])
  it(`${type} says what AWS says, and nothing of the key`, { skip }, async () => {
    const { secretKey } = accountOf(server?.address ?? '')
    await using store = await open(type)
    await assert.rejects(store.get('nosuch', {}), /couldn't get secret: operation error .*(ResourceNotFoundException|ParameterNotFound)/)
    await using wrong = await open(type, { secretKey: 'wrong-canary' })
    for (const act of [
      () => wrong.get('db/login', {}),
      () => wrong.bulkGet({}),
      () => wrong.ping?.(AbortSignal.timeout(5000)) ?? Promise.resolve(),
    ])
      await assert.rejects(
        act(),
        ({ message }: Error) => /SignatureDoesNotMatch/.test(message) && !message.includes(secretKey) && !message.includes('canary'),
      )
    await using away = await open(type, { endpoint: 'http://127.0.0.1:1' })
    await assert.rejects(away.get('db/login', {}), /couldn't get secret: operation error .*, no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await assert.rejects(open(type, { endpoint: 'moto' }), /endpoint: "moto" is not an http or https URL/)
  })
