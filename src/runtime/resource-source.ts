import type { Configuration } from '../resources/configuration-spec.ts'
import type { Resources } from '../resources/kinds.ts'

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
