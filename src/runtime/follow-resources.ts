import { isDeepStrictEqual } from 'node:util'
import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Reloader } from './reload.ts'
import type { ReloadRecord } from './reload-record.ts'
import type { ResourceSource } from './resource-source.ts'

export interface FollowOptions {
  flags: DaprdFlags
  log: Logger
  lifecycle: Lifecycle
  record: ReloadRecord
  configuration: Configuration
  source: ResourceSource
  reloader: Reloader
  /** The Configuration is another one: the sidecar is to be made anew. */
  onConfiguration: () => void
}

const ABOUT = 'reload/Configuration'

/** Follows where the resources and the Configuration come from: by events, every `--hot-reload-reconcile-interval`, and when asked. */
export class FollowResources implements Disposable {
  readonly #options: FollowOptions
  #watch: Disposable | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: FollowOptions) {
    this.#options = options
  }

  /** Begins to watch. */
  begin(): void {
    const { flags, reloader, log, source } = this.#options
    const kinds =
      "'Component', 'Subscription', 'HTTPEndpoint', 'Resiliency', 'TrafficPolicy', 'StoreAndForward', 'MCPServer', 'WorkflowAccessPolicy' and 'Configuration'"
    log.scope('dapr.runtime.hotreload').info(`Hot reloading enabled: ${kinds} resources are followed as they are added, changed or deleted`)
    const pass = () => void reloader.request()
    this.#watch = source.watch({ resources: pass, configuration: () => void this.check() })
    this.#timer = setInterval(() => {
      for (const kind of ['Component', 'Subscription', 'MCPServer'])
        log.scope('dapr.runtime.hotreload').debug(`Running scheduled ${kind} reconcile`)
      void Promise.resolve(source.refresh?.()).then(pass, (error: unknown) => log.warn(messageOf(error)))
    }, flags.hotReloadReconcileIntervalMs).unref()
    // What changed between the first reading and the watch.
    pass()
  }

  /** Looks at the Configuration now; true when it is another one and the sidecar will be made anew. */
  async check(): Promise<boolean> {
    const { log, lifecycle, record, configuration, source } = this.#options
    try {
      const next = await source.configuration()
      lifecycle.reason(ABOUT, undefined)
      if (isDeepStrictEqual(next.spec, configuration.spec)) return false
      record.count('Configuration', 'change', 'success')
      log.info(`Configuration ${next.names.join(', ')} changed: the runtime is made anew with it (triggering SIGHUP reload)`)
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
  }
}
