import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MongoClient } from 'mongodb'
import { mongodb } from '../../../../test/servers/mongodb.ts'
import { freePort } from '../../../../test/servers/process.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { parseMetadata } from '../../metadata.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'
import { connectionStringOf, fields, readSettings } from './settings.ts'

proveColumns('state.mongodb')

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

async function open(properties: Record<string, string>): Promise<StateStore> {
  const store = driver.create({ name: 's', type: 'state.mongodb', version: 'v1', appId: 'app', namespace: '', log, properties })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

describe('state.mongodb', () => {
  it('reads where the server is as daprd does, and logins that no URI could hold', () => {
    const uri = (properties: Record<string, string>) => connectionStringOf(parseMetadata(fields, properties) as Record<string, string>)
    assert.equal(uri({ host: 'a:1,b:2', params: 'replicaSet=rs' }), 'mongodb://a:1,b:2/daprStore?replicaSet=rs')
    assert.equal(uri({ host: 'a', username: 'u', password: 'p%40s', databaseName: 'd' }), 'mongodb://u:p%40s@a/d')
    assert.equal(uri({ server: 'a.b', username: 'u', password: 'p@s/', params: '?x=y' }), 'mongodb+srv://u:p%40s%2F@a.b/daprStore?x=y')
    assert.equal(uri({ connectionString: 'mongodb://c/', host: 'a' }), 'mongodb://c/')
    assert.throws(() => uri({}), /must set 'host' or 'server'/)
    assert.throws(() => uri({ host: 'a', server: 'b' }), /mutually exclusive/)
    assert.throws(
      () => readSettings({ connectionString: 'user:secret@host' }),
      (error: Error) => /connectionString/.test(error.message) && !/secret/.test(error.message),
    )
    assert.throws(() => readSettings({ host: 'a', writeconcern: 'some' }), /writeconcern: "some"/)
    assert.throws(() => readSettings({ host: 'a', readconcern: 'some' }), /readconcern/)
  })

  it('has transactions where there is a replica set, and only there', () => {
    const featuresOf = (properties: Record<string, string>) =>
      driver.create({ name: 's', type: 'state.mongodb', version: 'v1', appId: 'app', namespace: '', log, properties })
    const replicated: Record<string, string>[] = [
      { connectionString: 'mongodb://a/?replicaSet=r' },
      { host: 'a', params: 'w=1&replicaSet=r' },
      { server: 'a' },
    ]
    for (const one of replicated) assert.ok(featuresOf(one).transact && featuresOf(one).features.includes('TRANSACTIONAL'))
    const alone = featuresOf({ host: 'a' })
    assert.ok(!alone.transact && !alone.features.includes('TRANSACTIONAL'))
  })

  it('says which server it cannot reach, and nothing of the password', async () => {
    const port = await freePort()
    await assert.rejects(
      open({ connectionString: `mongodb://u:hidden@127.0.0.1:${port}/`, operationTimeout: '300ms' }),
      (error: Error) => error.message.includes(`cannot reach MongoDB at 127.0.0.1:${port}`) && !error.message.includes('hidden'),
    )
    await assert.rejects(
      open({ connectionString: 'mongodb://u:hidden@a/?nosuch=1' }),
      (error: Error) => /nosuch/.test(error.message) && !error.message.includes('hidden'),
    )
  })

  it('keeps bytes and members that look like expressions, with a TTL or without', async (context) => {
    const server = await serverOf(mongodb)
    if (!server) return context.skip(help(mongodb))
    await using store = await open({ connectionString: server.address, databaseName: `d${process.pid}` })
    for (const metadata of [{}, { ttlInSeconds: '100' }] as Record<string, string>[]) {
      await store.set({ kind: 'upsert', key: 'bytes', value: Buffer.from('$value'), json: false, metadata })
      assert.equal((await store.get({ key: 'bytes', metadata: {} }))?.data.toString(), '$value')
      const value = '{"a":"$value","b":["$$NOW",{"c":"$_id"}]}'
      await store.set({ kind: 'upsert', key: 'json', value: Buffer.from(value), json: true, metadata })
      assert.equal((await store.get({ key: 'json', metadata: {} }))?.data.toString(), value)
    }
    await server.stop()
  })

  it('reads what others have put there', async (context) => {
    const server = await serverOf(mongodb)
    if (!server) return context.skip(help(mongodb))
    await using client = await MongoClient.connect(server.address)
    const { Long, Int32, ObjectId } = await import('mongodb')
    const database = `o${process.pid}`
    const values = { long: Long.fromString('9007199254740993'), nested: { n: Long.fromString('9007199254740993'), i: new Int32(3) } }
    const id = new ObjectId()
    const documents = [...Object.entries({ ...values, id, date: new Date(0) })].map(([_id, value]) => ({ _id, value }))
    await client.db(database).collection<{ _id: string }>('daprCollection').insertMany(documents)
    await using store = await open({ connectionString: server.address, databaseName: database })
    const text = async (key: string) => (await store.get({ key, metadata: {} }))?.data.toString()
    assert.equal(await text('long'), '9007199254740993')
    assert.equal(await text('nested'), '{"n":9007199254740993,"i":3}')
    assert.equal(await text('id'), JSON.stringify(id.toHexString()))
    assert.equal(await text('date'), '"1970-01-01T00:00:00.000Z"')
    assert.equal((await store.get({ key: 'long', metadata: {} }))?.etag, undefined)
    await server.stop()
  })
})
