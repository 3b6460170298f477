import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { missingSdks } from '../test/sdk/install.ts'
import { missingServers, startShared } from '../test/servers/table.ts'

// npm test: every test file, two at a time; the summary of node:test is the last thing printed.
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const asked = process.argv.slice(2)
const patterns = ['src/**/*.test.ts', 'scripts/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts']
const files = asked.length > 0 ? asked : globSync(patterns, { cwd: root, exclude: ['**/node_modules/**'] }).sort()

const missing = [...missingServers(), ...missingSdks()]
if (missing.length > 0) {
  const required = process.env.OUTRIDER_REQUIRE_SERVERS === '1'
  console.log(`\n!!! ${required ? 'MISSING' : 'SKIPPED'}: tests that need these ${required ? 'will fail' : 'are skipped'}`)
  for (const { name, help } of missing) console.log(`!!!   ${name}: ${help}`)
  console.log('')
}

// Slow starters run once for all files; a file asked for alone starts what it needs.
const stopShared = asked.length > 0 ? async () => {} : await startShared()

// A test that hangs fails by name after two minutes instead of holding the gate.
const options = ['--test', '--test-concurrency=2', '--test-timeout=120000', '--test-reporter=spec', '--disable-warning=ExperimentalWarning']
const child = spawn(process.execPath, [...options, ...files], { cwd: root, stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
child.on('exit', async (code) => {
  process.exitCode = code ?? 1
  await stopShared()
})
