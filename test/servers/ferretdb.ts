import { execFile, spawn } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { accepts, announced, end, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'ferretdb')
const build = join(folder, 'build')
const program = join(build, 'ferretdb')
const run = promisify(execFile)

/** Builds FerretDB from its Go module, once. It wants to know its version of a file that the module does not hold, hence the copy. */
export async function installFerretdb(): Promise<void> {
  if (existsSync(program)) return
  const name = 'github.com/FerretDB/FerretDB'
  await run('go', ['mod', 'download', name], { cwd: folder })
  const { stdout } = await run('go', ['list', '-m', '-f', '{{.Version}} {{.Dir}}', name], { cwd: folder })
  const [version = '', module = ''] = stdout.trim().split(' ')
  const source = join(build, 'source')
  rmSync(source, { recursive: true, force: true })
  cpSync(module, source, { recursive: true })
  for (const entry of readdirSync(source, { recursive: true, withFileTypes: true }))
    if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o755)
  writeFileSync(join(source, 'build', 'version', 'version.txt'), `${version}\n`)
  await run('go', ['build', '-mod=mod', '-buildvcs=false', '-ldflags=-s -w', '-o', program, './cmd/ferretdb'], {
    cwd: source,
    maxBuffer: 16 << 20,
  })
  rmSync(source, { recursive: true, force: true })
}

/** Its only user has every right. */
export const ROOT = { username: 'root', password: 'canary-secret' }

async function start(): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-ferretdb-'))
  const port = await freePort()
  const flags = {
    handler: 'sqlite',
    'sqlite-url': `file:${directory}/`,
    'state-dir': directory,
    'listen-addr': `127.0.0.1:${port}`,
    'debug-addr': '-',
    telemetry: 'disable',
    'test-enable-new-auth': 'true',
    'setup-database': 'admin',
    'setup-username': ROOT.username,
    'setup-password': ROOT.password,
  }
  const child = spawn(
    program,
    Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  await announced(child, /Listening on TCP/i, 'FerretDB', directory)
  if (!(await accepts('127.0.0.1', port))) throw new Error('FerretDB does not listen')
  return {
    address: `mongodb://${ROOT.username}:${ROOT.password}@127.0.0.1:${port}/`, // Asked politely it takes 3 s.
    stop: () => end(child, 'SIGKILL', directory),
  }
}

/** FerretDB on SQLite: speaks as MongoDB does, with users (SCRAM); without indexes that expire, pipelines in updates, and transactions. */
export const ferretdb: ServerKind = {
  name: 'FerretDB (MongoDB with users)',
  variable: 'OUTRIDER_TEST_FERRETDB',
  form: 'mongodb://user:password@host:port/',
  wants: 'FerretDB, with Go: node test/servers/install.ts',
  available: () => existsSync(program),
  start,
}
