// Families as they go out, by OTLP and StatsD, whether they came by StatsD or from a page of Prometheus.

export interface NumberPoint {
  attributes: Readonly<Record<string, string>>
  value: number
}

/** `counts`: one for each bound, and one for what is above them all; of each bucket alone. */
export interface HistogramPoint {
  attributes: Readonly<Record<string, string>>
  bounds: readonly number[]
  counts: readonly number[]
  sum: number
  count: number
}

export type MetricFamily = { name: string; help: string } & (
  | { type: 'counter' | 'gauge'; points: readonly NumberPoint[] }
  | { type: 'histogram'; points: readonly HistogramPoint[] }
)
