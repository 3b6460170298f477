import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { cassandra } from '../../../../test/servers/cassandra.ts'
import { freePort } from '../../../../test/servers/process.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { CassandraConnection } from '../../cassandra/connection.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'
import { readSettings } from './settings.ts'

proveColumns('state.cassandra')

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const keyspace = `k${process.pid}`
const server = await serverOf(cassandra)
after(() => server?.stop())

async function open(properties: Record<string, string>): Promise<StateStore> {
  const store = driver.create({ name: 's', type: 'state.cassandra', version: 'v1', appId: 'app', namespace: '', log, properties })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}
const item = (key: string, value: string) => ({ kind: 'upsert', key, value: Buffer.from(value), json: true, metadata: {} }) as const

describe('state.cassandra', () => {
  it('reads where the nodes are, and refuses what is no name', () => {
    assert.deepEqual(readSettings({ hosts: 'a, b:1,[::1]:2', port: '9' }).nodes, [
      { host: 'a', port: 9 },
      { host: 'b', port: 1 },
      { host: '::1', port: 2 },
    ])
    assert.throws(() => readSettings({}), /hosts/)
    assert.throws(
      () => readSettings({ hosts: 'u:secret@a' }),
      (error: Error) => /hosts/.test(error.message) && !/secret/.test(error.message),
    )
    assert.throws(() => readSettings({ hosts: 'a', table: 'x; DROP' }), /table/)
    assert.throws(() => readSettings({ hosts: 'a', consistency: 'Some' }), /consistency/)
  })

  it('says which node it cannot reach', async () => {
    const port = await freePort()
    await assert.rejects(
      open({ hosts: '127.0.0.1', port: String(port) }),
      new RegExp(`cannot reach Cassandra at 127\\.0\\.0\\.1:${port}: .*ECONNREFUSED`),
    )
  })

  it('goes on with another node while one is away, and shares a table with stores that start at the same time', async (context) => {
    if (!server) return context.skip(help(cassandra))
    const hosts = `127.0.0.1:${await freePort()},${server.address}`
    const stores = await Promise.all([1, 2, 3].map(() => open({ hosts, keyspace })))
    for (let count = 0; count < 10; count++) {
      await stores[count % 3]?.set(item(`k${count}`, String(count)))
      assert.equal((await stores[(count + 1) % 3]?.get({ key: `k${count}`, metadata: {} }))?.data.toString(), String(count))
    }
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
  })

  it('reads and writes with every consistency that one node can give', async (context) => {
    if (!server) return context.skip(help(cassandra))
    for (const consistency of ['Any', 'One', 'Quorum', 'All', 'LocalQuorum', 'LocalOne']) {
      await using store = await open({ hosts: server.address, keyspace, consistency, protoVersion: consistency === 'One' ? '3' : '4' })
      for (const wanted of [undefined, 'strong', 'eventual'] as const) {
        const rest = wanted ? { consistency: wanted } : {}
        await store.set({ ...item('k', `"${consistency}"`), ...rest })
        assert.equal((await store.get({ key: 'k', metadata: {}, ...rest }))?.data.toString(), `"${consistency}"`)
        await store.delete({ kind: 'delete', key: 'k', metadata: {}, ...rest })
        assert.equal(await store.get({ key: 'k', metadata: {}, ...rest }), undefined)
      }
    }
    await using store = await open({ hosts: server.address, keyspace, consistency: 'Three' })
    await assert.rejects(store.set(item('k', '1')), /Cassandra at 127\.0\.0\.1:\d+: Cannot achieve consistency level THREE/)
  })

  it('prepares anew what the server has forgotten, as when the table was made again', async (context) => {
    if (!server) return context.skip(help(cassandra))
    const table = 'forgotten'
    await using store = await open({ hosts: server.address, keyspace, table })
    await store.set(item('k', '1'))
    const [host = '', port] = server.address.split(':')
    using admin = await CassandraConnection.open({ host, port: Number(port), version: 4, tls: false, timeout: 10_000 })
    await admin.define(`DROP TABLE ${keyspace}.${table}`)
    await admin.define(`CREATE TABLE ${keyspace}.${table} (key text, value blob, PRIMARY KEY (key))`)
    assert.equal(await store.get({ key: 'k', metadata: {} }), undefined)
    await store.set(item('k', '2'))
    assert.equal((await store.get({ key: 'k', metadata: {} }))?.data.toString(), '2')
  })
})
