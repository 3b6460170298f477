import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { redisServer } from '../../../test/servers/redis.ts'
import { type ConfigurationBed, configurationStoreConformance } from '../../blocks/configuration/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { configurationDrivers } from './registry.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-configuration-'))
const redis = await redisServer()
after(async () => {
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
