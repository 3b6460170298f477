import { ProtoWriter } from '../../transport/grpc/wire.ts'
import { nanoseconds, writeAttributes } from '../otlp/message.ts'
import type { Span, SpanKind } from './span.ts'

const KINDS: Readonly<Record<SpanKind, number>> = { server: 2, client: 3, producer: 4 }
const STATUS_ERROR = 2
/** It is known whether the parent is in another process, and it is. */
const PARENT_IS_REMOTE = 0x300
const writer = new ProtoWriter()

/** opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest, by hand: its times are fixed64. */
export function encodeTraces(spans: readonly Span[], resource: Readonly<Record<string, string>>): Buffer {
  writer.reset()
  const resourceSpans = writer.begin(1)
  const described = writer.begin(1)
  writeAttributes(writer, 1, resource)
  writer.end(described)
  const scopeSpans = writer.begin(2)
  const scope = writer.begin(1)
  writer.string(1, 'dapr-diagnostics')
  writer.end(scope)
  for (const span of spans) {
    const mark = writer.begin(2)
    writer.bytes(1, Buffer.from(span.context.traceId, 'hex'))
    writer.bytes(2, Buffer.from(span.context.spanId, 'hex'))
    writer.string(3, span.context.state)
    if (span.parent) writer.bytes(4, Buffer.from(span.parent.spanId, 'hex'))
    writer.string(5, span.name)
    writer.uint(6, KINDS[span.kind])
    writer.fixed64(7, nanoseconds(span.began))
    writer.fixed64(8, nanoseconds(span.ended))
    writeAttributes(writer, 9, span.attributes)
    for (const { name, at, attributes: said } of span.notes ?? []) {
      const event = writer.begin(11)
      writer.fixed64(1, nanoseconds(at))
      writer.string(2, name)
      writeAttributes(writer, 3, said)
      writer.end(event)
    }
    writer.uint(12, span.notesDropped)
    if (span.error !== undefined) {
      const status = writer.begin(15)
      writer.string(2, span.error)
      writer.uint(3, STATUS_ERROR)
      writer.end(status)
    }
    writer.fixed32(16, span.context.flags | PARENT_IS_REMOTE)
    writer.end(mark)
  }
  writer.end(scopeSpans)
  writer.end(resourceSpans)
  return writer.take()
}
