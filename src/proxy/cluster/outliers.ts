import type { OutlierDetection } from '../model/cluster.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { Host } from './host.ts'

/**
 * Puts endpoints aside that fail: after so many failures in a row at once, or by their share of successes each interval; for a time that
 * grows with each ejection, and never more of them than the bound says.
 */
export class Outliers implements Disposable {
  readonly #cluster: ClusterRuntime
  readonly #settings: OutlierDetection
  readonly #timer: NodeJS.Timeout

  constructor(cluster: ClusterRuntime, settings: OutlierDetection) {
    this.#cluster = cluster
    this.#settings = settings
    this.#timer = setInterval(() => this.#interval(), settings.interval).unref()
  }

  answered(host: Host, status: number): void {
    host.windowTotal++
    if (status < 500) {
      host.windowSuccess++
      host.consecutive5xx = host.consecutiveGateway = host.consecutiveLocal = 0
      return
    }
    const { consecutive5xx, consecutiveGatewayFailure, enforcing5xx, enforcingGatewayFailure } = this.#settings
    host.consecutiveLocal = 0
    host.consecutive5xx++
    if (consecutive5xx > 0 && host.consecutive5xx >= consecutive5xx) {
      host.consecutive5xx = 0
      this.#eject(host, enforcing5xx)
    }
    if (status > 504 || status === 501 || status === 500) {
      host.consecutiveGateway = 0
      return
    }
    host.consecutiveGateway++
    if (consecutiveGatewayFailure > 0 && host.consecutiveGateway >= consecutiveGatewayFailure) {
      host.consecutiveGateway = 0
      this.#eject(host, enforcingGatewayFailure)
    }
  }

  /** It was not reached, or lost on the way: a 503 or 504 as far as others see. */
  failed(host: Host): void {
    if (!this.#settings.splitLocal) return this.answered(host, 503)
    const { consecutiveLocalFailure } = this.#settings
    host.consecutiveLocal++
    if (consecutiveLocalFailure === 0 || host.consecutiveLocal < consecutiveLocalFailure) return
    host.consecutiveLocal = 0
    this.#eject(host, 100)
  }

  #eject(host: Host, enforcing: number): void {
    if (host.health.ejected || Math.random() * 100 >= enforcing) return
    const cluster = this.#cluster
    const { figures, hosts } = cluster
    const ejected = hosts.filter(({ health }) => health.ejected).length
    // One may always go, whatever its share.
    if (ejected > 0 && ((ejected + 1) * 100) / hosts.length > this.#settings.maxEjectionPercent) {
      ;(figures.outlier_detection_ejections_overflow as number)++
      return
    }
    if (this.#settings.maxEjectionPercent === 0) return
    host.health.ejected = true
    host.ejections++
    const { baseEjection, maxEjection } = this.#settings
    host.ejectedUntil = performance.now() + Math.min(baseEjection * host.ejections, Math.max(maxEjection, baseEjection))
    figures.outlier_detection_ejections_active = ejected + 1
    ;(figures.outlier_detection_ejections_enforced_total as number)++
    cluster.log.warn(`${cluster.model.name}: ${host.address} fails and is put aside (ejection ${host.ejections})`)
    cluster.healthChanged()
  }

  #interval(): void {
    const cluster = this.#cluster
    const now = performance.now()
    let changed = false
    for (const host of cluster.hosts) {
      if (host.health.ejected) {
        if (now < host.ejectedUntil) continue
        host.health.ejected = false
        host.consecutive5xx = host.consecutiveGateway = host.consecutiveLocal = 0
        changed = true
        cluster.log.info(`${cluster.model.name}: ${host.address} is asked again`)
      } else if (host.ejections > 0 && now > host.ejectedUntil + this.#settings.interval) host.ejections--
    }
    if (changed) {
      cluster.figures.outlier_detection_ejections_active = cluster.hosts.filter(({ health }) => health.ejected).length
      cluster.healthChanged()
    }
    this.#successRate()
  }

  /** Who succeeds far less often than the others do is put aside. */
  #successRate(): void {
    const { successRateMinHosts, successRateRequestVolume, successRateStdevFactor, enforcingSuccessRate } = this.#settings
    const rates: [Host, number][] = []
    for (const host of this.#cluster.hosts) {
      if (host.windowTotal >= successRateRequestVolume && host.windowTotal > 0)
        rates.push([host, (host.windowSuccess * 100) / host.windowTotal])
      host.windowTotal = host.windowSuccess = 0
    }
    if (enforcingSuccessRate === 0 || rates.length < successRateMinHosts || rates.length === 0) return
    const mean = rates.reduce((sum, [, rate]) => sum + rate, 0) / rates.length
    const deviation = Math.sqrt(rates.reduce((sum, [, rate]) => sum + (rate - mean) ** 2, 0) / rates.length)
    const least = mean - (deviation * successRateStdevFactor) / 1000
    for (const [host, rate] of rates) if (rate < least) this.#eject(host, enforcingSuccessRate)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
