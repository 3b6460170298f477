import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { redisServer } from '../../../test/servers/redis.ts'
import { lockStoreConformance } from '../../blocks/lock/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { lockDrivers } from './registry.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-lock-'))
const redis = await redisServer()
after(async () => {
  await redis?.stop()
  rmSync(folder, { recursive: true })
})
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

async function open(type: string, properties: Record<string, string>) {
  const row = lockDrivers.find((driver) => driver.type === type)
  assert.ok(row, type)
  const store = (await row.load()).create({ name: 'l', type, version: 'v1', properties, appId: 'app', namespace: 'default', log })
  await store.init(AbortSignal.timeout(5000))
  return store
}

lockStoreConformance('lock.sqlite', () => open('lock.sqlite', { connectionString: join(folder, 'l.db') }))
lockStoreConformance('lock.redis', async () => redis && open('lock.redis', { redisHost: `${redis.host}:${redis.port}` }))

test('lock.redis names the server it cannot reach', async () => {
  await assert.rejects(
    open('lock.redis', { redisHost: '127.0.0.1:1', redisMaxRetries: '0' }),
    /cannot connect to Redis at 127\.0\.0\.1:1: .*ECONNREFUSED/,
  )
})
