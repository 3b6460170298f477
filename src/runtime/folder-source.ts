import { unwatchFile, watchFile } from 'node:fs'
import type { DaprdFlags } from '../cli/flags.ts'
import { loadConfiguration } from '../resources/configuration.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Resources } from '../resources/kinds.ts'
import { emptyResources, loadResources } from '../resources/load.ts'
import { watchFolders } from '../resources/watch.ts'
import type { Logger } from '../telemetry/log.ts'
import { NewLines } from './new-lines.ts'
import type { ResourceSource } from './resource-source.ts'

/** Milliseconds between looks at the --config files; they may be links into a mount, which no event tells of. */
const LOOK = 5000

/** The folders of `--resources-path` and the files of `--config`. */
export class FolderSource implements ResourceSource {
  readonly #flags: DaprdFlags
  readonly #log: Logger
  readonly #lines = new NewLines()
  #asked = false

  constructor(flags: DaprdFlags, log: Logger) {
    this.#flags = flags
    this.#log = log
  }

  configuration(): Promise<Configuration> {
    // What there is to remark is said once.
    const options = this.#asked ? {} : { log: this.#log }
    this.#asked = true
    return loadConfiguration(this.#flags.config, options)
  }

  async read(mayMiss: boolean): Promise<Resources> {
    const { resourcesPaths, appId, environment } = this.#flags
    if (resourcesPaths.length === 0) return emptyResources()
    return loadResources({ paths: resourcesPaths, appId, namespace: environment.namespace, log: this.#lines.logger(this.#log), mayMiss })
  }

  watch(changed: { resources(): void; configuration(): void }): Disposable {
    const { resourcesPaths, config } = this.#flags
    const folders = watchFolders(resourcesPaths, changed.resources)
    for (const file of config) watchFile(file, { interval: LOOK, persistent: false }, changed.configuration)
    return {
      [Symbol.dispose]() {
        folders[Symbol.dispose]()
        for (const file of config) unwatchFile(file, changed.configuration)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
