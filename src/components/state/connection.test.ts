import assert from 'node:assert/strict'
import { it } from 'node:test'
import { crc32 } from 'node:zlib'
import { createConnection } from 'mysql2/promise'
import { mariadb } from '../../../test/servers/mariadb.ts'
import { memcached } from '../../../test/servers/memcached.ts'
import { mysql } from '../../../test/servers/mysql.ts'
import { postgresServer } from '../../../test/servers/postgres.ts'
import { freePort } from '../../../test/servers/process.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { serverOf } from '../../../test/servers/server.ts'
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
  await client.lpush('list', '1')
  await assert.rejects(store.get({ key: 'list', metadata: {} }), {
    message: 'key list is of Redis type list, which this store does not read',
  })
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

for (const kind of [mariadb, mysql])
  it(`state.mysql (${kind.name}) says which user the server refused, and where, without the password`, async (context) => {
    const server = await serverOf(kind)
    if (!server) return context.skip(`no ${kind.name}`)
    const { host, username } = new URL(server.address)
    // One whom it does not know, and one with another password.
    for (const login of ['nobody:hid/d@en', `${username}:hid/d@en`]) {
      await using store = await make('state.mysql', 'v1', { connectionString: `${login}@tcp(${host})/` })
      await assert.rejects(
        store.init(signal()),
        (error: Error) =>
          error.message.includes(`${host} as user ${login.split(':')[0]}`) &&
          /denied.*correct user and password/.test(error.message) &&
          !error.message.includes('hid'),
      )
    }
    await server.stop()
  })

it('state.postgresql says which user the server refused, and where, without the password', async (context) => {
  const server = await postgresServer()
  if (!server) return context.skip('no postgres')
  const url = new URL(server.url)
  url.username = 'nobody'
  url.password = 'hidden'
  await using store = await make('state.postgresql', 'v2', { connectionString: url.href })
  await assert.rejects(
    store.init(signal()),
    (error: Error) =>
      error.message.includes(`${url.host}/postgres as user nobody`) &&
      /correct user and password/.test(error.message) &&
      !error.message.includes('hidden'),
  )
  await server.stop()
})

for (const kind of [mariadb, mysql])
  it(`state.mysql (${kind.name}): stores that start at once share one set of tables`, async (context) => {
    const server = await serverOf(kind)
    if (!server) return context.skip(`no ${kind.name}`)
    const { host, username, password } = new URL(server.address)
    const properties = { connectionString: `${username}:${password}@tcp(${host})/`, schemaName: `c${process.pid}` }
    const stores = await Promise.all([1, 2, 3, 4].map(() => make('state.mysql', 'v1', properties)))
    await Promise.all(stores.map((store) => store.init(signal())))
    await stores[0]?.set({ kind: 'upsert', key: 'k', value: Buffer.from('1'), json: true, metadata: {} })
    assert.ok(await stores[3]?.get({ key: 'k', metadata: {} }))
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
    await server.stop()
  })

it('state.mysql proves its password to MySQL by RSA in the clear, by TLS, and by what the server keeps of the last time', async (context) => {
  const server = await serverOf(mysql)
  if (!server) return context.skip('no MySQL')
  const { hostname, port, username, password } = new URL(server.address)
  await using admin = await createConnection({ host: hostname, port: Number(port), user: username, password })
  const user = `sha2${process.pid}`
  const secret = 'pä:s/s@wörd€'
  await admin.query(`CREATE USER ${user} IDENTIFIED WITH caching_sha2_password BY '${secret}'`)
  await admin.query(`GRANT ALL ON ${user}.* TO ${user}`)
  try {
    for (const tls of ['false', 'skip-verify', 'preferred', 'false']) {
      await using store = await make('state.mysql', 'v1', {
        connectionString: `${user}:${secret}@tcp(${hostname}:${port})/?tls=${tls}`,
        schemaName: user,
      })
      await store.init(signal())
      await store.set({ kind: 'upsert', key: 'k', value: Buffer.from('1'), json: true, metadata: {} })
      const [rows] = await admin.query('SELECT COUNT(*) AS signedIn FROM information_schema.processlist WHERE user = ?', [user])
      assert.ok((rows as { signedIn: number }[])[0]?.signedIn, tls)
      // The server forgets whom it knew; before the last round it does not.
      if (tls !== 'preferred') await admin.query('FLUSH PRIVILEGES')
    }
  } finally {
    await admin.query(`DROP DATABASE IF EXISTS ${user}`)
    await admin.query(`DROP USER ${user}`)
    await server.stop()
  }
})

it('state.etcd starts without its server, as under Dapr, and says at the first operation which it is', async () => {
  const port = await freePort()
  await using store = await make('state.etcd', 'v2', { endpoints: `localhost:${port}, 127.0.0.1:${port}` })
  await store.init(signal())
  await assert.rejects(
    store.get({ key: 'k', metadata: {} }),
    new RegExp(`state store store: cannot reach etcd at localhost:${port}, 127.0.0.1:${port}`),
  )
})

it('state.memcached spreads keys as gomemcache does', async (context) => {
  const [one, two] = await Promise.all([serverOf(memcached), serverOf(memcached)])
  if (!one || !two || one.address === two.address) return context.skip('no two Memcached')
  await using both = await make('state.memcached', 'v1', { hosts: `${one.address},${two.address}` })
  await using second = await make('state.memcached', 'v1', { hosts: two.address })
  await both.init(signal())
  // CRC-32 of the key modulo the number of servers.
  for (const key of ['abc', 'a', 'b', 'c', 'd']) {
    await both.set({ kind: 'upsert', key, value: Buffer.from('1'), json: true, metadata: {} })
    assert.equal((await second.get({ key, metadata: {} })) !== undefined, crc32(key) % 2 === 1, key)
  }
  await Promise.all([one.stop(), two.stop()])
})

it('settings that cannot be right say which field it is, and show no password', async () => {
  for (const [type, properties, message] of [
    ['state.mysql', {}, /connectionString/],
    ['state.mysql', { connectionString: 'root:hidden@127.0.0.1' }, /connectionString: .*tcp\(host:3306\)/],
    ['state.mysql', { connectionString: 'root:hidden@tcp(127.0.0.1:3306)/?tls=custom' }, /pemPath/],
    ['state.mysql', { connectionString: 'root:hidden@tcp(127.0.0.1:3306)/?tls=some' }, /tls=some/],
    ['state.mysql', { connectionString: 'root@tcp(127.0.0.1)/', tableName: 'a;b' }, /tableName/],
    ['state.etcd', {}, /endpoints/],
    ['state.etcd', { endpoints: 'localhost' }, /endpoints: "localhost" is not host:port/],
    ['state.etcd', { endpoints: 'localhost:1', tlsEnable: 'true', ca: 'x' }, /tls authentication information is incomplete/],
    ['state.memcached', { hosts: '' }, /hosts/],
  ] as const)
    await assert.rejects(
      make(type, 'v1', properties),
      (error: Error) => message.test(error.message) && !error.message.includes('hidden'),
      type,
    )
})
