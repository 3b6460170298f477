import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, it, type TestContext } from 'node:test'
import { BSON, MongoClient } from 'mongodb'
import { createConnection } from 'mysql2/promise'
import pg from 'pg'
import { etcd } from '../../../test/servers/etcd.ts'
import { mariadb } from '../../../test/servers/mariadb.ts'
import { memcached } from '../../../test/servers/memcached.ts'
import { mongodb } from '../../../test/servers/mongodb.ts'
import { mysql } from '../../../test/servers/mysql.ts'
import { postgres } from '../../../test/servers/postgres.ts'
import { type ServerKind, serverOf } from '../../../test/servers/server.ts'
import type { StateStore } from '../../blocks/state/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { ProtoReader } from '../../transport/grpc/wire.ts'
import { EtcdClient } from '../etcd/client.ts'
import { MemcachedClient } from '../memcached/client.ts'
import { stateDrivers } from './registry.ts'

// What daprd wrote is put back raw, and read by our drivers; what ours write is compared with it byte by byte.

interface MysqlTable {
  createTable: string
  rows: { name: string; value: string; isbinary: number; etag: string; expires: boolean }[]
}

interface Golden {
  json: Record<string, unknown>
  bytes: Record<string, string>
  MariaDB: MysqlTable
  MySQL: MysqlTable
  'etcd v1': Record<string, string>
  'etcd v2': Record<string, string>
  memcached: Record<string, string>
  /** In the canonical form of Extended JSON. */
  mongodb: { _id: string; value: unknown; _etag: string; _ttl: unknown }[]
  'postgresql v1': { name: string; value: string; isbinary: boolean; expires: boolean }[]
  'postgresql v2': { name: string; hex: string; etag: string; expires: boolean }[]
}
const golden = JSON.parse(readFileSync(new URL('./testing/golden.json', import.meta.url), 'utf8')) as Golden
const own = `g${randomUUID().slice(0, 8)}`

async function open(type: string, version: string, properties: Record<string, string>): Promise<StateStore> {
  const row = stateDrivers.find((candidate) => candidate.type === type)
  assert.ok(row)
  const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test' })
  const store = (await row.load()).create({ name: 'store', type, version, properties, appId: 'test', namespace: '', log })
  await store.init(AbortSignal.timeout(20_000))
  return store
}

/** Reads every recorded key; TTLs and ETags are the caller's. */
async function readsAll(store: StateStore, names: readonly string[], prefix = ''): Promise<void> {
  assert.ok(names.length >= 9)
  for (const name of names) {
    const found = await store.get({ key: prefix + name, metadata: {} })
    assert.ok(found, name)
    const hex = golden.bytes[name]
    if (hex !== undefined) assert.equal(found.data.toString('hex'), hex, name)
    else assert.deepEqual(JSON.parse(found.data.toString()), golden.json[name], name)
  }
}

/** Writes the same values with ours. */
async function writesAll(store: StateStore, prefix = ''): Promise<void> {
  for (const [name, value] of Object.entries(golden.json)) {
    const metadata: Record<string, string> = name === 'ttl' ? { ttlInSeconds: '3600' } : {}
    await store.set({ kind: 'upsert', key: prefix + name, value: Buffer.from(JSON.stringify(value)), json: true, metadata })
  }
  for (const [name, hex] of Object.entries(golden.bytes))
    await store.set({ kind: 'upsert', key: prefix + name, value: Buffer.from(hex, 'hex'), json: false, metadata: {} })
}

const withServer = (title: string, kind: ServerKind, body: (address: string) => Promise<void>) =>
  it(title, async (context: TestContext) => {
    const server = await serverOf(kind)
    if (!server) return context.skip(`no ${kind.name} on this machine`)
    try {
      await body(server.address)
    } finally {
      await server.stop()
    }
  })
