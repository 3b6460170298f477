import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

// npm run verify: the one gate. --no-tests leaves the tests out, for where they have just run.
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const tool = (name: string) => join(root, 'node_modules', '.bin', name)
const steps: { name: string; command: string; args: string[] }[] = [
  { name: 'format and lint', command: tool('biome'), args: ['check', '--error-on-warnings', '.'] },
  { name: 'types', command: tool('tsc'), args: ['--noEmit', '-p', '.'] },
  { name: 'architecture', command: process.execPath, args: ['scripts/architecture.ts'] },
  { name: 'generated docs are fresh', command: process.execPath, args: ['scripts/generate.ts', '--check'] },
  { name: 'tests and docs examples', command: process.execPath, args: ['scripts/test.ts'] },
]

const skipped = process.argv.includes('--no-tests')
const results: { name: string; passed: boolean; seconds: number }[] = []
for (const { name, command, args } of steps) {
  if (skipped && name.startsWith('tests')) continue
  console.log(`\n== ${name}`)
  const started = performance.now()
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) console.error(`${command} cannot be started: ${error.message}; run npm ci first`)
  results.push({ name, passed: status === 0, seconds: (performance.now() - started) / 1000 })
}

console.log('\n== verify')
for (const { name, passed, seconds } of results) console.log(`${passed ? 'passed' : 'FAILED'}  ${name} (${seconds.toFixed(1)} s)`)
process.exitCode = results.every((result) => result.passed) ? 0 : 1
