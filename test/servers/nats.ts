import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

/** NATS with JetStream. */
export const nats: ServerKind = {
  name: 'NATS',
  variable: 'OUTRIDER_TEST_NATS',
  form: 'nats://host:port (with -js)',
  wants: 'nats-server',
  shared: true,
  available: () => findBinary('nats-server', ['/usr/sbin']) !== undefined,
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-nats-'))
    const port = await freePort()
    const child = spawn(
      findBinary('nats-server', ['/usr/sbin']) as string,
      ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    await announced(child, /Server is ready/, 'nats-server', directory)
    return { address: `nats://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
