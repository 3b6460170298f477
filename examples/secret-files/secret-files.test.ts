import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startAgent } from '../../src/agent/testing/program.ts'

test('the files are there, for their owner alone, and the app has its variables', { timeout: 60_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-example-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const secrets = join(folder, 'secrets.json')
  cpSync(join(import.meta.dirname, 'secrets.json'), secrets)
  const yaml = readFileSync(join(import.meta.dirname, 'agent/secrets.yaml'), 'utf8')
    .replace('examples/secret-files/secrets.json', secrets)
    .replace('/run/secrets/shop', join(folder, 'run'))
    .replace('refresh: 1m', 'refresh: 1s')
  writeFileSync(join(folder, 'secrets.yaml'), yaml)
  await using agent = await startAgent(folder)
  await agent.printed(/connecting as shop\n/)
  const path = join(folder, 'run', 'db.env')
  assert.equal(readFileSync(path, 'utf8'), 'DB_USER=shop\nDB_URL=postgres://shop:only an example@db:5432/shop\n')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'run', 'db.json'), 'utf8')), { user: 'shop', password: 'only an example' })
  assert.ok(!agent.log().includes('only an example'))
  assert.equal(await agent.stop(), 0)
})
