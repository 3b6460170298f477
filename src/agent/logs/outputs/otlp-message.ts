import { ProtoReader, ProtoWriter } from '../../../transport/grpc/wire.ts'
import { type LogEvent, textOf } from '../event.ts'
import { nanoseconds } from './loki.ts'

export interface OtlpFields {
  resource: Readonly<Record<string, string>>
  bodyField: string
  severityField: string
}

const SEVERITIES: readonly (readonly [RegExp, number])[] = [
  [/^(?:trace|finest)/i, 1],
  [/^(?:debug|fine|verbose)/i, 5],
  [/^(?:info|notice|log$)/i, 9],
  [/^warn/i, 13],
  [/^err/i, 17],
  [/^(?:fatal|crit|alert|emerg|panic)/i, 21],
]
/** Objects and arrays in each other. */
const DEPTH = 20
const writer = new ProtoWriter()

/** opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest, by hand. */
export function encodeLogs(events: readonly LogEvent[], fields: OtlpFields): Buffer {
  writer.reset()
  const resourceLogs = writer.begin(1)
  const resource = writer.begin(1)
  for (const [name, value] of Object.entries(fields.resource)) attribute(1, name, value, 0)
  writer.end(resource)
  const scopeLogs = writer.begin(2)
  const scope = writer.begin(1)
  writer.string(1, 'outrider')
  writer.end(scope)
  for (const event of events) logRecord(event, fields)
  writer.end(scopeLogs)
  writer.end(resourceLogs)
  return writer.take()
}

function logRecord(event: LogEvent, { bodyField, severityField }: OtlpFields): void {
  const { record } = event
  const mark = writer.begin(2)
  writer.fixed64(1, nanoseconds(event.time))
  const severity = textOf(record, severityField)
  if (severity !== undefined) {
    writer.uint(2, SEVERITIES.find(([words]) => words.test(severity))?.[1] ?? 0)
    writer.string(3, severity)
  }
  if (record[bodyField] !== undefined) value(5, record[bodyField], 0)
  for (const name in record) if (name !== bodyField && name !== severityField) attribute(6, name, record[name], 0)
  attribute(6, 'log.tag', event.tag, 0)
  const trace = hex(record.trace_id ?? record.traceId ?? record.traceid, 32)
  const span = hex(record.span_id ?? record.spanId ?? record.spanid, 16)
  if (trace) writer.bytes(9, trace)
  if (span) writer.bytes(10, span)
  writer.fixed64(11, nanoseconds(Date.now()))
  writer.end(mark)
}

function hex(value: unknown, length: number): Buffer | undefined {
  return typeof value === 'string' && value.length === length && /^[0-9a-f]+$/i.test(value) ? Buffer.from(value, 'hex') : undefined
}

function attribute(field: number, name: string, content: unknown, depth: number): void {
  const pair = writer.begin(field)
  writer.string(1, name)
  value(2, content, depth)
  writer.end(pair)
}

function value(field: number, content: unknown, depth: number): void {
  const mark = writer.begin(field)
  if (typeof content === 'string') writer.string(1, content, true)
  else if (typeof content === 'boolean') writer.uint(2, content ? 1 : 0, true)
  else if (typeof content === 'number') {
    if (Number.isSafeInteger(content)) writer.int64(3, content, true)
    else writer.double(4, content, true)
  } else if (depth >= DEPTH) writer.string(1, JSON.stringify(content), true)
  else if (Array.isArray(content)) {
    const list = writer.begin(5)
    for (const each of content) value(1, each, depth + 1)
    writer.end(list)
  } else if (content !== null && content !== undefined) {
    const map = writer.begin(6)
    for (const [name, inner] of Object.entries(content)) attribute(1, name, inner, depth + 1)
    writer.end(map)
  }
  writer.end(mark)
}

/** What a collector did not take, and why; it does not say which. */
export function rejectedLogs(reply: Buffer): { count: number; reason: string } {
  const result = { count: 0, reason: '' }
  const reader = new ProtoReader(reply)
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip()
      continue
    }
    const partial = reader.message()
    while (partial.next()) {
      if (partial.field === 1) result.count = partial.int64()
      else if (partial.field === 2) result.reason = partial.string()
      else partial.skip()
    }
  }
  return result
}
