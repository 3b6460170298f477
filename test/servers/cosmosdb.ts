import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'cosmosdb')
const complete = join(folder, 'node_modules', 'complete')
const run = promisify(execFile)

/** Brings the store, and Microsoft's own client that is asked beside it, from npm, once. */
export async function installCosmosdb(): Promise<void> {
  if (existsSync(complete)) return
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev'], { cwd: folder, maxBuffer: 16 << 20 })
  writeFileSync(complete, '')
}

/** `signing`: PEM files of the certificate that it shows. */
export async function startCosmosdb(signing?: { cert: string; key: string }): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-cosmosdb-'))
  const port = await freePort()
  const flags = [join(folder, 'serve.ts'), String(port), ...(signing ? [signing.cert, signing.key] : [])]
  const child = spawn(process.execPath, flags, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  await announced(child, /^ready$/m, 'cosmosdb', directory)
  return { address: signing ? `https://localhost:${port}` : `http://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
}

/**
 * Cosmos DB's SQL API: the store of @vercel/cosmosdb-server, whose ETags, routes and SQL are its own, behind a front that adds what it
 * lacks (`cosmosdb/serve.ts`). Azure's own emulators are images of containers and in no package registry.
 */
export const cosmosdb: ServerKind = {
  name: 'cosmosdb-server (Azure Cosmos DB)',
  variable: 'OUTRIDER_TEST_AZURE_COSMOSDB',
  form: 'http://host:port',
  wants: 'cosmosdb-server of npm: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete),
  start: () => startCosmosdb(),
}
