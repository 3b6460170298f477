import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { openResolver } from '../resolver-registry.ts'
import { startConsulAgent } from './consul-harness.ts'

const lines: string[] = []
const log = { info: (line: string) => lines.push(line), warn: (line: string) => lines.push(line), debug() {}, error() {} } as never
const context = { appId: 'orders', namespace: 'default', registryFile: '', log }
const self = { appId: 'orders', namespace: 'default', host: '10.0.0.4', port: 50_002, httpPort: 3500, appPort: 8080 }

async function open(t: TestContext, configuration: object) {
  const resolver = await openResolver({ component: 'hashicorp.consul', version: 'v1', configuration }, context)
  t.after(() => resolver[Symbol.asyncDispose]())
  return resolver
}

test('a sidecar registers as daprd does, is found by others, and leaves', async (t) => {
  await using agent = await startConsulAgent({ token: 's3cret' })
  const client = { Address: `127.0.0.1:${agent.port}`, Token: 's3cret', Datacenter: 'dc1' }
  const resolver = await open(t, { client, selfRegister: true, selfDeregister: true, tags: ['a'], meta: { zone: 'b' } })
  const registration = await resolver.register(self)
  assert.deepEqual(agent.services.get('orders-10.0.0.4-3500'), {
    ID: 'orders-10.0.0.4-3500',
    Name: 'orders',
    Address: '10.0.0.4',
    Port: 8080,
    Checks: [
      {
        Name: 'Dapr Health Status',
        CheckID: 'daprHealth:orders-10.0.0.4-3500',
        Interval: '15s',
        HTTP: 'http://10.0.0.4:3500/v1.0/healthz?appid=orders',
      },
    ],
    Tags: ['a'],
    Meta: { zone: 'b', DAPR_PORT: '50002' },
  })
  agent.services.set('v6', { Name: 'orders', Address: 'fd00::1', Meta: { DAPR_PORT: '7' } })
  agent.services.set('node', { Name: 'orders', Meta: { DAPR_PORT: '8' } })
  agent.services.set('odd', { Name: 'orders', Address: 'no host/at all', Meta: { DAPR_PORT: '8' } })
  agent.services.set('sick', { Name: 'orders', Address: '10.0.0.9', Meta: { DAPR_PORT: '9' } })
  agent.critical.add('sick')
  const other = await open(t, { client })
  assert.deepEqual(await other.resolve('orders', ''), [
    { host: '10.0.0.4', port: 50_002 },
    { host: 'fd00::1', port: 7 },
    { host: '127.0.0.1', port: 8 },
  ])
  assert.match(agent.requests.at(-1)?.line ?? '', /^GET \/v1\/health\/service\/orders\?dc=dc1&passing=1&cached=$/)
  await registration[Symbol.asyncDispose]()
  assert.equal(agent.services.has('orders-10.0.0.4-3500'), false)
})

test('what cannot be: unknown app, port missing from meta, no app port, wrong token, no agent', async (t) => {
  await using agent = await startConsulAgent({ token: 's3cret' })
  const client = { address: `127.0.0.1:${agent.port}`, token: 's3cret' }
  const resolver = await open(t, { client, selfRegister: true })
  const failing = (work: () => unknown) => assert.rejects(async () => work(), undefined)
  await assert.rejects(async () => resolver.resolve('nobody', ''), /^Error: no healthy services found with AppID 'nobody'$/)
  // Remembered for a moment, with the same words.
  await assert.rejects(async () => resolver.resolve('nobody', ''), /^Error: no healthy services found with AppID 'nobody'$/)
  assert.equal(agent.requests.filter(({ line }) => line.includes('nobody')).length, 1)
  agent.services.set('x', { Name: 'x', Address: '10.0.0.1' })
  await assert.rejects(async () => resolver.resolve('x', ''), /target service AppID 'x' found but DAPR_PORT missing from meta/)
  await failing(() => resolver.register({ ...self, appPort: undefined as never }))
  await assert.rejects(
    open(t, { client: { address: client.address, token: 'wrong' } }),
    (error: Error) => /failed check on consul agent: Unexpected response code: 403/.test(error.message) && !error.message.includes('wrong'),
  )
  await assert.rejects(open(t, { client: { address: '127.0.0.1:1' } }), /Consul at http:\/\/127.0.0.1:1 cannot be reached/)
})

test('an advanced registration is passed on as it is, with our port', async (t) => {
  await using agent = await startConsulAgent()
  const resolver = await open(t, {
    client: { address: `http://127.0.0.1:${agent.port}` },
    advancedRegistration: { id: 'mine', name: 'other', kind: 'typical', meta: { a: 'b' } },
    daprPortMetaKey: 'PORT',
  })
  await resolver.register(self)
  assert.deepEqual(agent.services.get('mine'), { ID: 'mine', Name: 'other', kind: 'typical', Meta: { a: 'b', PORT: '50002' } })
})

test('an agent that is gone leaves us with what is known', async (t) => {
  const agent = await startConsulAgent()
  const resolver = await open(t, { client: { address: `127.0.0.1:${agent.port}` }, selfRegister: true })
  await resolver.register(self)
  const found = await resolver.resolve('orders', '')
  await agent[Symbol.asyncDispose]()
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 1500 })
  assert.deepEqual(await resolver.resolve('orders', ''), found)
  resolver.invalidate('orders', '')
  await assert.rejects(async () => resolver.resolve('orders', ''), /failed to query healthy consul services: Consul at/)
})
