import { setTimeout as pause } from 'node:timers/promises'

export interface AppHealthOptions {
  /** Asks the app once: false or a rejection is a failure. */
  probe: (signal: AbortSignal) => Promise<boolean>
  /** Milliseconds. */
  interval: number
  timeout: number
  /** Failures in a row after which the app counts as unhealthy. */
  threshold: number
  /** Called at each change; the next probe waits for it. Rejections are the caller's to handle. */
  onChange: (healthy: boolean) => Promise<void>
  signal: AbortSignal
}

/** Watches the app's health: unhealthy until the first probe succeeds, unhealthy again after `threshold` failures. */
export class AppHealth {
  readonly #options: AppHealthOptions
  readonly #unhealthy = new Set<() => void>()
  #healthy = false
  #failures = 0

  constructor(options: AppHealthOptions) {
    this.#options = options
  }

  get healthy(): boolean {
    return this.#healthy
  }

  /** Probes until the signal aborts; resolves then. */
  async run(): Promise<void> {
    const { interval, signal } = this.#options
    while (!signal.aborted) {
      await this.#note(await this.#probe())
      await pause(interval, undefined, { signal }).catch(() => {})
    }
  }

  /** Resolves at the next moment that the app is unhealthy, or when the signal aborts. */
  untilUnhealthy(signal: AbortSignal): Promise<void> {
    if (!this.#healthy || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      this.#unhealthy.add(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  async #probe(): Promise<boolean> {
    const { probe, timeout, signal } = this.#options
    try {
      return await probe(AbortSignal.any([signal, AbortSignal.timeout(timeout)]))
    } catch {
      return false
    }
  }

  async #note(success: boolean): Promise<void> {
    if (this.#options.signal.aborted) return
    this.#failures = success ? 0 : this.#failures + 1
    const healthy = success || (this.#healthy && this.#failures < this.#options.threshold)
    if (healthy === this.#healthy) return
    this.#healthy = healthy
    if (!healthy) {
      for (const resolve of this.#unhealthy) resolve()
      this.#unhealthy.clear()
    }
    await this.#options.onChange(healthy)
  }
}
