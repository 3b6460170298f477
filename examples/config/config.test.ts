import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startAgent } from '../../src/agent/testing/program.ts'
import { serveForTest } from '../../src/agent/testing/role-context.ts'

test('orders gets its configuration and flags, Consul over files', { timeout: 60_000 }, async (t) => {
  const value = Buffer.from('db2').toString('base64')
  await using consul = await serveForTest(({ headers }) =>
    headers['x-consul-token'] !== 'token' ? { status: 403 } : { body: JSON.stringify([{ Key: 'config/orders/db/host', Value: value }]) },
  )
  const folder = mkdtempSync(join(tmpdir(), 'outrider-example-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(join(import.meta.dirname, 'settings'), join(folder, 'settings'), { recursive: true })
  const yaml = readFileSync(join(import.meta.dirname, 'agent/config.yaml'), 'utf8')
  writeFileSync(
    join(folder, 'config.yaml'),
    yaml.replace('examples/config/settings', join(folder, 'settings')).replace('http://127.0.0.1:8500', consul.url),
  )
  await using agent = await startAgent(folder, { env: { CONSUL_HTTP_TOKEN: 'token' } })
  const get = async (path: string) => (await fetch(`${agent.url}${path}`)).json()
  const config = { region: 'eu-1', log: { level: 'debug' }, db: { host: 'db2', port: 5432, password: '…' } }
  assert.deepEqual(await get('/config'), config)
  assert.deepEqual(await get('/features/orders?plan=pro'), { 'new-checkout': true, banner: 'HELLO' })
  assert.ok(!agent.log().includes('not shown'))
})
