/** Upper bounds of durations in milliseconds, as Envoy counts them. */
export const BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000,
]

/** How long things took. */
export class Histogram {
  readonly counts: number[] = new Array(BUCKETS.length + 1).fill(0)
  sum = 0
  count = 0

  record(ms: number): void {
    let at = 0
    while (at < BUCKETS.length && ms > (BUCKETS[at] as number)) at++
    ;(this.counts[at] as number)++
    this.sum += ms
    this.count++
  }

  /** Milliseconds under which this share of what was recorded lies, by the bounds of its bucket. */
  quantile(share: number): number {
    let left = this.count * share
    for (let at = 0; at < BUCKETS.length; at++) {
      const count = this.counts[at] as number
      if (left <= count && count > 0) {
        const low = at === 0 ? 0 : (BUCKETS[at - 1] as number)
        return low + (((BUCKETS[at] as number) - low) * left) / count
      }
      left -= count
    }
    return this.count === 0 ? 0 : (BUCKETS.at(-1) as number)
  }
}

/** Counters and gauges of one thing, by the names that Envoy gives them. */
export type Figures = Record<string, number>

/** Of one listener's HTTP side. */
export function httpFigures(): Figures {
  return {
    downstream_cx_total: 0,
    downstream_cx_active: 0,
    downstream_cx_destroy: 0,
    downstream_cx_protocol_error: 0,
    downstream_cx_ssl_total: 0,
    downstream_rq_total: 0,
    downstream_rq_active: 0,
    downstream_rq_http1_total: 0,
    downstream_rq_http2_total: 0,
    downstream_rq_1xx: 0,
    downstream_rq_2xx: 0,
    downstream_rq_3xx: 0,
    downstream_rq_4xx: 0,
    downstream_rq_5xx: 0,
    downstream_rq_completed: 0,
    downstream_rq_rx_reset: 0,
    downstream_rq_timeout: 0,
    downstream_rq_idle_timeout: 0,
    downstream_cx_upgrades_total: 0,
    downstream_cx_upgrades_active: 0,
    no_route: 0,
    no_cluster: 0,
    rq_direct_response: 0,
    rq_redirect: 0,
    rbac_allowed: 0,
    rbac_denied: 0,
    fault_aborts_injected: 0,
    fault_delays_injected: 0,
    local_rate_limited: 0,
    local_rate_ok: 0,
  }
}

/** Of one cluster. */
export function clusterFigures(): Figures {
  return {
    upstream_cx_total: 0,
    upstream_cx_active: 0,
    upstream_cx_connect_fail: 0,
    upstream_cx_none_healthy: 0,
    upstream_cx_overflow: 0,
    upstream_rq_total: 0,
    upstream_rq_active: 0,
    upstream_rq_completed: 0,
    upstream_rq_1xx: 0,
    upstream_rq_2xx: 0,
    upstream_rq_3xx: 0,
    upstream_rq_4xx: 0,
    upstream_rq_5xx: 0,
    upstream_rq_timeout: 0,
    upstream_rq_per_try_timeout: 0,
    upstream_rq_rx_reset: 0,
    upstream_rq_pending_overflow: 0,
    upstream_rq_retry: 0,
    upstream_rq_retry_success: 0,
    upstream_rq_retry_overflow: 0,
    upstream_rq_retry_limit_exceeded: 0,
    membership_change: 0,
    membership_healthy: 0,
    membership_total: 0,
    outlier_detection_ejections_active: 0,
    outlier_detection_ejections_enforced_total: 0,
    outlier_detection_ejections_overflow: 0,
    health_check_attempt: 0,
    health_check_success: 0,
    health_check_failure: 0,
    update_attempt: 0,
    update_success: 0,
    update_failure: 0,
    lb_healthy_panic: 0,
  }
}

const CLASSES: readonly string[] = ['', '_1xx', '_2xx', '_3xx', '_4xx', '_5xx']

/** Counts a status in its class, e.g. `upstream_rq` + `_2xx`. */
export function countStatus(figures: Figures, prefix: string, status: number): void {
  const name = prefix + (CLASSES[Math.floor(status / 100)] ?? '')
  figures[name] = (figures[name] ?? 0) + 1
}
