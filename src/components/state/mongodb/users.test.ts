import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MongoClient } from 'mongodb'
import { testAuthority } from '../../../../test/servers/certificates.ts'
import { ferretdb, ROOT } from '../../../../test/servers/ferretdb.ts'
import { help, type RunningServer, serverOf } from '../../../../test/servers/server.ts'
import { startTlsFront } from '../../../../test/servers/tls-front.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { scratchFile } from '../../mongodb/testing/files.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

async function open(properties: Record<string, string>): Promise<StateStore> {
  const context = { name: 's', type: 'state.mongodb', version: 'v1', appId: 'app', namespace: '', log }
  const store = driver.create({ ...context, properties: { databaseName: `d${process.pid}`, operationTimeout: '2s', ...properties } })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

const save = (store: StateStore, value: string) =>
  store.set({ kind: 'upsert', key: 'key', value: Buffer.from(value), json: true, metadata: {} })
const read = async (store: StateStore) => (await store.get({ key: 'key', metadata: {} }))?.data.toString()

describe('state.mongodb: users and TLS, on FerretDB', () => {
  let server: RunningServer | undefined

  /** Each test signs in as somebody of its own. */
  function withUsers(name: string, test: (host: string, admin: MongoClient) => Promise<void>): void {
    it(name, async (context) => {
      server = await serverOf(ferretdb)
      if (!server) return context.skip(help(ferretdb))
      await using admin = await MongoClient.connect(server.address)
      await test(new URL(server.address).host, admin)
      await server.stop()
    })
  }

  withUsers('signs in by every mechanism that the server has, with passwords and names that need care', async (host, admin) => {
    const users = { 'a:@b': 'p@ss:/?#[]%', 'u\u00e9': 'I\u00adX\u2168 \u00aa', plain: 'word' }
    for (const [name, pwd] of Object.entries(users)) {
      await admin.db('admin').command({ createUser: name, pwd, roles: [], mechanisms: ['SCRAM-SHA-1', 'SCRAM-SHA-256'] })
      for (const params of ['', 'authMechanism=SCRAM-SHA-1', 'authMechanism=SCRAM-SHA-256']) {
        const login = `${encodeURIComponent(name)}:${encodeURIComponent(pwd)}`
        await using store = await open({ connectionString: `mongodb://${login}@${host}/?authSource=admin&${params}` })
        await save(store, `"${params}"`)
        assert.equal(await read(store), `"${params}"`)
      }
    }
  })

  withUsers('says who is refused, and by whom, and shows no password', async (host) => {
    for (const properties of [
      { host, username: ROOT.username, password: 'mistaken-1', params: 'authSource=admin' },
      { host, username: 'nobody', password: 'mistaken-1', params: 'authSource=admin' },
      { host, username: ROOT.username, password: 'mistaken-1', params: 'authSource=admin&authMechanism=SCRAM-SHA-1' },
    ])
      await assert.rejects(open(properties), ({ message }: Error) => {
        assert.match(message, new RegExp(`MongoDB at ${host} refuses user ${properties.username}`))
        assert.doesNotMatch(message, /mistaken/)
        return true
      })
    await assert.rejects(open({ host }), /without a user|refuses|authentication/i)
  })

  withUsers('goes on with the new password after a rotation, and is refused with the old one', async (host, admin) => {
    const login = { host, username: 'rotated', params: 'authSource=admin' }
    await admin.db('admin').command({ createUser: 'rotated', pwd: 'first-1', roles: [] })
    await using before = await open({ ...login, password: 'first-1' })
    await save(before, '1')
    await admin.db('admin').command({ updateUser: 'rotated', pwd: 'second-2' })
    // Connections that have signed in stay; what the runtime opens with the new secret works beside them.
    await using after = await open({ ...login, password: 'second-2' })
    assert.equal(await read(after), '1')
    assert.equal(await read(before), '1')
    await assert.rejects(open({ ...login, password: 'first-1' }), /refuses user rotated/)
  })

  withUsers('keeps what the official client reads, and reads what that has written', async (host, admin) => {
    const { username, password } = ROOT
    await using store = await open({ host, username, password, params: 'authSource=admin', collectionName: 'both' })
    const collection = admin.db(`d${process.pid}`).collection<{ _id: string; value?: unknown }>('both')
    const values = ['{"a":[1,2.5,0,"\u00fc",null,true,{"b":{}}],"":0}', '[]', '7', '"text"', 'null', 'false']
    for (const [index, value] of values.entries()) {
      await store.set({ kind: 'upsert', key: `ours${index}`, value: Buffer.from(value), json: true, metadata: {} })
      const held = (await collection.findOne({ _id: `ours${index}` }))?.value
      // A text is kept with its quotes, as daprd does.
      assert.deepEqual(held, value === '"text"' ? value : JSON.parse(value))
      await collection.insertOne({ _id: `theirs${index}`, value: held })
      assert.deepEqual(JSON.parse(String((await store.get({ key: `theirs${index}`, metadata: {} }))?.data)), JSON.parse(value))
    }
    const etag = (await store.get({ key: 'ours0', metadata: {} }))?.etag
    await assert.rejects(store.delete({ kind: 'delete', key: 'ours0', etag: 'other', metadata: {} }))
    await store.delete({ kind: 'delete', key: 'ours0', etag: etag as string, metadata: {} })
    assert.equal(await collection.findOne({ _id: 'ours0' }), null)
  })

  withUsers('speaks TLS with a certificate that is right, and says what is wrong with one that is not', async (host) => {
    const authority = testAuthority()
    const port = Number(host.split(':')[1])
    await using front = await startTlsFront('127.0.0.1', port, authority.issue('localhost'))
    using ca = scratchFile(authority.ca)
    using other = scratchFile(testAuthority().ca)
    const { username, password } = ROOT
    const over = (params: string) => ({
      host: `localhost:${front.port}`,
      username,
      password,
      params: `authSource=admin&tls=true&${params}`,
    })
    await using store = await open(over(`tlsCAFile=${ca.path}`))
    await save(store, '1')
    await using careless = await open(over('tlsInsecure=true'))
    assert.equal(await read(careless), '1')
    await assert.rejects(open(over(`tlsCAFile=${other.path}`)), /not signed by an authority that is trusted/)
    await assert.rejects(open(over('tlsCAFile=/nowhere')), /tlsCAFile: \/nowhere cannot be read/)
    await assert.rejects(open({ ...over(''), host, params: 'tls=true' }), /does not speak TLS|cannot reach/)

    front.show(authority.issue('localhost', -1))
    await assert.rejects(open(over(`tlsCAFile=${ca.path}`)), /certificate has expired/)
    await assert.rejects(read(store), /certificate has expired/)
    front.show(authority.issue('elsewhere'))
    await assert.rejects(open(over(`tlsCAFile=${ca.path}`)), /for elsewhere and not for localhost/)
    await using anyName = await open(over(`tlsCAFile=${ca.path}&tlsAllowInvalidHostnames=true`))
    assert.equal(await read(anyName), '1')
    front.show(authority.issue('localhost'))
    assert.equal(await read(store), '1')
  })
})
