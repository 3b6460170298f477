import type { IncomingMessage } from 'node:http'
import { decodedPath } from '../../telemetry/decoded-path.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import { parseTraceparent } from '../../telemetry/tracing/span-context.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import { STATUS_CODES } from '../../transport/node-http.ts'
import type { Exchange } from './exchange.ts'

/** Begins the span of one request; from here on whoever reads the request's headers finds this span in them. */
export function startSpan(tracer: Tracer, request: IncomingMessage, path: string): Span {
  const { traceparent, tracestate } = request.headers
  const span = tracer.start(
    decodedPath(path),
    'client',
    parseTraceparent(traceparent as string | undefined, typeof tracestate === 'string' ? tracestate : ''),
  )
  request.headers.traceparent = span.traceparent
  const { rawHeaders } = request
  const at = rawHeaders.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'traceparent')
  if (at < 0) rawHeaders.push('traceparent', span.traceparent)
  else rawHeaders[at + 1] = span.traceparent
  return span
}

/** Ends the span with what its request was about, by the names of Dapr and of OpenTelemetry. */
export function endSpan(span: Span, { request, path, route, params, status }: Exchange): void {
  if (!span.sampled) return
  const method = request.method as string
  const plain = decodedPath(path)
  const { attributes } = span
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('dapr-') && !name.endsWith('-bin') && name !== 'dapr-api-token') attributes[name] = String(value)
  }
  switch (route?.group) {
    case 'state':
      store(attributes, 'state', params.storeName, `${method} ${plain}`)
      break
    case 'secrets':
      store(attributes, 'secrets', params.store, `${method} ${plain}`)
      break
    case 'bindings':
      store(attributes, 'bindings', params.name, `${method} ${plain}`)
      break
    case 'publish':
      attributes['messaging.system'] = 'pubsub'
      attributes['messaging.destination.name'] = plain.slice(plain.indexOf(params.pubsubName ?? '') + (params.pubsubName ?? '').length + 1)
      break
    default: {
      const [, app, called] = /^\/v1\.0\/invoke\/(.+?)\/method\/(.*)$/.exec(plain) ?? []
      const target = app ?? request.headers['dapr-app-id']
      if ((route === undefined || route.group === 'invoke') && typeof target === 'string' && target !== '') {
        const to = called ?? plain.slice(1)
        attributes['rpc.service'] = 'ServiceInvocation'
        attributes['net.peer.name'] = target
        // The header has done its work: the span says the same in its own words.
        if (app === undefined) delete attributes['dapr-app-id']
        span.name = `CallLocal/${target}/${to}`
      }
    }
  }
  const { remoteAddress, remotePort } = request.socket ?? {}
  Object.assign(attributes, {
    'dapr.protocol': 'http',
    'dapr.api': `${method} ${plain}`,
    'dapr.status_code': String(status),
    'http.request.method': method,
    'url.full': request.url ?? '',
    ...(remoteAddress !== undefined && { 'server.address': remoteAddress }),
    ...(remotePort !== undefined && { 'server.port': String(remotePort) }),
  })
  span.end(failureOf(status))
}

/** What an HTTP status says of a span; undefined: nothing went wrong. */
export function failureOf(status: number): string | undefined {
  return status >= 400 ? `Code(${status}): ${STATUS_CODES[status] ?? 'Unknown'}` : undefined
}

function store(attributes: Record<string, string>, system: string, name: string | undefined, statement: string): void {
  attributes['db.system'] = system
  if (name) attributes['db.name'] = name
  attributes['db.statement'] = statement
  attributes['db.connection_string'] = system
}
