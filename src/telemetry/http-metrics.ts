import { SIZE_BUCKETS } from './buckets.ts'
import type { LabelRules } from './label-rules.ts'
import { Counter, Histogram, type HistogramSeries, type NumberSeries } from './labelled.ts'
import { pathLabels } from './path-label.ts'

export interface HttpMetricsOptions {
  appId: string
  increasedCardinality: boolean
  pathMatching: readonly string[]
  excludeVerbs: boolean
  /** Upper bounds in milliseconds. */
  latencies: readonly number[]
  rules: LabelRules | undefined
}

const VERBS = new Set(['GET', 'PUT', 'POST', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE'])
const LABELS = ['app_id', 'method', 'path', 'status']
/** Paths whose series are kept at hand; beyond that they are found the long way. */
const MAX_AT_HAND = 2000

/** Series by path, method and status: three lookups cost less than one key made of all. */
type AtHand<Series> = Map<string, Map<string, Map<number, Series>>>

function handy<Series>(all: AtHand<Series>, path: string, method: string): Map<number, Series> {
  let byMethod = all.get(path)
  if (!byMethod) {
    byMethod = new Map()
    if (all.size < MAX_AT_HAND) all.set(path, byMethod)
  }
  let byStatus = byMethod.get(method)
  if (!byStatus) {
    byStatus = new Map()
    byMethod.set(method, byStatus)
  }
  return byStatus
}

/** Requests that the sidecar serves (server) and those it sends to the app (client). */
export class HttpMetrics {
  readonly #appId: string
  readonly #excludeVerbs: boolean
  readonly #path: (path: string) => string
  readonly #served: AtHand<{ requests: NumberSeries; responses: NumberSeries | undefined; latency: HistogramSeries }> = new Map()
  readonly #sent: AtHand<{ completed: NumberSeries; latency: HistogramSeries; bytes: HistogramSeries }> = new Map()
  #received: HistogramSeries | undefined
  #responded: HistogramSeries | undefined
  readonly #serverRequests: Counter
  readonly #serverResponses: Counter | undefined
  readonly #serverLatency: Histogram
  readonly #serverReceived: Histogram
  readonly #serverSent: Histogram
  readonly #clientCompleted: Counter
  readonly #clientLatency: Histogram
  readonly #clientSent: Histogram
  readonly #clientReceived: Histogram
  readonly #probes: Counter
  readonly #probeLatency: Histogram

  constructor({ appId, increasedCardinality, pathMatching, excludeVerbs, latencies, rules }: HttpMetricsOptions) {
    this.#appId = appId
    this.#excludeVerbs = excludeVerbs
    this.#path = pathLabels({ increasedCardinality, pathMatching })
    const counter = (name: string, help: string, labels = LABELS) => new Counter(`dapr_http_${name}`, help, labels, rules)
    const latency = (name: string, help: string, labels = LABELS) => new Histogram(`dapr_http_${name}`, help, labels, latencies, rules)
    const bytes = (name: string, help: string, labels = ['app_id']) => new Histogram(`dapr_http_${name}`, help, labels, SIZE_BUCKETS, rules)
    this.#serverRequests = counter('server_request_count', 'HTTP requests that the sidecar has answered.')
    this.#serverResponses = increasedCardinality
      ? counter('server_response_count', 'HTTP responses that the sidecar has given.')
      : undefined
    this.#serverLatency = latency('server_latency', 'Milliseconds from a request to the end of its response.')
    this.#serverReceived = bytes('server_request_bytes', 'Bytes of request bodies, by their content-length.')
    this.#serverSent = bytes('server_response_bytes', 'Bytes of response bodies.')
    this.#clientCompleted = counter('client_completed_count', 'HTTP requests that the app has answered.')
    this.#clientLatency = latency('client_roundtrip_latency', 'Milliseconds from a request to the app to its response.')
    this.#clientSent = bytes('client_sent_bytes', 'Bytes of request bodies sent to the app.', LABELS)
    this.#clientReceived = bytes('client_received_bytes', 'Bytes of response bodies that the app has sent.')
    this.#probes = counter('healthprobes_completed_count', 'Health probes of the app.', ['app_id', 'status'])
    this.#probeLatency = latency('healthprobes_roundtrip_latency', 'Milliseconds of a health probe of the app.', ['app_id', 'status'])
  }

  /** A request on the HTTP API is over; bytes of bodies, milliseconds. */
  served(method: string, path: string, status: number, received: number, sent: number, elapsed: number): void {
    const verb = this.#verb(method)
    const label = this.#path(path)
    const byStatus = handy(this.#served, label, verb)
    let series = byStatus.get(status)
    if (!series) {
      const values = [this.#appId, verb, label, String(status)]
      series = {
        requests: this.#serverRequests.series(...values),
        responses: this.#serverResponses?.series(...values),
        latency: this.#serverLatency.series(...values),
      }
      byStatus.set(status, series)
    }
    series.requests.value++
    if (series.responses) series.responses.value++
    series.latency.record(elapsed)
    this.#received ??= this.#serverReceived.series(this.#appId)
    this.#responded ??= this.#serverSent.series(this.#appId)
    this.#received.record(received)
    this.#responded.record(sent)
  }

  /** A call to the app is over; bytes of bodies, milliseconds. */
  called(method: string, path: string, status: number, sent: number, received: number, elapsed: number): void {
    const verb = this.#verb(method)
    const label = this.#path(path)
    const byStatus = handy(this.#sent, label, verb)
    let series = byStatus.get(status)
    if (!series) {
      const values = [this.#appId, verb, label, String(status)]
      series = {
        completed: this.#clientCompleted.series(...values),
        latency: this.#clientLatency.series(...values),
        // As daprd: counted before there is a status.
        bytes: this.#clientSent.series(this.#appId, verb, label, ''),
      }
      byStatus.set(status, series)
    }
    series.completed.value++
    series.latency.record(elapsed)
    series.bytes.record(sent)
    this.#clientReceived.series(this.#appId).record(received)
  }

  /** A health probe of the app is over; milliseconds. */
  probed(status: number, elapsed: number): void {
    this.#probes.add(this.#appId, String(status))
    this.#probeLatency.series(this.#appId, String(status)).record(elapsed)
  }

  *parts(): Generator<string> {
    const all = [
      this.#clientCompleted,
      this.#clientReceived,
      this.#clientLatency,
      this.#clientSent,
      this.#probes,
      this.#probeLatency,
      this.#serverLatency,
      this.#serverReceived,
      this.#serverRequests,
      this.#serverSent,
      this.#serverResponses,
    ]
    for (const metric of all) if (metric) yield* metric.parts()
  }

  #verb(method: string): string {
    if (this.#excludeVerbs) return ''
    return VERBS.has(method) ? method : 'UNKNOWN'
  }
}
