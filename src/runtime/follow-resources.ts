import { unwatchFile, watchFile } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import { loadConfiguration } from '../resources/configuration.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import { watchFolders } from '../resources/watch.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Reloader } from './reload.ts'
import type { ReloadRecord } from './reload-record.ts'

export interface FollowOptions {
  flags: DaprdFlags
  log: Logger
  lifecycle: Lifecycle
  record: ReloadRecord
  configuration: Configuration
  reloader: Reloader
  /** The Configuration is another one: the sidecar is to be made anew. */
  onConfiguration: () => void
}

/** Milliseconds between looks at the --config files; they may be links into a mount, which no event tells of. */
const LOOK = 5000
const ABOUT = 'reload/Configuration'

/** Follows the resource folders and --config files: by events, every `--hot-reload-reconcile-interval`, and when asked. */
export class FollowResources implements Disposable {
  readonly #options: FollowOptions
  #watch: Disposable | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #look = () => void this.check()

  constructor(options: FollowOptions) {
    this.#options = options
  }

  /** Begins to watch. */
  begin(): void {
    const { flags, reloader, log } = this.#options
    const kinds =
      "'Component', 'Subscription', 'HTTPEndpoint', 'Resiliency', 'TrafficPolicy', 'StoreAndForward', 'MCPServer', 'WorkflowAccessPolicy' and 'Configuration'"
    log.scope('dapr.runtime.hotreload').info(`Hot reloading enabled: ${kinds} resources are followed as they are added, changed or deleted`)
    const pass = () => void reloader.request()
    this.#watch = watchFolders(flags.resourcesPaths, pass)
    this.#timer = setInterval(() => {
      log.scope('dapr.runtime.hotreload').debug('Running scheduled Component reconcile')
      pass()
    }, flags.hotReloadReconcileIntervalMs).unref()
    for (const file of flags.config) watchFile(file, { interval: LOOK, persistent: false }, this.#look)
    // What changed between the first reading and the watch.
    pass()
  }

  /** Looks at the Configuration now; true when it is another one and the sidecar will be made anew. */
  async check(): Promise<boolean> {
    const { flags, log, lifecycle, record, configuration } = this.#options
    try {
      const next = await loadConfiguration(flags.config)
      lifecycle.reason(ABOUT, undefined)
      if (isDeepStrictEqual(next.spec, configuration.spec)) return false
      record.count('Configuration', 'change', 'success')
      log.info(`Configuration ${next.names.join(', ')} changed: the runtime is made anew with it`)
      this.#options.onConfiguration()
      return true
    } catch (error) {
      const told = `the Configuration is refused, the one before it goes on: ${messageOf(error)}`
      record.count('Configuration', 'change', 'failure')
      log.error(told)
      lifecycle.reason(ABOUT, told)
      return false
    }
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]()
    clearInterval(this.#timer)
    for (const file of this.#options.flags.config) unwatchFile(file, this.#look)
  }
}
