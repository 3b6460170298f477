import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { freePort } from '../../../../test/servers/process.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import { sqlserver } from '../../../../test/servers/sqlserver.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'
import { readSettings } from './settings.ts'

proveColumns('state.sqlserver')

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

function make(properties: Record<string, string>): StateStore {
  return driver.create({ name: 'orders', type: 'state.sqlserver', version: 'v1', appId: 'app', namespace: '', log, properties })
}

describe('state.sqlserver', () => {
  it('says which server it cannot reach, without the password', async () => {
    const port = await freePort()
    await using store = make({ connectionString: `sqlserver://u:hidden@127.0.0.1:${port}` })
    await assert.rejects(
      store.init(AbortSignal.timeout(10_000)),
      (error: Error) =>
        error.message.includes(`state store orders: cannot reach SQL Server at 127.0.0.1:${port} as user u`) &&
        !error.message.includes('hidden'),
    )
  })

  it('refuses what would become part of a statement and is no name', () => {
    const connectionString = 'server=db'
    assert.throws(() => readSettings({ connectionString, tableName: 'a]; DROP' }), /tableName/)
    assert.throws(() => readSettings({ connectionString, schemaName: "x'" }), /schemaName/)
    assert.throws(() => readSettings({ connectionString, keyType: 'text' }), /keyType/)
    for (const one of ['no', '{}', '[{"column":"a","property":"b"}]', '[{"column":"a","property":"b\'","type":"int"}]', '[null]'])
      assert.throws(() => readSettings({ connectionString, indexedProperties: one }), /indexedProperties/, one)
    assert.deepEqual(
      readSettings({ connectionString, indexedProperties: '[{"column":"a","property":"b.c[0]","type":"nvarchar(10)"}]' }).indexed,
      [{ column: 'a', property: 'b.c[0]', type: 'nvarchar(10)' }],
    )
    assert.equal(readSettings({ connectionString }).database, 'dapr')
    assert.equal(readSettings({ connectionString: 'server=db;database=mine' }).make, false)
  })

  it('refuses values that are no text, and keys that the server would take for others', async (context) => {
    const server = await serverOf(sqlserver)
    if (!server) return context.skip('no SQL Server')
    await using store = make({ connectionString: server.address, databaseName: `t${process.pid}` })
    await store.init(AbortSignal.timeout(20_000))
    const item = { kind: 'upsert', key: 'k', value: Buffer.from([0xff]), json: false, metadata: {} } as const
    await assert.rejects(async () => store.set(item), /key k is not UTF-8/)
    await assert.rejects(async () => store.set({ ...item, key: 'k ', value: Buffer.from('1') }), /ends with a space/)
    await assert.rejects(async () => store.set({ ...item, key: 'k'.repeat(201), value: Buffer.from('1') }), /more than 200 characters/)
  })
})
