import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'azurite')
const complete = join(folder, 'node_modules', 'complete')
const run = promisify(execFile)

/** Brings Azurite and what it needs from npm, once. */
export async function installAzurite(): Promise<void> {
  if (existsSync(complete)) return
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev'], { cwd: folder, maxBuffer: 16 << 20 })
  writeFileSync(complete, '')
}

interface Signing {
  /** PEM files of the certificate that it shows. */
  cert: string
  key: string
}

/** Starts one of Azurite's services; `signing`: over TLS, taking tokens of Microsoft Entra ID, whose claims it checks. */
export async function startAzurite(service: 'blob' | 'queue' | 'table', signing?: Signing): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-azurite-'))
  const port = await freePort()
  const program = join(folder, 'node_modules', 'azurite', 'dist', 'src', service, 'main.js')
  const flags = [
    `--${service}Host`,
    '127.0.0.1',
    `--${service}Port`,
    String(port),
    '--location',
    directory,
    '--silent',
    '--disableTelemetry',
  ]
  const more = signing ? ['--oauth', 'basic', '--cert', signing.cert, '--key', signing.key] : []
  const child = spawn(process.execPath, [program, ...flags, '--skipApiVersionCheck', ...more], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /successfully (listen|start)/, 'azurite', directory)
  const address = signing ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
  return { address, stop: () => end(child, 'SIGTERM', directory) }
}

/** Azurite, the stand-in for Azure Storage that Microsoft makes; its account has the key that Azure documents. */
export const azurite: ServerKind = {
  name: 'Azurite (Azure Storage)',
  variable: 'OUTRIDER_TEST_AZURE_STORAGE',
  form: 'http://host:port',
  wants: 'Azurite of npm: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete),
  start: () => startAzurite('blob'),
}

/** Its queues. */
export const azuriteQueues: ServerKind = {
  ...azurite,
  name: 'Azurite (Azure Queue Storage)',
  variable: 'OUTRIDER_TEST_AZURE_QUEUES',
  start: () => startAzurite('queue'),
}

/** Its tables. */
export const azuriteTables: ServerKind = {
  ...azurite,
  name: 'Azurite (Azure Table Storage)',
  variable: 'OUTRIDER_TEST_AZURE_TABLES',
  start: () => startAzurite('table'),
}
