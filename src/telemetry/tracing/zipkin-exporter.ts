import { postBytes } from './post.ts'
import type { Span } from './span.ts'
import type { SpanExporter } from './tracer.ts'

/** Who is asked, by the first of these attributes that a span has. */
const REMOTE = ['server.address', 'net.peer.name', 'db.name']

/**
 * Spans as JSON to a Zipkin collector, version 2 of its API; `url` is the whole address, e.g. `http://localhost:9411/api/v2/spans`.
 * `resource` is what the spans belong to, `service.name` among it.
 */
export function zipkinExporter(url: string, resource: Readonly<Record<string, string>>): SpanExporter {
  const serviceName = resource['service.name']
  const json = ({ context, parent, name, kind, began, ended, attributes, error, notes }: Span) => {
    const remote = kind === 'server' ? undefined : REMOTE.find((key) => attributes[key])
    return {
      // Identifiers of half the length came from systems that have those.
      traceId: context.traceId.replace(/^0{16}/, ''),
      id: context.spanId,
      ...(parent && { parentId: parent.spanId }),
      // Zipkin's names have no capitals.
      name: name.toLowerCase(),
      kind: kind.toUpperCase(),
      timestamp: Math.round(began * 1000),
      // Zipkin leaves out what took no time at all.
      duration: Math.max(1, Math.round((ended - began) * 1000)),
      localEndpoint: { serviceName },
      // As OpenTelemetry writes its events for Zipkin.
      ...(notes && {
        annotations: notes.map((note) => ({
          timestamp: Math.round(note.at * 1000),
          value: `"${note.name}": ${JSON.stringify(note.attributes)}`,
        })),
      }),
      ...(remote && { remoteEndpoint: { serviceName: attributes[remote] } }),
      tags: {
        ...attributes,
        ...resource,
        'otel.scope.name': 'dapr-diagnostics',
        ...(error !== undefined && { error, 'otel.status_code': 'ERROR' }),
      },
    }
  }
  return {
    export: (spans) => postBytes(url, Buffer.from(JSON.stringify(spans.map(json))), { 'content-type': 'application/json' }, 10_000),
    async close() {},
  }
}
