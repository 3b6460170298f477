import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startAgent } from '../../src/agent/testing/program.ts'

test('a shell below node and a write below the folder are told', {
  timeout: 60_000,
  skip: process.platform !== 'linux' && 'needs /proc',
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-example-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const etc = join(folder, 'etc')
  mkdirSync(etc)
  writeFileSync(
    join(folder, 'security.yaml'),
    readFileSync(join(import.meta.dirname, 'agent/security.yaml'), 'utf8').replaceAll('/etc/app', etc),
  )
  await using agent = await startAgent(folder)
  writeFileSync(join(etc, 'app.conf'), 'changed')
  await agent.printed(/"output":"[^"]*Error [^"]*app\.conf was written".*"rule":"Configuration was written"/)
  const word = `word${process.pid}`
  const shell = spawn('sh', ['-c', `read x; echo ${word}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  t.after(() => shell.kill('SIGKILL'))
  const [line] = await agent.printed(new RegExp(`\\{[^\\n]*"output":"[^"]*Warning shell sh -c read x; echo ${word} of node[^\\n]*\\}`))
  assert.equal((JSON.parse(line) as { rule: string }).rule, 'Shell below the app')
})
