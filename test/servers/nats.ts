import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

/** NATS with JetStream. */
export const nats: ServerKind = {
  name: 'NATS',
  variable: 'OUTRIDER_TEST_NATS',
  form: 'nats://host:port (with -js)',
  wants: 'nats-server',
  shared: true,
  available: () => findBinary('nats-server', ['/usr/sbin']) !== undefined,
  start: () => startNats(),
}

/** A NATS server that belongs to a test alone. */
export interface OwnNats extends RunningServer {
  /** Replaces the text given as `settings`, while it runs. */
  reload(settings: string): Promise<void>
}

/** With more lines of its configuration, e.g. `authorization { … }`; on a port that it had before. */
export async function startNats(settings = '', again?: number): Promise<OwnNats> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-nats-'))
  const port = again ?? (await freePort())
  const file = join(directory, 'nats.conf')
  const write = (more: string) =>
    writeFileSync(file, `listen: 127.0.0.1:${port}\njetstream { store_dir: ${JSON.stringify(directory)} }\n${more}\n`)
  write(settings)
  const child = spawn(findBinary('nats-server', ['/usr/sbin']) as string, ['-c', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  await announced(child, /Server is ready/, 'nats-server', directory)
  return {
    address: `nats://127.0.0.1:${port}`,
    async reload(more) {
      write(more)
      const told = new Promise<void>((resolve) => {
        const read = (chunk: Buffer) => {
          if (!/Reloaded server configuration/.test(chunk.toString())) return
          child.stderr.removeListener('data', read)
          resolve()
        }
        child.stderr.on('data', read)
      })
      child.kill('SIGHUP')
      await told
    },
    stop: () => end(child, 'SIGTERM', directory),
  }
}
