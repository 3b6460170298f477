import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openSqlite } from '../../storage/sqlite.ts'
import { openResolver } from '../resolver-registry.ts'

const errors: string[] = []
const log = { info() {}, warn() {}, debug() {}, error: (line: string) => errors.push(line) } as never
const context = { appId: 'a', namespace: 'default', registryFile: '', log }
const at = (port: number, appId = 'a') => ({ appId, namespace: 'default', host: '127.0.0.1', port })

function setUp(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'names-'))
  const path = join(folder, 'hosts.db')
  t.after(() => rmSync(folder, { recursive: true }))
  return {
    path,
    async open(configuration: object = {}) {
      const resolver = await openResolver({ component: 'sqlite', configuration: { connectionString: path, ...configuration } }, context)
      t.after(() => resolver[Symbol.asyncDispose]())
      return resolver
    },
  }
}

test('the tables are those of daprd, and so are the rows', async (t) => {
  const { path, open } = setUp(t)
  const resolver = await open()
  const registration = await resolver.register(at(4711))
  const database = openSqlite(path)
  t.after(() => database.close())
  const columns = database.prepare('SELECT name, type, "notnull", pk FROM pragma_table_info(?)').all('hosts')
  assert.deepEqual(
    columns.map((column) => ({ ...column })),
    ['registration_id', 'address', 'app_id', 'namespace', 'last_update'].map((name, i) => ({
      name,
      type: name === 'last_update' ? 'INTEGER' : 'TEXT',
      notnull: 1,
      pk: i === 0 ? 1 : 0,
    })),
  )
  assert.deepEqual({ ...database.prepare("SELECT value FROM metadata WHERE key = 'nr-migrations'").get() }, { value: '1' })
  assert.deepEqual(
    { ...database.prepare('SELECT address, app_id, namespace, unixepoch() - last_update < 2 AS fresh FROM hosts').get() },
    { address: '127.0.0.1:4711', app_id: 'a', namespace: '', fresh: 1 },
  )
  await registration[Symbol.asyncDispose]()
  assert.equal(database.prepare('SELECT * FROM hosts').all().length, 0)
})

test('all live rows of an app are found, old ones are not; an unknown app has daprd’s words', async (t) => {
  const { path, open } = setUp(t)
  const [one, two] = [await open({ tableName: 't1', metadataTableName: 'm1' }), await open({ tableName: 't1', metadataTableName: 'm1' })]
  await one.register(at(1))
  await two.register({ ...at(2), host: 'fd00::1' })
  const database = openSqlite(path)
  t.after(() => database.close())
  database.exec("INSERT INTO t1 VALUES ('old', '127.0.0.1:3', 'a', '', unixepoch() - 5), ('odd', 'nonsense', 'a', '', unixepoch())")
  const found = await one.resolve('a', '')
  assert.deepEqual(found.map(({ host, port }) => `${host} ${port}`).sort(), ['127.0.0.1 1', 'fd00::1 2'])
  await assert.rejects(async () => one.resolve('nobody', ''), /^Error: no host found with the given ID$/)
  // Who takes an address over has it.
  await two.register(at(1, 'b'))
  one.invalidate('a', '')
  assert.deepEqual(await one.resolve('a', ''), [{ host: 'fd00::1', port: 2 }])
})

test('a registration is renewed, and made again when it was swept away', async (t) => {
  const { path, open } = setUp(t)
  t.mock.timers.enable({ apis: ['setInterval'] })
  const resolver = await open()
  await resolver.register(at(1))
  const database = openSqlite(path)
  t.after(() => database.close())
  database.exec('UPDATE hosts SET last_update = 1')
  t.mock.timers.tick(4000)
  assert.equal(database.prepare('SELECT * FROM hosts WHERE last_update > 1').all().length, 1)
  database.exec('DELETE FROM hosts')
  t.mock.timers.tick(4000)
  assert.equal(database.prepare('SELECT * FROM hosts').all().length, 1)
  database.exec("UPDATE hosts SET registration_id = 'another'")
  t.mock.timers.tick(4000)
  await new Promise(setImmediate)
  assert.match(errors.at(-1) ?? '', /host registration lost: another sidecar has registered 127.0.0.1:1/)
})

test('settings that daprd refuses are refused, by name', async (t) => {
  const { open } = setUp(t)
  await assert.rejects(open({ connectionString: '' }), /name resolution sqlite: missing connection string/)
  await assert.rejects(open({ updateInterval: '1500ms' }), /must not contain fractions of seconds/)
  await assert.rejects(open({ updateInterval: '2s', timeout: '1500ms' }), /must be at least 1s greater than timeout/)
  await assert.rejects(open({ timeout: '10ms' }), /invalid value for 'timeout'/)
  await assert.rejects(open({ tableName: 'a; DROP TABLE b' }), /invalid identifier for table name/)
  await assert.rejects(open({ connectionString: 'x.db?_pragma=journal_mode(OFF)' }), /forbidden option '_pragma=journal_mode'/)
})
