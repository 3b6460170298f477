import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'clouds')
const program = join(folder, 'build', 'clouds')

/** Builds the stand-ins from Go modules, once. */
export async function installClouds(): Promise<void> {
  if (existsSync(program)) return
  await promisify(execFile)('go', ['build', '-ldflags=-s -w', '-o', program, '.'], { cwd: folder, maxBuffer: 16 << 20 })
}

function kind(service: string, name: string, variable: string, scheme: string): ServerKind {
  return {
    name,
    variable,
    form: `${scheme}host:port`,
    wants: 'the stand-ins of the clouds, with Go: node test/servers/install.ts',
    shared: true,
    available: () => existsSync(program),
    async start() {
      const directory = mkdtempSync(join(tmpdir(), `outrider-${service}-`))
      const address = `127.0.0.1:${await freePort()}`
      const child = spawn(program, [service, address], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
      await announced(child, /^ready$/m, service, directory)
      return { address: `${scheme}${address}`, stop: () => end(child, 'SIGTERM', directory) }
    },
  }
}

/** Key Vault by the fake servers of Microsoft's SDK for Go, and Entra ID's token endpoint beside it; the clients' secret is `canary-secret`. */
export const keyVault = kind('keyvault', 'Key Vault of the SDK', 'OUTRIDER_TEST_AZURE_KEYVAULT', 'http://')

/** fake-gcs-server: Cloud Storage. */
export const gcs = kind('storage', 'fake-gcs-server (Cloud Storage)', 'OUTRIDER_TEST_GCS', 'http://')

/** pstest: Pub/Sub, as Google's SDK for Go is tested. */
export const pubsubFake = kind('pubsub', 'pstest (Pub/Sub)', 'OUTRIDER_TEST_GCP_PUBSUB', '')

/** Secret Manager behind Google's generated server; tokens start with `token-`. */
export const secretManager = kind('secretmanager', 'Secret Manager of the SDK', 'OUTRIDER_TEST_GCP_SECRETMANAGER', '')
