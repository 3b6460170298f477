import { ProtoWriter } from '../../transport/grpc/wire.ts'
import { nanoseconds, writeAttributes } from './message.ts'
import type { HistogramPoint, MetricFamily, NumberPoint } from './metric-families.ts'

const CUMULATIVE = 2

export interface MetricsRequest {
  families: readonly MetricFamily[]
  resource: Readonly<Record<string, string>>
  version: string
  /** Epoch milliseconds from which all counts count. */
  since: number
  /** Epoch milliseconds of the values. */
  now: number
}

/**
 * opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest, by hand. Names stay those of the metrics port and units
 * are left out: a collector that writes Prometheus again would add them to the names.
 */
export function encodeMetrics({ families, resource, version, since, now }: MetricsRequest): Buffer {
  // Large and seldom: nothing of it is kept for the next time.
  const writer = new ProtoWriter()
  const [start, time] = [nanoseconds(since), nanoseconds(now)]
  const resourceMetrics = writer.begin(1)
  const described = writer.begin(1)
  writeAttributes(writer, 1, resource)
  writer.end(described)
  const scopeMetrics = writer.begin(2)
  const scope = writer.begin(1)
  writer.string(1, 'outrider')
  writer.string(2, version)
  writer.end(scope)
  for (const family of families) {
    const metric = writer.begin(2)
    writer.string(1, family.name)
    writer.string(2, family.help)
    if (family.type === 'histogram') {
      const data = writer.begin(9)
      for (const point of family.points) histogramPoint(writer, point, start, time)
      writer.uint(2, CUMULATIVE)
      writer.end(data)
    } else {
      const counts = family.type === 'counter'
      const data = writer.begin(counts ? 7 : 5)
      for (const point of family.points) numberPoint(writer, point, counts ? start : 0n, time)
      if (counts) writer.uint(2, CUMULATIVE)
      writer.bool(3, counts)
      writer.end(data)
    }
    writer.end(metric)
  }
  writer.end(scopeMetrics)
  writer.end(resourceMetrics)
  return writer.take()
}

function numberPoint(writer: ProtoWriter, { attributes, value }: NumberPoint, start: bigint, time: bigint): void {
  const mark = writer.begin(1)
  writer.fixed64(2, start)
  writer.fixed64(3, time)
  writer.double(4, value, true)
  writeAttributes(writer, 7, attributes)
  writer.end(mark)
}

function histogramPoint(writer: ProtoWriter, point: HistogramPoint, start: bigint, time: bigint): void {
  const { attributes, bounds, counts, sum, count } = point
  const packed = Buffer.allocUnsafe(counts.length * 8)
  for (const [index, one] of counts.entries()) packed.writeBigUInt64LE(BigInt(one), index * 8)
  const limits = Buffer.allocUnsafe(bounds.length * 8)
  for (const [index, bound] of bounds.entries()) limits.writeDoubleLE(bound, index * 8)
  const mark = writer.begin(1)
  writer.fixed64(2, start)
  writer.fixed64(3, time)
  writer.fixed64(4, BigInt(count))
  writer.double(5, sum, true)
  writer.bytes(6, packed)
  writer.bytes(7, limits)
  writeAttributes(writer, 9, attributes)
  writer.end(mark)
}
