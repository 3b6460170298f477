import type { App } from '../app/app.ts'
import { AppHealth } from '../app/health.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import { healthProbe, loadAppConfiguration } from './app-link.ts'
import type { Blocks } from './blocks.ts'
import type { Lifecycle } from './lifecycle.ts'

export interface IntakeOptions {
  flags: DaprdFlags
  log: Logger
  lifecycle: Lifecycle
  blocks: Blocks
  app: App | undefined
  signal: AbortSignal
}

/**
 * What comes in by itself: events of brokers and of input bindings. resting → running ⇄ resting (while a watched app is
 * unhealthy) → ended, for good.
 */
export class Intake {
  readonly #options: IntakeOptions
  #health: AppHealth | undefined
  #begun = false
  #configured = false
  #ended: Promise<void> | undefined

  constructor(options: IntakeOptions) {
    this.#options = options
    if (options.app && options.flags.enableAppHealthCheck) options.app.healthy = () => this.#health?.healthy === true
  }

  /** Begins, now or when the watched app is healthy. */
  async begin(): Promise<void> {
    this.#begun = true
    if (this.#options.app && this.#options.flags.enableAppHealthCheck) this.#watch(this.#options.app)
    else await this.#start()
  }

  /** A component changed while the sidecar runs: what feeds from it takes the one there is now. */
  async changed(block: string, name: string): Promise<void> {
    if (this.#begun && !this.#ended) await this.#options.blocks.componentChanged(block, name)
  }

  /** Ends what comes in, for good; handlers under way finish. */
  end(): Promise<void> {
    this.#ended ??= this.#options.blocks.stopIntake()
    return this.#ended
  }

  /** Ends intake at once, and resolves when the time is over or, earlier, when the watched app is unhealthy. */
  async untilUnhealthy(milliseconds: number): Promise<'unhealthy' | 'expired'> {
    void this.end()
    const expiry = AbortSignal.timeout(milliseconds)
    const expired = new Promise<'expired'>((resolve) => expiry.addEventListener('abort', () => resolve('expired'), { once: true }))
    const unhealthy = this.#health?.untilUnhealthy(expiry).then(() => (expiry.aborted ? ('expired' as const) : ('unhealthy' as const)))
    return Promise.race(unhealthy ? [unhealthy, expired] : [expired])
  }

  async #start(): Promise<void> {
    const { flags, log, blocks, app, lifecycle, signal } = this.#options
    if (this.#ended) return
    if (app && !this.#configured) {
      this.#configured = true
      await loadAppConfiguration(app, flags, log, signal)
    }
    if (app && flags.disableInitEndpoints.includes('subscribe')) log.info('Skipping programmatic subscription loading')
    await blocks.startSubscriptions()
    if (!app) return
    await blocks.bindings.start().then(
      () => lifecycle.reason('bindings', undefined),
      (error: unknown) => {
        log.warn(`failed to read from bindings: ${messageOf(error)}`)
        lifecycle.reason('bindings', `failed to read from bindings: ${messageOf(error)}`)
      },
    )
  }

  /** Intake runs while the app is healthy, and rests while it is not. */
  #watch(app: App): void {
    const { flags, log, blocks, lifecycle, signal } = this.#options
    const change = async (healthy: boolean) => {
      log.info(healthy ? 'App entered healthy status' : 'App entered un-healthy status')
      lifecycle.reason('app', healthy ? undefined : unwell)
      if (healthy) await this.#start()
      else await Promise.all([blocks.pubsub.stop(), blocks.bindings.stop()])
    }
    const unwell = `the app on port ${flags.appPort} is not healthy: nothing is delivered to it until its health check succeeds`
    lifecycle.reason('app', unwell)
    this.#health = new AppHealth({
      probe: healthProbe(app, flags.appHealthCheckPath),
      interval: flags.appHealthProbeIntervalMs,
      timeout: flags.appHealthProbeTimeoutMs,
      threshold: flags.appHealthThreshold,
      onChange: (healthy) =>
        change(healthy).catch((error: unknown) => log.error(`intake could not follow the app's health: ${messageOf(error)}`)),
      signal,
    })
    void this.#health.run()
  }
}
