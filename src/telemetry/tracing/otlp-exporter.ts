import { type OtlpEndpoint, otlpSender } from '../otlp/sender.ts'
import { encodeTraces } from './otlp-message.ts'
import type { SpanExporter } from './tracer.ts'

const SIGNAL = { path: '/v1/traces', method: '/opentelemetry.proto.collector.trace.v1.TraceService/Export' }

/** Spans to an OpenTelemetry collector; `resource` is what they belong to, e.g. `service.name`. */
export function otlpExporter(endpoint: OtlpEndpoint, resource: Readonly<Record<string, string>>): SpanExporter {
  const sender = otlpSender(endpoint, SIGNAL)
  return { export: (spans) => sender.send(encodeTraces(spans, resource)), close: () => sender.close() }
}
