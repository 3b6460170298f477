import { SIZE_BUCKETS } from './buckets.ts'
import type { LabelRules } from './label-rules.ts'
import { Counter, Histogram, type HistogramSeries, type NumberSeries } from './labelled.ts'

interface Series {
  completed: NumberSeries
  latency: HistogramSeries
  received: HistogramSeries
  sent: HistogramSeries
}

/** Calls on one side of gRPC. */
export class GrpcSideMetrics {
  readonly #appId: string
  readonly #completed: Counter
  readonly #latency: Histogram
  readonly #received: Histogram
  readonly #sent: Histogram
  readonly #byMethod = new Map<string, Map<string, Series>>()

  constructor(side: 'server' | 'client', appId: string, latencies: readonly number[], rules: LabelRules | undefined) {
    this.#appId = appId
    const method = ['app_id', `grpc_${side}_method`]
    const both = [...method, `grpc_${side}_status`]
    const what = side === 'server' ? 'served' : 'made'
    const name = (rest: string) => `dapr_grpc_io_${side}_${rest}`
    const latency = side === 'server' ? 'server_latency' : 'roundtrip_latency'
    this.#completed = new Counter(name('completed_rpcs'), `Calls ${what}.`, both, rules)
    this.#latency = new Histogram(name(latency), `Milliseconds of a call ${what}.`, both, latencies, rules)
    this.#received = new Histogram(
      name('received_bytes_per_rpc'),
      `Bytes of messages received in a call ${what}.`,
      method,
      SIZE_BUCKETS,
      rules,
    )
    this.#sent = new Histogram(name('sent_bytes_per_rpc'), `Bytes of messages sent in a call ${what}.`, method, SIZE_BUCKETS, rules)
  }

  /** A unary call is over: full method, name of the status, bytes of the messages, milliseconds. */
  unary(method: string, status: string, received: number, sent: number, elapsed: number): void {
    const series = this.#of(method, status)
    series.completed.value++
    series.latency.record(elapsed)
    series.received.record(received)
    series.sent.record(sent)
  }

  /** A proxied call of any kind is over; its bytes are not counted, as in Dapr. */
  stream(method: string, status: string, elapsed: number): void {
    this.#completed.add(this.#appId, method, status)
    this.#latency.series(this.#appId, method, status).record(elapsed)
  }

  *parts(): Generator<string> {
    for (const metric of [this.#completed, this.#received, this.#sent, this.#latency]) yield* metric.parts()
  }

  #of(method: string, status: string): Series {
    let byStatus = this.#byMethod.get(method)
    if (!byStatus) {
      byStatus = new Map()
      if (this.#byMethod.size < 1000) this.#byMethod.set(method, byStatus)
    }
    let series = byStatus.get(status)
    if (!series) {
      series = {
        completed: this.#completed.series(this.#appId, method, status),
        latency: this.#latency.series(this.#appId, method, status),
        received: this.#received.series(this.#appId, method),
        sent: this.#sent.series(this.#appId, method),
      }
      byStatus.set(status, series)
    }
    return series
  }
}