/** Go escapes <, > and & in JSON; the same value all the same. */
const plain = (text: string) => text.replace(/\\u00(3c|3e|26)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
/** Go sorts the members of an object, too. */
const sameText = (ours: string, theirs: string, name: string) =>
  name === 'object' ? assert.deepEqual(JSON.parse(ours), JSON.parse(theirs)) : assert.equal(plain(ours), plain(theirs), name)

/** The value in etcd v2's envelope, after checking that ours says the same of its TTL, and both when it was written. */
function unpack(envelope: Buffer): { data: string; ttl: string | undefined } {
  const reader = new ProtoReader(envelope)
  let data = ''
  let ttl: string | undefined
  let time = 0
  while (reader.next()) {
    if (reader.field === 1) data = reader.bytes().toString('latin1')
    else if (reader.field === 3) ttl = reader.bytes().toString('hex')
    else time += reader.bytes().length
  }
  assert.ok(time >= 6, 'tells when it was written')
  return { data, ttl }
}

describe('what daprd wrote', () => {
  for (const [name, kind] of [
    ['MariaDB', mariadb],
    ['MySQL', mysql],
  ] as const)
    withServer(`state.mysql (${name})`, kind, async (address) => {
      const recorded = golden[name]
      const { hostname, port, username, password } = new URL(address)
      await using database = await createConnection({ host: hostname, port: Number(port), user: username, password })
      await database.query(`CREATE DATABASE ${own}`)
      await database.changeUser({ database: own })
      await database.query(recorded.createTable.replace('`TABLE`', 'theirs'))
      for (const row of recorded.rows)
        await database.query(
          'INSERT INTO theirs (id, value, isbinary, eTag, expiredate) VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP + INTERVAL ? SECOND)',
          [row.name, row.value, row.isbinary, row.etag, row.expires ? 3600 : null],
        )
      const connection = { connectionString: `${username}:${password}@tcp(${hostname}:${port})/`, schemaName: own }
      await using theirs = await open('state.mysql', 'v1', { ...connection, tableName: 'theirs' })
      await readsAll(
        theirs,
        recorded.rows.map((row) => row.name),
      )
      const [first, second] = recorded.rows
      assert.ok(first && second)
      assert.equal((await theirs.get({ key: first.name, metadata: {} }))?.etag, first.etag)
      await theirs.set({ kind: 'upsert', key: first.name, value: Buffer.from('1'), json: true, etag: first.etag, metadata: {} })
      await theirs.delete({ kind: 'delete', key: second.name, etag: second.etag, metadata: {} })
      assert.ok((await theirs.get({ key: 'ttl', metadata: {} }))?.metadata?.ttlExpireTime)

      await using ours = await open('state.mysql', 'v1', { ...connection, tableName: 'ours' })
      await writesAll(ours)
      const [rows] = await database.query('SELECT id, CAST(value AS CHAR) AS value, isbinary, expiredate IS NOT NULL AS expires FROM ours')
      for (const row of rows as { id: string; value: string; isbinary: number; expires: number }[]) {
        const theirRow = recorded.rows.find((one) => one.name === row.id)
        assert.ok(theirRow)
        sameText(row.value, theirRow.value, row.id)
        assert.deepEqual([row.isbinary, Boolean(row.expires)], [theirRow.isbinary, theirRow.expires])
      }
      assert.equal((rows as unknown[]).length, recorded.rows.length)
      await database.query(`DROP DATABASE ${own}`)
    })

  for (const version of ['v1', 'v2'] as const) {
    withServer(`state.etcd ${version}`, etcd, async (address) => {
      await using client = new EtcdClient({ endpoints: [address], owner: 'test' })
      const recorded = golden[`etcd ${version}`]
      const base = `${own}${version}/`
      for (const [name, hex] of Object.entries(recorded))
        await client.put({ key: Buffer.from(base + name), value: Buffer.from(hex, 'hex') })
      await using store = await open('state.etcd', version, { endpoints: address, keyPrefixPath: own + version })
      await readsAll(store, Object.keys(recorded))
      const expiry = (await store.get({ key: 'ttl', metadata: {} }))?.metadata?.ttlExpireTime
      assert.equal(expiry !== undefined, version === 'v2')
      await writesAll(store, 'ours-')
      for (const [name, hex] of Object.entries(recorded)) {
        const written = (await client.range({ key: Buffer.from(`${base}ours-${name}`) })).kvs[0]?.value
        assert.ok(written)
        if (version === 'v2') {
          const [ours, theirs] = [unpack(written), unpack(Buffer.from(hex, 'hex'))]
          assert.equal(ours.ttl, theirs.ttl)
          sameText(ours.data, theirs.data, name)
        } else sameText(written.toString('latin1'), Buffer.from(hex, 'hex').toString('latin1'), name)
      }
    })
  }

  withServer('state.memcached', memcached, async (address) => {
    const [host, port] = address.split(':') as [string, string]
    using client = new MemcachedClient({ hosts: [{ host, port: Number(port) }], timeout: 2000, owner: 'test' })
    for (const [name, hex] of Object.entries(golden.memcached)) await client.set(own + name, Buffer.from(hex, 'hex'), 0)
    await using store = await open('state.memcached', 'v1', { hosts: address })
    await readsAll(store, Object.keys(golden.memcached), own)
    await writesAll(store, own)
    for (const [name, hex] of Object.entries(golden.memcached)) assert.equal((await client.get(own + name))?.toString('hex'), hex, name)
  })

  withServer('state.mongodb', mongodb, async (address) => {
    const client = await MongoClient.connect(address)
    const collection = client.db(own).collection<{ _id: string; value?: unknown }>('items')
    await collection.insertMany(golden.mongodb.map((document) => BSON.EJSON.deserialize(document, { relaxed: false }) as { _id: string }))
    // When it was recorded is long ago.
    await collection.updateOne({ _id: 'ttl' }, { $set: { _ttl: new Date(Date.now() + 3_600_000) } })
    await using store = await open('state.mongodb', 'v1', { connectionString: address, databaseName: own, collectionName: 'items' })
    const names = golden.mongodb.map((document) => document._id)
    await readsAll(store, names)
    assert.ok((await store.get({ key: 'ttl', metadata: {} }))?.metadata?.ttlExpireTime)
    await writesAll(store, 'ours-')
    for (const { _id, value } of golden.mongodb) {
      const ours = await collection.findOne({ _id: `ours-${_id}` }, { promoteValues: false })
      assert.deepEqual(BSON.EJSON.serialize(ours?.value, { relaxed: false }), value, _id)
      assert.deepEqual(Object.keys(ours ?? {}).sort(), ['_etag', '_id', '_ttl', 'value'])
    }
    await client.close()
  })

  for (const version of ['v1', 'v2'] as const) {
    withServer(`state.postgresql ${version}`, postgres, async (address) => {
      const client = new pg.Client(address)
      await client.connect()
      const table = version === 'v1' ? `${own}_one` : `${own}_two_state`
      const properties = { connectionString: address, tableName: `${own}_one`, tablePrefix: `${own}_two_`, metadataTableName: `${own}_m` }
      await using store = await open('state.postgresql', version, properties)
      const soon = (expires: boolean) => (expires ? new Date(Date.now() + 3_600_000) : null)
      if (version === 'v1')
        for (const row of golden['postgresql v1'])
          await client.query(`INSERT INTO ${table} (key, value, isbinary, expiredate) VALUES ($1, $2::jsonb, $3, $4)`, [
            row.name,
            row.value,
            row.isbinary,
            soon(row.expires),
          ])
      else
        for (const row of golden['postgresql v2'])
          await client.query(`INSERT INTO ${table} (key, value, etag, expires_at) VALUES ($1, $2, $3, $4)`, [
            row.name,
            Buffer.from(row.hex, 'hex'),
            row.etag,
            soon(row.expires),
          ])
      await readsAll(
        store,
        golden[`postgresql ${version}`].map((row) => row.name),
      )
      assert.ok((await store.get({ key: 'ttl', metadata: {} }))?.metadata?.ttlExpireTime)
      await writesAll(store, 'ours-')
      const text = version === 'v1' ? 'value::text' : "encode(value, 'hex')"
      const { rows } = await client.query<{ key: string; value: string }>(
        `SELECT key, ${text} AS value FROM ${table} WHERE key LIKE 'ours-%'`,
      )
      const written = new Map(rows.map((row) => [row.key.slice(5), row.value]))
      for (const row of golden['postgresql v1']) if (version === 'v1') assert.equal(written.get(row.name), row.value)
      for (const row of golden['postgresql v2'])
        if (version === 'v2')
          sameText(Buffer.from(written.get(row.name) ?? '', 'hex').toString(), Buffer.from(row.hex, 'hex').toString(), row.name)
      await client.query(`DROP TABLE ${table}`)
      await client.end()
    })
  }
})
