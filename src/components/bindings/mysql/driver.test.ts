import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { mariadb } from '../../../../test/servers/mariadb.ts'
import { mysql } from '../../../../test/servers/mysql.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const table = `own.t${process.pid}`

async function open(url: string) {
  const binding = driver.create({
    name: 'db',
    type: 'bindings.mysql',
    version: 'v1',
    properties: { url },
    appId: 'app',
    namespace: '',
    log,
  })
  await binding.init(AbortSignal.timeout(20_000))
  return binding
}
function dsn(address: string): string {
  const { host, username, password } = new URL(address)
  return `${username}:${password}@tcp(${host})/mysql?parseTime=true`
}
const ask = (operation: string, metadata: Record<string, string>) => ({ operation, data: Buffer.alloc(0), metadata })

for (const kind of [mariadb, mysql]) {
  const server = await serverOf(kind)
  after(() => server?.stop())
  const skip = server ? false : `no ${kind.name}`
  const url = server ? dsn(server.address) : ''

  bindingConformance(
    `bindings.mysql (${kind.name})`,
    { operations: ['exec', 'query', 'close'], read: false },
    async () => server && open(url),
  )

  // What is expected here is what daprd 1.18.3 gave for the same statements.
  test(`${kind.name}: values of every kind come as daprd gives them`, { skip }, async () => {
    await using binding = await open(url)
    const exec = async (sql: string, params?: string) =>
      (await binding.invoke?.(ask('exec', { sql, ...(params ? { params } : {}) })))?.metadata?.['rows-affected']
    const query = async (sql: string, params?: string) =>
      (await binding.invoke?.(ask('query', { sql, ...(params ? { params } : {}) })))?.data?.toString()
    await exec('create database if not exists own')
    await exec(`create table ${table} (i int, u bigint unsigned, bo boolean, f float, de decimal(10,2), v varchar(20) character set utf8mb4,
    b blob, da date, dt datetime, dt6 datetime(6), tm time, y year, bt bit(4), n int)`)
    const row = `(1, 7, true, 1.5, 12.30, 'väl', x'00ff01', '2026-01-02', '2026-01-02 03:04:05', '2026-01-02 03:04:05.060000', '03:04:05', 2026, b'0101', null)`
    assert.equal(await exec(`insert into ${table} values ${row}`), '1')
    const expected =
      '[{"b":"AP8B","bo":1,"bt":"BQ==","da":"2026-01-02T00:00:00Z","de":"12.30","dt":"2026-01-02T03:04:05Z","dt6":"2026-01-02T03:04:05.06Z","f":1.5,"i":1,"tm":"03:04:05","u":7,"v":"väl","y":2026}]'
    assert.equal(await query(`select * from ${table}`), expected)
    assert.equal(await query(`select * from ${table} where i = ?`, '[1]'), expected)
    assert.equal(await query(`select * from ${table} where i = 2`), 'null')
    assert.equal(await exec(`update ${table} set n = ?, v = ? where i = 1`, '[5, "x"]'), '1')
    assert.equal(await exec(`update ${table} set n = 5`), '0', 'found, but not changed')
    assert.equal(await query('select 1 as one, 1.5 as x, "s" as s, null as nothing'), '[{"nothing":null,"one":1,"s":"s","x":"1.5"}]')
    await exec(`insert into ${table} (i) values (2)`)
    assert.equal(await query(`select b, bt, f, i, v from ${table} where i = 2`), '[{"b":null,"bt":null,"i":2}]')
    // daprd fails here.
    assert.equal(await query('select cast(18446744073709551615 as unsigned) as big'), '[{"big":18446744073709551615}]')
    await exec(`drop table ${table}`)
  })

  test(`${kind.name}: what cannot be run is said in the error`, { skip }, async () => {
    await using binding = await open(url)
    await assert.rejects(async () => binding.invoke?.(ask('exec', {})), { message: 'required metadata not set: sql' })
    await assert.rejects(async () => binding.invoke?.(ask('get', { sql: 'select 1' })), /invalid operation type: get\./)
    await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select ?', params: '{}' })), /metadata property params/)
    await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select * from mysql.nosuch' })), {
      message: "error executing query: Error 1146 (42S02): Table 'mysql.nosuch' doesn't exist",
    })
    await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select 1; select 2' })), /1064/)
    await binding.invoke?.(ask('close', {}))
    await binding.invoke?.(ask('close', {}))
    await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select 1' })), { message: 'component is closed' })
  })
}

test('a server that is not there is named, its password is not', async () => {
  await assert.rejects(open('u:hidden@tcp(127.0.0.1:1)/orders'), (error: Error) => {
    assert.match(error.message, /binding db: cannot reach MySQL at 127\.0\.0\.1:1 as user u/)
    assert.doesNotMatch(error.message, /hidden/)
    return true
  })
})
