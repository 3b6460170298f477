import { postBytes } from './post.ts'
import type { Span } from './span.ts'
import type { SpanExporter } from './tracer.ts'

/** Spans as JSON to a Zipkin collector, version 2 of its API; `url` is the whole address, e.g. `http://localhost:9411/api/v2/spans`. */
export function zipkinExporter(url: string, serviceName: string): SpanExporter {
  const json = ({ context, parent, name, kind, began, ended, attributes, error }: Span) => ({
    traceId: context.traceId,
    id: context.spanId,
    ...(parent && { parentId: parent.spanId }),
    name,
    kind: kind.toUpperCase(),
    timestamp: Math.round(began * 1000),
    // Zipkin leaves out what took no time at all.
    duration: Math.max(1, Math.round((ended - began) * 1000)),
    localEndpoint: { serviceName },
    tags: { ...attributes, 'otel.library.name': 'dapr-diagnostics', ...(error !== undefined && { error, 'otel.status_code': 'Error' }) },
  })
  return {
    export: (spans) => postBytes(url, Buffer.from(JSON.stringify(spans.map(json))), { 'content-type': 'application/json' }, 10_000),
    async close() {},
  }
}
