import type { DaprdFlags } from '../cli/flags.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Resources } from '../resources/kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import { FolderSource } from './folder-source.ts'

/** Where a sidecar has its resources from: folders and files, or the operator of a cluster. */
export interface ResourceSource extends AsyncDisposable {
  /** Rejects with ConfigurationError when it cannot be used. */
  configuration(): Promise<Configuration>
  /** Those of this app; with `mayMiss` a folder may be away. Rejects with ResourcesError. */
  read(mayMiss: boolean): Promise<Resources>
  /** Forgets what was kept of the last reading, if anything: the next one asks anew. */
  refresh?(): Promise<void>
  /** Calls back when something may have changed, until disposed. */
  watch(changed: { resources(): void; configuration(): void }): Disposable
}

/**
 * The source that `--mode` names. An operator is asked with an identity; of files it is told what is wrong with them before an
 * authority is waited for.
 * @param trust Waits for the identity; undefined: told to stop before.
 * @returns undefined when told to stop before.
 */
export async function openSource(
  flags: DaprdFlags,
  log: Logger,
  trust: () => Promise<WorkloadIdentity | undefined>,
): Promise<ResourceSource | undefined> {
  if (flags.mode === 'standalone') return new FolderSource(flags, log)
  const identity = await trust()
  if (!identity) return undefined
  const { OperatorSource } = await import('./operator-source.ts')
  return new OperatorSource(flags, identity, log)
}
