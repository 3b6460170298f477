import type { MetricFamily } from './families.ts'

const CUMULATIVE = 2

export interface MetricsRequest {
  families: readonly MetricFamily[]
  resource: Readonly<Record<string, string>>
  /** Epoch milliseconds from which all counts count. */
  since: number
  /** Epoch milliseconds of the values. */
  now: number
}

/** opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest in OTLP's JSON: 64 bit numbers are text. */
export function metricsRequest({ families, resource, since, now }: MetricsRequest): string {
  const times = { startTimeUnixNano: nanoseconds(since), timeUnixNano: nanoseconds(now) }
  const metrics = families.map((family) => {
    const { name, help: description } = family
    if (family.type === 'histogram') {
      const dataPoints = family.points.map(({ attributes, bounds, counts, sum, count }) => ({
        ...times,
        attributes: attributesOf(attributes),
        // Of sampled values a fraction may have been counted.
        count: whole(count),
        ...(Number.isFinite(sum) && { sum }),
        bucketCounts: counts.map(whole),
        explicitBounds: bounds,
      }))
      return { name, description, histogram: { aggregationTemporality: CUMULATIVE, dataPoints } }
    }
    const dataPoints = family.points.map(({ attributes, value }) => ({
      ...(family.type === 'counter' ? times : { timeUnixNano: times.timeUnixNano }),
      attributes: attributesOf(attributes),
      asDouble: Number.isFinite(value) ? value : value > 0 ? 'Infinity' : value < 0 ? '-Infinity' : 'NaN',
    }))
    if (family.type === 'gauge') return { name, description, gauge: { dataPoints } }
    return { name, description, sum: { aggregationTemporality: CUMULATIVE, isMonotonic: true, dataPoints } }
  })
  return JSON.stringify({
    resourceMetrics: [{ resource: { attributes: attributesOf(resource) }, scopeMetrics: [{ scope: { name: 'outrider' }, metrics }] }],
  })
}

const attributesOf = (labels: Readonly<Record<string, string>>) =>
  Object.entries(labels).map(([key, stringValue]) => ({ key, value: { stringValue } }))
const nanoseconds = (milliseconds: number) => String(BigInt(Math.round(milliseconds)) * 1_000_000n)
const whole = (count: number) => String(Math.round(count))
