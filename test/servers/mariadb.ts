import { execFileSync, spawn } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort, unprivileged } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

export const mariadb: ServerKind = {
  name: 'MariaDB',
  variable: 'OUTRIDER_TEST_MARIADB',
  form: 'mysql://user:password@host:port (a user who may create databases)',
  wants: 'mariadb-server',
  shared: true,
  available: () => program('mariadbd') !== undefined && program('mariadb-install-db') !== undefined,
  start: () => startMariadb(),
}

/** With more arguments for mariadbd, e.g. `--ssl-cert=…`; files named there have to be readable for its user. */
export async function startMariadb(more: readonly string[] = []): Promise<RunningServer> {
  const owner = unprivileged(['mysql', 'nobody'])
  const directory = mkdtempSync(join(tmpdir(), 'outrider-mariadb-'))
  if (owner && owner !== 'none') chownSync(directory, owner.uid, owner.gid)
  const ids = owner === 'none' ? undefined : owner
  const data = join(directory, 'data')
  const port = await freePort()
  const options = { ...ids, env: { PATH: `${process.env.PATH}:/usr/sbin`, LC_ALL: 'C', HOME: directory }, cwd: directory }
  try {
    execFileSync(
      program('mariadb-install-db') as string,
      ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve'],
      { ...options, stdio: ['ignore', 'ignore', 'pipe'] },
    )
  } catch (error) {
    rmSync(directory, { recursive: true, force: true })
    throw new Error(`mariadb-install-db failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
  const child = spawn(
    program('mariadbd') as string,
    [
      '--no-defaults',
      `--datadir=${data}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(directory, 'socket')}`,
      `--pid-file=${join(directory, 'pid')}`,
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=0',
      '--innodb-buffer-pool-size=16M',
      '--log-warnings=1',
      ...more,
    ],
    { ...options, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /ready for connections/, 'mariadbd', directory)
  // The install names root by host; over TCP it answers as root@localhost and root@127.0.0.1, both without a password.
  return { address: `mysql://root@127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
}

function program(name: string): string | undefined {
  return findBinary(name, ['/usr/sbin'])
}
