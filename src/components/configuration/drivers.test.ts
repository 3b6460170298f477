import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import pg from 'pg'
import { postgresServer } from '../../../test/servers/postgres.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { type ConfigurationBed, configurationStoreConformance } from '../../blocks/configuration/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { configurationDrivers } from './registry.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-configuration-'))
const redis = await redisServer()
const postgres = await postgresServer()
after(async () => {
  await postgres?.stop()
  await redis?.stop()
  rmSync(folder, { recursive: true })
})
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

async function open(type: string, properties: Record<string, string>) {
  const row = configurationDrivers.find((driver) => driver.type === type)
  assert.ok(row, type)
  const store = (await row.load()).create({ name: 'c', type, version: 'v1', properties, appId: 'app', namespace: 'default', log })
  await store.init(AbortSignal.timeout(5000))
  return store
}

// The other program is a real one: each write is a process of its own.
const writer =
  'const [file, sql, ...values] = process.argv.slice(1); const d = new (require("node:sqlite").DatabaseSync)(file, { timeout: 5000 }); d.prepare(sql).run(...values); d.close()'

configurationStoreConformance('configuration.sqlite', async (): Promise<ConfigurationBed> => {
  const file = join(folder, 'c.db')
  const store = await open('configuration.sqlite', { connectionString: file })
  const run = async (sql: string, ...values: string[]) =>
    void (await promisify(execFile)(process.execPath, ['-e', writer, file, sql, ...values]))
  return {
    store,
    set: (key, value, version) =>
      run(
        'INSERT INTO configuration (key, value, version) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version',
        key,
        value,
        version,
      ),
    delete: (key) => run('DELETE FROM configuration WHERE key = ?', key),
    close: async () => store[Symbol.asyncDispose](),
  }
})

configurationStoreConformance('configuration.redis', async (): Promise<ConfigurationBed | undefined> => {
  if (!redis) return undefined
  const store = await open('configuration.redis', { redisHost: `${redis.host}:${redis.port}` })
  const other = new Redis({ host: redis.host, port: redis.port })
  return {
    store,
    set: async (key, value, version) => void (await other.set(key, `${value}||${version}`)),
    delete: async (key) => void (await other.del(key)),
    async close() {
      other.disconnect()
      await store[Symbol.asyncDispose]()
    },
  }
})

/** A table with the trigger that Dapr's documentation asks for. */
async function table(name: string): Promise<pg.Client> {
  const other = new pg.Client(postgres?.url ?? '')
  // Its backend is ended below, which is no failure of the test.
  other.on('error', () => {})
  await other.connect()
  await other.query(`CREATE TABLE ${name} (key varchar NOT NULL, value varchar NOT NULL, version varchar NOT NULL, metadata json)`)
  await other.query(`CREATE FUNCTION ${name}_notify() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE changed json;
    BEGIN
      IF (TG_OP = 'DELETE') THEN changed = row_to_json(OLD); ELSE changed = row_to_json(NEW); END IF;
      PERFORM pg_notify('${name}', json_build_object('table', TG_TABLE_NAME, 'action', TG_OP, 'data', changed)::text);
      RETURN NULL;
    END $$`)
  await other.query(`CREATE TRIGGER told AFTER INSERT OR UPDATE OR DELETE ON ${name} FOR EACH ROW EXECUTE FUNCTION ${name}_notify()`)
  return other
}
let tables = 0

configurationStoreConformance('configuration.postgresql', async (): Promise<ConfigurationBed | undefined> => {
  if (!postgres) return undefined
  const name = `config_${process.pid}_${++tables}`
  const other = await table(name)
  const store = await open('configuration.postgresql', { connectionString: postgres.url, table: name, notifyChannel: name })
  return {
    store,
    set: async (key, value, version) => {
      const found = await other.query(`UPDATE ${name} SET value = $2, version = $3 WHERE key = $1`, [key, value, version])
      if (!found.rowCount) await other.query(`INSERT INTO ${name} (key, value, version) VALUES ($1, $2, $3)`, [key, value, version])
    },
    delete: async (key) => void (await other.query(`DELETE FROM ${name} WHERE key = $1`, [key])),
    async close() {
      await other.end()
      await store[Symbol.asyncDispose]()
    },
  }
})

test('configuration.postgresql: the highest version counts, metadata comes along, and a lost connection loses no change', {
  timeout: 30_000,
}, async (t) => {
  if (!postgres) return t.skip('no PostgreSQL')
  const name = `config_${process.pid}_more`
  const other = await table(name)
  await assert.rejects(open('configuration.postgres', { connectionString: postgres.url, table: 'nosuch' }), /table 'nosuch' does not exist/)
  await using store = await open('configuration.postgres', { connectionString: postgres.url, table: name })
  for (const [version, metadata] of [
    ['9', null],
    ['10', '{"by":"me"}'],
    ['word', null],
  ])
    await other.query(`INSERT INTO ${name} VALUES ('k', $1, $2, $3)`, [`v${version}`, version, metadata])
  assert.deepEqual(await store.get(['k'], {}), { k: { value: 'v10', version: '10', metadata: { by: 'me' } } })

  await assert.rejects(
    store.subscribe(['k'], {}, async () => {}),
    /notifyChannel must be set/,
  )
  const { promise, resolve } = Promise.withResolvers<string>()
  await using _subscription = await store.subscribe(['k'], { pgNotifyChannel: name }, async (items) => resolve(items.k?.value ?? ''))
  // The listening connection dies, and the change comes in the same moment: nobody is told of it.
  await other.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%${name}%' AND pid <> pg_backend_pid()`)
  await other.query(`ALTER TABLE ${name} DISABLE TRIGGER told`)
  await other.query(`UPDATE ${name} SET value = 'missed' WHERE version = '10'`)
  assert.equal(await promise, 'missed')
  await other.end()
})
