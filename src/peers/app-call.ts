import type { AppChannel } from '../app/channel.ts'
import type { HttpChannel, SinkRequest } from '../app/http-channel.ts'
import type { ResponseSink } from '../app/response-sink.ts'
import { escapePath, type Invocation } from './invocation.ts'

/** Names that never reach the app although they travel between sidecars. */
const HIDDEN = new Set([
  'destination-app-id',
  'content-type',
  'content-length',
  'host',
  'expect',
  'dapr-api-token',
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'te',
  'trailer',
  'proxy-authorization',
  'proxy-authenticate',
])

/** Metadata of another sidecar as headers for the app. */
export function appHeaders(metadata: readonly string[]): string[] {
  const headers: string[] = []
  for (let i = 0; i < metadata.length; i += 2) {
    const lower = (metadata[i] as string).toLowerCase()
    if (HIDDEN.has(lower) || lower.endsWith('-bin')) continue
    headers.push(
      lower.startsWith(':') ? `dapr-${lower.slice(1)}` : lower.startsWith('grpc-') ? `dapr-${lower}` : (metadata[i] as string),
      metadata[i + 1] as string,
    )
  }
  return headers
}

/** Hands an invocation to the app beside us and its reply to `sink`. Returns what gives it up. */
export function callApp(app: AppChannel | HttpChannel, invocation: Invocation, sink: ResponseSink): (reason?: Error) => void {
  const { headers, contentType, body, length } = invocation
  if (contentType) headers.push('Content-Type', contentType)
  // undici counts a Buffer itself and refuses a length that does not match.
  if (length !== undefined && body !== undefined && !Buffer.isBuffer(body)) headers.push('Content-Length', String(length))
  const path = escapePath(invocation.method)
  const request: SinkRequest = { method: invocation.verb, path: invocation.query ? `${path}?${invocation.query}` : path, headers, body }
  if ('dispatch' in app) return app.dispatch(request, sink)
  return callPlain(app, request, sink)
}

/** For channels without `dispatch`. */
function callPlain(app: AppChannel, request: SinkRequest, sink: ResponseSink): (reason?: Error) => void {
  const stop = new AbortController()
  const headers: Record<string, string | string[]> = {}
  const flat = request.headers as string[]
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string
    const before = headers[name]
    headers[name] = before === undefined ? (flat[i + 1] as string) : [before, flat[i + 1] as string].flat()
  }
  app.request({ ...request, headers, signal: stop.signal }).then(
    ({ status, headers: fields, body }) => {
      sink.head(status, fields, { pause: () => body.pause(), resume: () => body.resume(), abort: () => stop.abort() })
      body
        .on('data', (chunk: Buffer) => sink.data(chunk))
        .on('end', () => sink.end())
        .on('error', (error) => !stop.signal.aborted && sink.failed(error))
    },
    (error: Error) => !stop.signal.aborted && sink.failed(error),
  )
  return (reason) => stop.abort(reason)
}
