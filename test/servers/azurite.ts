import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'azurite')
const complete = join(folder, 'node_modules', 'complete')
const run = promisify(execFile)

/** Brings Azurite and what it needs from npm, once. */
export async function installAzurite(): Promise<void> {
  if (existsSync(complete)) return
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev'], { cwd: folder, maxBuffer: 16 << 20 })
  writeFileSync(complete, '')
}

/** Azurite, the stand-in for Azure Storage that Microsoft makes; its account has the key that Azure documents. */
export const azurite: ServerKind = {
  name: 'Azurite (Azure Storage)',
  variable: 'OUTRIDER_TEST_AZURE_STORAGE',
  form: 'http://host:port',
  wants: 'Azurite of npm: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete),
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-azurite-'))
    const port = await freePort()
    const program = join(folder, 'node_modules', 'azurite', 'dist', 'src', 'blob', 'main.js')
    const flags = ['--blobHost', '127.0.0.1', '--blobPort', String(port), '--location', directory, '--silent', '--disableTelemetry']
    const child = spawn(process.execPath, [program, ...flags, '--skipApiVersionCheck'], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await announced(child, /successfully listen/, 'azurite', directory)
    return { address: `http://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
