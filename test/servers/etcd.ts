import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

export const etcd: ServerKind = {
  name: 'etcd',
  variable: 'OUTRIDER_TEST_ETCD',
  form: 'host:port',
  wants: 'etcd-server',
  available: () => findBinary('etcd', []) !== undefined,
  start: () => startEtcd(),
}

/** With more arguments, e.g. `--quota-backend-bytes=…`; `{client}` stands for the address. */
export async function startEtcd(more: readonly string[] = []): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-etcd-'))
  const [client, peer] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const child = spawn(
    findBinary('etcd', []) as string,
    [
      '--data-dir',
      join(directory, 'data'),
      '--listen-client-urls',
      `http://${client}`,
      '--advertise-client-urls',
      `http://${client}`,
      '--listen-peer-urls',
      `http://${peer}`,
      '--initial-advertise-peer-urls',
      `http://${peer}`,
      '--initial-cluster',
      `default=http://${peer}`,
      '--unsafe-no-fsync',
      ...more.map((word) => word.replace('{client}', client)),
    ],
    { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /ready to serve client requests/, 'etcd', directory)
  return { address: client, stop: () => end(child, 'SIGTERM', directory) }
}
