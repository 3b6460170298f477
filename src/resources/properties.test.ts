import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../telemetry/log.ts'
import type { ComponentResource, NameValue } from './kinds.ts'
import { type GetSecret, resolveProperties, secretStoresOf } from './properties.ts'

function resource(metadata: NameValue[], secretStore?: string): ComponentResource {
  const source = { file: 'a.yaml', line: 1 }
  return {
    name: 'c',
    namespace: '',
    scopes: [],
    source,
    type: 'state.redis',
    version: 'v1',
    metadata,
    ignoreErrors: false,
    initTimeoutMs: 5000,
    auth: { secretStore },
  }
}

async function resolve(component: ComponentResource, getSecret: GetSecret = async () => undefined, env: Record<string, string> = {}) {
  const lines: string[] = []
  const log = createLogger({ level: 'debug', json: false, appId: 'orders', version: '0', write: (line) => lines.push(line) })
  const context = { appId: 'orders', namespace: 'shop', podName: env.POD_NAME ?? '', env, log }
  return { ...(await resolveProperties(component, getSecret, context)), lines }
}

test('a secret fills in, its key defaulting to its name', async () => {
  const asked: string[] = []
  const getSecret: GetSecret = async (store, name) => {
    asked.push(`${store}/${name}`)
    return { redis: 'one', pw: 'two' }
  }
  const component = resource(
    [
      { name: 'a', secretKeyRef: { name: 'redis' } },
      { name: 'b', secretKeyRef: { name: 'redis', key: 'pw' } },
    ],
    'vault',
  )
  assert.deepEqual((await resolve(component, getSecret)).properties, { a: 'one', b: 'two' })
  assert.deepEqual(asked, ['vault/redis', 'vault/redis'])
  assert.deepEqual(secretStoresOf(component), ['vault'])
})

test('a missing secret, a failing store and an unnamed store are logged by name and the rest goes on', async () => {
  const pairs = [
    { name: 'pw', secretKeyRef: { name: 'redis' } },
    { name: 'host', value: 'h' },
  ]
  const missing = await resolve(resource(pairs, 'vault'))
  assert.deepEqual(missing.properties, { host: 'h' })
  assert.match(missing.lines.join(), /secret redis in store vault has no field redis/)
  const failing = await resolve(resource(pairs, 'vault'), () => Promise.reject(new Error('sealed')))
  assert.match(failing.lines.join(), /store vault: sealed/)
  const unnamed = await resolve(resource(pairs))
  assert.match(unnamed.lines.join(), /set auth\.secretStore/)
  assert.deepEqual(secretStoresOf(resource(pairs)), [])
})

test('envRef reads the environment except what is denied', async () => {
  const pairs = ['PLAIN', 'APP_API_TOKEN', 'DAPR_API_TOKEN', 'HIDDEN'].map((envRef) => ({ name: envRef, envRef }))
  const env = { PLAIN: '1', APP_API_TOKEN: '2', DAPR_API_TOKEN: '3', HIDDEN: '4' }
  assert.deepEqual((await resolve(resource(pairs), undefined, env)).properties, { PLAIN: '1', HIDDEN: '4' })
  assert.deepEqual((await resolve(resource(pairs), undefined, { ...env, DAPR_ENV_KEYS: 'PLAIN OTHER' })).properties, { PLAIN: '1' })
})

test('templates are filled in, a uuid anew each time', async () => {
  const { properties, namespaced } = await resolve(
    resource([
      { name: 'id', value: '{appID}-{namespace}-{podName}' },
      { name: 'u', value: '{uuid} {uuid}' },
    ]),
    undefined,
    { POD_NAME: 'pod-0' },
  )
  assert.equal(properties.id, 'orders-shop.orders-pod-0')
  const [first, second] = (properties.u ?? '').split(' ')
  assert.match(first ?? '', /^[0-9a-f-]{36}$/)
  assert.notEqual(first, second)
  assert.equal(namespaced, true)
})

test('{podName} without POD_NAME fails and says what to set', async () => {
  await assert.rejects(resolve(resource([{ name: 'consumerID', value: '{podName}' }])), /consumerID.*POD_NAME is not set/)
})
