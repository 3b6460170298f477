import type { OutgoingHttpHeaders } from 'node:http2'
import { toTraceBin } from '../telemetry/trace-bin.ts'
import { NO_TRACEPARENT } from '../telemetry/trace-context.ts'
import type { Invocation } from './invocation.ts'

/** HTTP's own request headers: gRPC apps get them with `dapr-` in front. */
const RENAMED = new Set(
  (
    'accept accept-charset accept-language accept-ranges connection keep-alive proxy-connection transfer-encoding upgrade cache-control ' +
    'content-type content-length cookie date expect from host if-match if-modified-since if-none-match if-schedule-tag-match ' +
    'if-unmodified-since max-forwards origin pragma referer via warning'
  ).split(' '),
)
/** Names that gRPC or HTTP/2 keeps for itself, and those that must not reach an app. */
const DROPPED = new Set(
  (
    'content-type content-length user-agent te trailer http2-settings connection keep-alive proxy-connection transfer-encoding upgrade host ' +
    'proxy-authorization proxy-authenticate destination-app-id dapr-app-id dapr-api-token grpc-trace-bin grpc-message-type grpc-encoding ' +
    'grpc-accept-encoding grpc-message grpc-status grpc-timeout grpc-status-details-bin'
  ).split(' '),
)
/** Names that stand for one value only. */
const ONCE = new Set(['authorization', 'dnt', 'etag', 'tk', 'upgrade-insecure-requests', 'user-agent', 'age', 'location', 'retry-after'])

/** Whether HTTP's own names are renamed: daprd spells what came over HTTP `Accept`, what came over gRPC `accept`. */
function isHttpName(name: string): boolean {
  const first = name.charCodeAt(0)
  return first >= 65 && first <= 90
}

/** Adds a value to metadata that may hold the name already. */
export function addMetadata(metadata: OutgoingHttpHeaders, name: string, value: string): void {
  const before = metadata[name]
  if (before === undefined || ONCE.has(name)) metadata[name] = value
  else if (Array.isArray(before)) before.push(value)
  else metadata[name] = [String(before), value]
}

/** The metadata with which a gRPC app is called: HTTP's names renamed, binary values in Base64, the trace in both forms. */
export function appMetadata(invocation: Invocation): OutgoingHttpHeaders {
  const metadata: OutgoingHttpHeaders = {}
  const { headers } = invocation
  let traceparent = NO_TRACEPARENT
  let overHttp = true
  for (let i = 0; i < headers.length; i += 2) {
    const raw = headers[i] as string
    const value = headers[i + 1] as string
    const name = raw.toLowerCase()
    if (raw === 'content-type' && value.startsWith('application/grpc')) overHttp = false
    if (name === 'traceparent') traceparent = value
    else if (name === 'tracestate') metadata.tracestate = value
    else if (RENAMED.has(name) && isHttpName(raw)) addMetadata(metadata, `dapr-${name}`, value)
    else if (!DROPPED.has(name) && !name.startsWith(':')) addMetadata(metadata, name, value)
  }
  if (overHttp) {
    if (invocation.contentType) metadata['dapr-content-type'] = invocation.contentType
    if (invocation.length !== undefined) metadata['dapr-content-length'] = String(invocation.length)
  }
  metadata.traceparent = traceparent
  const binary = toTraceBin(traceparent)
  if (binary) metadata['grpc-trace-bin'] = binary
  return metadata
}
