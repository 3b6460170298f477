import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { postgresServer } from '../../../../test/servers/postgres.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const server = await postgresServer()
after(() => server?.stop())
const skip = server ? false : 'no PostgreSQL'
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

async function open(properties: Record<string, string> = { url: server?.url ?? '' }) {
  const binding = driver.create({ name: 'db', type: 'bindings.postgres', version: 'v1', properties, appId: 'app', namespace: '', log })
  await binding.init(AbortSignal.timeout(20_000))
  return binding
}
const ask = (operation: string, metadata: Record<string, string>) => ({ operation, data: Buffer.alloc(0), metadata })

if (server) bindingConformance('bindings.postgresql', { operations: ['exec', 'query', 'close'], read: false }, () => open())

test('exec tells the rows it changed, query gives rows as arrays', { skip }, async () => {
  await using binding = await open()
  await binding.invoke?.(ask('exec', { sql: 'drop table if exists orders; create table orders (id int, customer text, price float)' }))
  const written = await binding.invoke?.(
    ask('exec', { sql: 'insert into orders values ($1, $2, $3), (2, null, 1)', params: '[1, "John", 100.32]' }),
  )
  assert.equal(written?.metadata?.['rows-affected'], '2')
  assert.match(written?.metadata?.duration ?? '', /s$/)
  const read = await binding.invoke?.(ask('query', { sql: 'select * from orders order by id' }))
  assert.equal(read?.data?.toString(), '[[1,"John",100.32],[2,null,1]]')
  assert.equal(read?.metadata?.['rows-affected'], undefined)
})

test('values of every kind are exact in JSON', { skip }, async () => {
  await using binding = await open()
  const sql = `select 9007199254740993::int8, 1.10::numeric, 'NaN'::numeric, '2026-01-02'::date, '2026-01-02 03:04:05.000006'::timestamp,
    '2026-01-02 03:04:05+02'::timestamptz, '\\x6869'::bytea, '{"a":1}'::jsonb, true`
  const read = await binding.invoke?.(ask('query', { sql }))
  assert.equal(
    read?.data?.toString(),
    '[[9007199254740993,1.10,"NaN","2026-01-02T00:00:00Z","2026-01-02T03:04:05.000006Z","2026-01-02T01:04:05.000Z","aGk=",{"a":1},true]]',
  )
})

test('what cannot be run is said in the error', { skip }, async () => {
  await using binding = await open()
  await assert.rejects(async () => binding.invoke?.(ask('exec', {})), { message: 'required metadata not set: sql' })
  await assert.rejects(async () => binding.invoke?.(ask('get', { sql: 'select 1' })), /invalid operation type: get\./)
  await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select $1', params: '{}' })), /metadata property params/)
  await assert.rejects(
    async () => binding.invoke?.(ask('query', { sql: 'select * from nosuch' })),
    /^Error: error executing query: .*nosuch/,
  )
  await binding.invoke?.(ask('close', {}))
  await binding.invoke?.(ask('close', {}))
  await assert.rejects(async () => binding.invoke?.(ask('query', { sql: 'select 1' })), { message: 'component is closed' })
})

test('a server that is not there is named, its password is not', async () => {
  await assert.rejects(open({ url: 'host=127.0.0.1 port=1 user=u password=hidden dbname=orders' }), (error: Error) => {
    assert.match(error.message, /binding db: cannot reach PostgreSQL at 127\.0\.0\.1:1\/orders/)
    assert.doesNotMatch(error.message, /hidden/)
    return true
  })
})
