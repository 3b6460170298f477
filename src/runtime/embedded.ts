import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DaprdFlags } from '../cli/flags.ts'
import type { ComponentSpec } from './component-instance.ts'

/** Components that are there without a resource: the cluster's own secrets, and what `--outrider-embedded` gives. */
export function builtInComponents(flags: DaprdFlags): ComponentSpec[] {
  const cluster = flags.mode === 'kubernetes' && !flags.disableBuiltinK8sSecretStore
  return [
    ...(cluster ? [component('kubernetes', 'secretstores.kubernetes', {})] : []),
    ...(flags.outriderEmbedded ? embeddedComponents(flags.outriderDataDir) : []),
  ]
}

/** The file that every sidecar with this data folder shares. */
export function embeddedFile(dataDir: string): string {
  return join(dataDir, 'outrider.db')
}

/**
 * The components that a sidecar without resources gets, durable on one SQLite file:
 * `statestore`, `pubsub`, `lockstore`, `configstore`, and `secretstore` on `secrets.json` beside it (made empty, 0600).
 */
export function embeddedComponents(dataDir: string): ComponentSpec[] {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const file = embeddedFile(dataDir)
  const secrets = join(dataDir, 'secrets.json')
  if (!existsSync(secrets)) writeFileSync(secrets, '{}\n', { mode: 0o600, flag: 'a' })
  return [
    component('secretstore', 'secretstores.local.file', { secretsFile: secrets }),
    component('statestore', 'state.sqlite', { connectionString: file }),
    component('pubsub', 'pubsub.sqlite', { connectionString: file }),
    component('lockstore', 'lock.sqlite', { connectionString: file }),
    component('configstore', 'configuration.sqlite', { connectionString: file }),
  ]
}

function component(name: string, type: string, properties: Record<string, string>): ComponentSpec {
  return { name, type, version: 'v1', ignoreErrors: false, initTimeoutMs: 5000, properties }
}
