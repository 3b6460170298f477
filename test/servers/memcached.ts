import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

export const memcached: ServerKind = {
  name: 'Memcached',
  variable: 'OUTRIDER_TEST_MEMCACHED',
  form: 'host:port',
  wants: 'memcached',
  available: () => findBinary('memcached', []) !== undefined,
  start: () => startMemcached(),
}

/** With more arguments, e.g. `-M`. */
export async function startMemcached(more: readonly string[] = []): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-memcached-'))
  const port = await freePort()
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child = spawn(findBinary('memcached', []) as string, ['-l', '127.0.0.1', '-p', String(port), '-vv', ...user, ...more], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /server listening/, 'memcached', directory)
  return { address: `127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
}
