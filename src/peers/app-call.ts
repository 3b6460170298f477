import { type App, requireHealthy } from '../app/app.ts'
import type { HttpChannel } from '../app/http-channel.ts'
import type { ResponseSink } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { HOP_BY_HOP } from '../transport/hop-by-hop.ts'
import { callGrpcApp } from './grpc-app-call.ts'
import { escapePath, type Invocation } from './invocation.ts'

/** Names that never reach the app although they travel between sidecars. */
const HIDDEN = new Set([...HOP_BY_HOP, 'destination-app-id', 'content-type', 'content-length', 'host', 'expect', 'dapr-api-token'])

/** The header an app gets for a name of the metadata, '' for none. Bounded: emptied when full. */
const names = new Map<string, string>()

function headerName(raw: string): string {
  let name = names.get(raw)
  if (name === undefined) {
    const lower = raw.toLowerCase()
    if (HIDDEN.has(lower) || lower.endsWith('-bin')) name = ''
    else name = lower.startsWith(':') ? `dapr-${lower.slice(1)}` : lower.startsWith('grpc-') ? `dapr-${lower}` : raw
    if (names.size >= 2000) names.clear()
    names.set(raw, name)
  }
  return name
}

/** Metadata of another sidecar as headers for the app. */
function appHeaders(metadata: readonly string[]): string[] {
  const headers: string[] = []
  for (let i = 0; i < metadata.length; i += 2) {
    const name = headerName(metadata[i] as string)
    if (name !== '') headers.push(name, metadata[i + 1] as string)
  }
  return headers
}

/**
 * Hands an invocation to the app beside us and its reply to `sink`; a body that has to be read whole may have `limit` bytes.
 * Returns what gives it up. Throws GrpcStatus or MethodError for a call that the app cannot be asked.
 */
export function callApp(app: App, invocation: Invocation, limit: number, sink: ResponseSink): (reason?: Error) => void {
  requireHealthy(app)
  return app.wire === 'http' ? callHttpApp(app.channel, invocation, sink) : callGrpcApp(app.channel, invocation, limit, sink)
}

/** The same for a channel that is known to speak HTTP; `prefix` stands before the path. */
export function callHttpApp(channel: HttpChannel, invocation: Invocation, sink: ResponseSink, prefix = ''): (reason?: Error) => void {
  const { verb, body, length, typeUrl } = invocation
  if (verb === '') throw new GrpcStatus(Code.InvalidArgument, 'missing HTTP extension field')
  if (verb === 'NONE' || verb === 'CONNECT') throw new GrpcStatus(Code.InvalidArgument, 'invalid HTTP verb')
  const headers = invocation.internal ? appHeaders(invocation.headers) : invocation.headers
  const contentType = typeUrl ? 'application/x-protobuf' : invocation.contentType
  if (contentType) headers.push('Content-Type', contentType)
  // A Buffer is counted as it is sent.
  if (length !== undefined && body !== undefined && !Buffer.isBuffer(body)) headers.push('Content-Length', String(length))
  const path = prefix + escapePath(invocation.method)
  return channel.dispatch({ method: verb, path: invocation.query ? `${path}?${invocation.query}` : path, headers, body }, sink)
}
