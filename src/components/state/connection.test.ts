import assert from 'node:assert/strict'
import { it } from 'node:test'
import { postgresServer } from '../../../test/servers/postgres.ts'
import { freePort } from '../../../test/servers/process.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import type { StateStore } from '../../blocks/state/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { stateDrivers } from './registry.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

async function make(type: string, version: string, properties: Record<string, string>): Promise<StateStore> {
  const driver = await stateDrivers.find((row) => row.type === type)?.load()
  assert.ok(driver)
  return driver.create({ name: 'store', type, version, properties, appId: 'test', namespace: '', log })
}
const signal = () => AbortSignal.timeout(20_000)

it('state.redis says which server it cannot reach', async () => {
  const port = await freePort()
  await using store = await make('state.redis', 'v1', { redisHost: `127.0.0.1:${port}` })
  await assert.rejects(store.init(signal()), new RegExp(`127\\.0\\.0\\.1:${port}`))
})

it('state.postgresql says which server it cannot reach, without the password', async () => {
  const port = await freePort()
  await using store = await make('state.postgresql', 'v2', {
    connectionString: `host=127.0.0.1 port=${port} user=u password='hid den' dbname=d`,
  })
  await assert.rejects(
    store.init(signal()),
    (error: Error) => error.message.includes(`127.0.0.1:${port}/d`) && !error.message.includes('hid'),
  )
})

it('state.redis replaces and reads keys that are no hashes', async (context) => {
  const server = await redisServer()
  if (!server) return context.skip('no redis-server')
  await using store = await make('state.redis', 'v1', { redisHost: `${server.host}:${server.port}` })
  await store.init(signal())
  const { Redis } = await import('ioredis')
  const client = new Redis(server.port, server.host)
  await client.set('plain', 'text')
  assert.deepEqual(await store.get({ key: 'plain', metadata: {} }), { data: Buffer.from('text') })
  await store.set({ kind: 'upsert', key: 'plain', value: Buffer.from('1'), json: true, metadata: {}, concurrency: 'first-write' })
  assert.deepEqual(await client.hgetall('plain'), { data: '1', version: '1', 'first-write': '0' })
  client.disconnect()
  await server.stop()
})

it('state.postgresql: stores that start at once share one set of tables', async (context) => {
  const server = await postgresServer()
  if (!server) return context.skip('no postgres')
  const stores = await Promise.all(
    ['v1', 'v2', 'v1', 'v2'].map((version) =>
      make('state.postgres', version, { connectionString: server.url, tablePrefix: 'two_', tableName: 'one' }),
    ),
  )
  await Promise.all(stores.map((store) => store.init(signal())))
  await Promise.all(
    stores.map((store, index) => store.set({ kind: 'upsert', key: `k${index}`, value: Buffer.from('1'), json: true, metadata: {} })),
  )
  assert.ok(await stores[0]?.get({ key: 'k2', metadata: {} }))
  assert.ok(await stores[1]?.get({ key: 'k3', metadata: {} }))
  assert.equal(await stores[1]?.get({ key: 'k0', metadata: {} }), undefined)
  await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
  await server.stop()
})
