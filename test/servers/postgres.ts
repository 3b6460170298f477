import { execFileSync, spawn } from 'node:child_process'
import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort, unprivileged } from './process.ts'
import { type ServerKind, serverOf } from './server.ts'

export interface PostgresServer {
  /** `postgres://user@host:port/database`, a user who may create tables. */
  url: string
  stop(): Promise<void>
}

const SETTINGS = [
  'fsync=off',
  'synchronous_commit=off',
  'full_page_writes=off',
  'max_connections=50',
  'shared_buffers=16MB',
  'timezone=UTC',
]

export const postgres: ServerKind = {
  name: 'PostgreSQL',
  variable: 'OUTRIDER_TEST_POSTGRES',
  form: 'postgres://user@host:port/database',
  wants: 'postgresql, with a user postgres or nobody to run it as (it refuses root)',
  available: () => program('postgres') !== undefined && program('initdb') !== undefined && unprivileged(['postgres', 'nobody']) !== 'none',
  async start() {
    const owner = unprivileged(['postgres', 'nobody']) as { uid: number; gid: number } | undefined
    const directory = mkdtempSync(join(tmpdir(), 'outrider-postgres-'))
    if (owner) chownSync(directory, owner.uid, owner.gid)
    const data = join(directory, 'data')
    const port = await freePort()
    const environment = { PATH: process.env.PATH, LC_ALL: 'C', HOME: directory }
    try {
      execFileSync(
        program('initdb') as string,
        ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--no-sync', '--no-locale'],
        { ...owner, env: environment, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
      )
    } catch (error) {
      rmSync(directory, { recursive: true, force: true })
      throw new Error(`initdb failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    const child = spawn(
      program('postgres') as string,
      ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', directory, ...SETTINGS.flatMap((setting) => ['-c', setting])],
      { ...owner, env: environment, cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    await announced(child, /database system is ready to accept connections/, 'postgres', directory)
    // SIGINT is PostgreSQL's fast shutdown: clients are cut off instead of waited for.
    return { address: `postgres://postgres@127.0.0.1:${port}/postgres`, stop: () => end(child, 'SIGINT', directory) }
  },
}

/** {@link serverOf} for PostgreSQL, the address by its usual name. */
export async function postgresServer(): Promise<PostgresServer | undefined> {
  const server = await serverOf(postgres)
  return server && { url: server.address, stop: server.stop }
}

function program(name: string): string | undefined {
  return findBinary(name, folders())
}

/** Debian keeps one folder a version outside PATH; the newest comes first. */
function folders(): string[] {
  try {
    return readdirSync('/usr/lib/postgresql')
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => join('/usr/lib/postgresql', version, 'bin'))
  } catch {
    return []
  }
}
