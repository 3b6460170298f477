import type { ProtoWriter } from '../../transport/grpc/wire.ts'

/** opentelemetry.proto.common.v1.KeyValue, repeated, of texts. */
export function writeAttributes(writer: ProtoWriter, field: number, values: Readonly<Record<string, string>>): void {
  for (const key in values) {
    const pair = writer.begin(field)
    writer.string(1, key)
    const value = writer.begin(2)
    writer.string(1, values[key] as string, true)
    writer.end(value)
    writer.end(pair)
  }
}

/** Epoch milliseconds as OTLP's fixed64 nanoseconds. */
export function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * 1000)) * 1000n
}
