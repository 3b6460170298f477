import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, describe, it } from 'node:test'
import type { StateSet } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test' })
const directory = mkdtempSync(join(tmpdir(), 'outrider-sqlite-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const make = (properties: Record<string, string>) =>
  driver.create({ name: 'store', type: 'state.sqlite', version: 'v1', properties, appId: 'test', namespace: '', log })
const set = (key: string, value: string, rest: Partial<StateSet> = {}): StateSet => ({
  kind: 'upsert',
  key,
  value: Buffer.from(value),
  json: true,
  metadata: {},
  ...rest,
})
const signal = AbortSignal.timeout(10_000)

describe('state.sqlite', () => {
  it('lays its tables out as daprd does', async () => {
    const path = join(directory, 'layout.db')
    await using store = make({ connectionString: `file:${path}?cache=shared` })
    await store.init(signal)
    await store.bulkSet?.([
      set('j', '{"a":1}', { metadata: { ttlInSeconds: '100' } }),
      set('b', 'x', { json: false, value: Buffer.from([1, 255]) }),
    ])
    const database = new DatabaseSync(path)
    const rows = database
      .prepare('SELECT key, value, is_binary, expiration_time IS NULL AS forever FROM state ORDER BY key')
      .all()
      .map((row) => ({ ...row }))
    assert.deepEqual(rows, [
      { key: 'b', value: 'Af8=', is_binary: 1, forever: 1 },
      { key: 'j', value: '{"a":1}', is_binary: 0, forever: 0 },
    ])
    assert.equal(database.prepare("SELECT value FROM metadata WHERE key = 'migrations'").get()?.value, '1')
    database.close()
  })

  it('lets writes that share a transaction fail alone', async () => {
    await using store = make({ connectionString: join(directory, 'group.db') })
    await store.init(signal)
    await store.set(set('held', '1'))
    const outcomes = await Promise.allSettled([
      store.set(set('one', '1')),
      store.transact?.([set('half', '1'), set('held', '2', { etag: 'stale' })], {}),
      store.set(set('held', '3', { etag: 'stale' })),
      store.transact?.([set('two', '1'), set('three', '1')], {}),
    ])
    assert.deepEqual(
      outcomes.map((outcome) => outcome.status),
      ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
    )
    const values = await store.bulkGet?.(['one', 'half', 'held', 'two', 'three'].map((key) => ({ key, metadata: {} })))
    assert.deepEqual(
      values?.map((item) => (item instanceof Error ? item : item?.data.toString())),
      ['1', undefined, '1', '1', '1'],
    )
  })

  it('shares one file between stores and keeps it over a restart', async () => {
    const properties = { connectionString: join(directory, 'shared.db') }
    {
      await using one = make(properties)
      await using two = make(properties)
      await one.init(signal)
      await two.init(signal)
      await Promise.all(Array.from({ length: 200 }, (_, index) => (index % 2 ? one : two).set(set(`k${index}`, String(index)))))
    }
    await using again = make(properties)
    await again.init(signal)
    const found = await again.bulkGet?.(Array.from({ length: 200 }, (_, index) => ({ key: `k${index}`, metadata: {} })))
    assert.deepEqual(
      found?.map((item) => (item instanceof Error ? item : item?.data.toString())),
      Array.from({ length: 200 }, (_, index) => String(index)),
    )
  })

  it('refuses what is no database, and names the file', async () => {
    const path = join(directory, 'text.db')
    writeFileSync(path, 'this is no database, but long enough to look at'.repeat(50))
    await assert.rejects(make({ connectionString: path }).init(signal), (error: Error) => error.message.includes(path))
  })

  it('refuses a table of a newer level', async () => {
    const path = join(directory, 'newer.db')
    const database = new DatabaseSync(path)
    database.exec("CREATE TABLE metadata (key text PRIMARY KEY, value text NOT NULL); INSERT INTO metadata VALUES ('migrations', '9')")
    database.close()
    await assert.rejects(make({ connectionString: path }).init(signal), /schema level 9/)
  })

  for (const [what, properties] of [
    ['no connectionString', {}],
    ['a table name with spaces', { connectionString: ':memory:', tableName: 'a b' }],
    ['a timeout under a second', { connectionString: ':memory:', timeout: '10ms' }],
    ['a busy_timeout pragma', { connectionString: 'file:x.db?_pragma=busy_timeout(5)' }],
  ] as const) {
    it(`refuses ${what}`, () => assert.throws(() => make(properties), { name: 'MetadataError' }))
  }

  it('says as Dapr does that its place is missing', () => assert.throws(() => make({}), /^MetadataError: missing connection string/))
})
