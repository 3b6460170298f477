import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { LockStore } from '../blocks/lock/driver.ts'
import type { PubSub } from '../blocks/pubsub/driver.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import { openSqlite } from '../storage/sqlite.ts'
import { createLogger } from '../telemetry/log.ts'
import { ComponentManager } from './component-manager.ts'
import { Lifecycle } from './lifecycle.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-locked-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const log = createLogger({ level: 'fatal', json: false, appId: 'a', version: '0', write: () => {} })

/** What writes to each, in the shortest form. */
const WRITES: Readonly<Record<string, (manager: ComponentManager) => Promise<unknown> | undefined>> = {
  'state.sqlite': (manager) =>
    manager
      .set<StateStore>('state')
      .get('state.sqlite')
      ?.component.set({ kind: 'upsert', key: 'k', value: Buffer.from('1'), json: true, metadata: {} }),
  'lock.sqlite': (manager) => manager.set<LockStore>('lock').get('lock.sqlite')?.component.tryLock('r', `o${performance.now()}`, 1),
  'pubsub.sqlite': (manager) =>
    manager
      .set<PubSub>('pubsub')
      .get('pubsub.sqlite')
      ?.component.publish({ topic: 't', data: Buffer.from('1'), metadata: {} }),
}

test('a SQLite file that another process keeps locked: health tells, writes end with an error that says so, the loop stays free', {
  timeout: 60_000,
}, async (t) => {
  const lifecycle = new Lifecycle({ appId: 'a', log })
  const manager = new ComponentManager({ appId: 'a', namespace: '', log, lifecycle, retryUnreachable: true })
  t.after(() => manager.close())
  for (const type of Object.keys(WRITES)) {
    const properties = { connectionString: join(folder, type), ...(type === 'pubsub.sqlite' ? {} : { busyTimeout: '700ms' }) }
    await manager.add({ name: type, type, version: 'v1', ignoreErrors: false, initTimeoutMs: 5000, properties })
  }
  lifecycle.started()
  manager.watch({ interval: 50, lostInterval: 20 })
  const states = () => Object.fromEntries(manager.statuses().map(({ name, state }) => [name, state]))
  const all = (state: string) => Object.fromEntries(Object.keys(WRITES).map((type) => [type, state]))
  const until = async (state: string) => {
    while (Object.values(states()).some((one) => one !== state)) await pause(10)
    assert.deepEqual(states(), all(state))
  }
  for (const write of Object.values(WRITES)) await write(manager)
  assert.deepEqual(states(), all('up'))

  const others = Object.keys(WRITES).map((type) => openSqlite(join(folder, type)))
  for (const other of others) other.exec('BEGIN IMMEDIATE')
  const lag = monitorEventLoopDelay({ resolution: 5 })
  lag.enable()
  for (const type of ['state.sqlite', 'lock.sqlite'])
    await assert.rejects(
      WRITES[type]?.(manager) as Promise<unknown>,
      /SQLite file \S+: database is locked: another process keeps the write lock \(end its/,
    )
  await until('retrying')
  lag.disable()
  // SQLite's own wait would have stopped everything for 700 ms.
  assert.ok(lag.max / 1e6 < 400, `the loop stood still for ${lag.max / 1e6} ms`)
  assert.equal(lifecycle.state, 'degraded')
  for (const { error } of manager.statuses()) assert.match(error ?? '', /another process keeps the write lock/)
  for (const other of others) other.exec('ROLLBACK')
  for (const other of others) other.close()
  await until('up')
  for (const write of Object.values(WRITES)) await write(manager)
  assert.deepEqual(lifecycle.reasons(), [])
})
