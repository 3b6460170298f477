import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

export interface RedisServer {
  host: string
  port: number
  /** Ends the server and removes its folder; nothing for a server named by the environment. */
  stop(): Promise<void>
}

export interface PostgresServer {
  /** `postgres://user@host:port/database`, a user who may create tables. */
  url: string
  stop(): Promise<void>
}

const START_LIMIT = 30_000

/**
 * A Redis server for tests: the one in OUTRIDER_TEST_REDIS (host:port), else redis-server from the machine on a free port; with
 * `on` one of its own on that port.
 * Undefined when there is neither, so that the caller skips by name; with OUTRIDER_REQUIRE_SERVERS=1 that throws.
 */
export async function redisServer(on?: number): Promise<RedisServer | undefined> {
  const given = process.env.OUTRIDER_TEST_REDIS
  if (given && on === undefined) {
    const [host, port] = splitAddress(given)
    return { host, port: port ?? 6379, stop: async () => {} }
  }
  const binary = findBinary('redis-server', [])
  if (!binary) return missing('redis-server', 'OUTRIDER_TEST_REDIS=host:port')
  const directory = mkdtempSync(join(tmpdir(), 'outrider-redis-'))
  const port = on ?? (await freePort())
  const child = spawn(binary, ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /Ready to accept connections/, 'redis-server', directory)
  return { host: '127.0.0.1', port, stop: () => end(child, 'SIGTERM', directory) }
}

/**
 * A PostgreSQL server for tests: the one in OUTRIDER_TEST_POSTGRES (URL), else one initialised in a temporary folder.
 * Undefined when there is neither, so that the caller skips by name; with OUTRIDER_REQUIRE_SERVERS=1 that throws.
 */
export async function postgresServer(): Promise<PostgresServer | undefined> {
  const given = process.env.OUTRIDER_TEST_POSTGRES
  if (given) return { url: given, stop: async () => {} }
  const folders = postgresFolders()
  const binary = findBinary('postgres', folders)
  const initdb = findBinary('initdb', folders)
  if (!binary || !initdb) return missing('postgres', 'OUTRIDER_TEST_POSTGRES=postgres://user@host:port/database')
  const owner = unprivileged()
  if (owner === 'none')
    return missing('a user to run postgres as (it refuses root)', 'OUTRIDER_TEST_POSTGRES=postgres://user@host:port/database')
  const directory = mkdtempSync(join(tmpdir(), 'outrider-postgres-'))
  if (owner) chownSync(directory, owner.uid, owner.gid)
  const data = join(directory, 'data')
  const port = await freePort()
  const environment = { PATH: process.env.PATH, LC_ALL: 'C', HOME: directory }
  try {
    execFileSync(initdb, ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--no-sync', '--no-locale'], {
      ...owner,
      env: environment,
      cwd: directory,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
  } catch (error) {
    rmSync(directory, { recursive: true, force: true })
    throw new Error(`initdb failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
  const settings = [
    'fsync=off',
    'synchronous_commit=off',
    'full_page_writes=off',
    'max_connections=50',
    'shared_buffers=16MB',
    'timezone=UTC',
  ]
  const child = spawn(
    binary,
    ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', directory, ...settings.flatMap((setting) => ['-c', setting])],
    {
      ...owner,
      env: environment,
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  await announced(child, /database system is ready to accept connections/, 'postgres', directory)
  // SIGINT is PostgreSQL's fast shutdown: clients are cut off instead of waited for.
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, stop: () => end(child, 'SIGINT', directory) }
}

/** A TCP port on 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port given'))))
    })
  })
}

/** Whether something accepts connections at the address. */
export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

function missing(what: string, how: string): undefined {
  if (process.env.OUTRIDER_REQUIRE_SERVERS === '1')
    throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${what} is not on this machine: install it or set ${how}`)
  return undefined
}

function splitAddress(address: string): [string, number | undefined] {
  const colon = address.lastIndexOf(':')
  return colon < 0 ? [address, undefined] : [address.slice(0, colon), Number(address.slice(colon + 1))]
}

function findBinary(name: string, folders: readonly string[]): string | undefined {
  return [...folders, ...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin']
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** Debian keeps one folder a version outside PATH; the newest comes first. */
function postgresFolders(): string[] {
  try {
    return readdirSync('/usr/lib/postgresql')
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => join('/usr/lib/postgresql', version, 'bin'))
  } catch {
    return []
  }
}

/** undefined: run as we are; ids: as root, the user to become. */
function unprivileged(): { uid: number; gid: number } | undefined | 'none' {
  if (process.getuid?.() !== 0) return undefined
  for (const user of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, user], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())
      return { uid: id('-u'), gid: id('-g') }
    } catch {}
  }
  return 'none'
}

/** Children still running when the test process goes away are ended with it. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Waits for the line with which a server says it is ready. */
function announced(child: ChildProcess, line: RegExp, name: string, directory: string): Promise<void> {
  running.add(child)
  return new Promise((resolve, reject) => {
    let text = ''
    const limit = setTimeout(() => fail(`is not ready after ${START_LIMIT} ms`), START_LIMIT)
    const fail = (what: string) => {
      clearTimeout(limit)
      running.delete(child)
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
      reject(new Error(`${name} ${what}: ${text.slice(-500)}`))
    }
    const read = (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-4000)
      if (!line.test(text)) return
      clearTimeout(limit)
      child.removeListener('exit', exited)
      // Keep reading, or a full pipe would stop the server; but don't keep the test process alive for it.
      for (const stream of [child.stdout, child.stderr]) {
        stream?.removeListener('data', read)
        stream?.resume()
        if (stream && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
      }
      child.unref()
      resolve()
    }
    const exited = (code: number | null) => fail(`ended with ${code}`)
    child.once('exit', exited)
    child.once('error', (error) => fail(error.message))
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
  })
}

async function end(child: ChildProcess, signal: NodeJS.Signals, directory: string): Promise<void> {
  child.ref()
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const limit = setTimeout(() => child.kill('SIGKILL'), 10_000)
    child.kill(signal)
    await gone
    clearTimeout(limit)
  }
  running.delete(child)
  rmSync(directory, { recursive: true, force: true })
}
