import type { IncomingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import { parseTimeout, timeoutFault } from './deadline.ts'
import { binaryFault } from './metadata.ts'
import { GrpcStatus } from './status.ts'

/** A request that is refused for its headers alone: gRPC's status for gRPC clients, HTTP's for others. */
export interface Refusal {
  http: number
  status: GrpcStatus
}

const GRPC = 'application/grpc'
/** What HTTP/2 counts for a header field beside its text, half of it for the name and half for the value. */
const FIELD_OVERHEAD = 16

/** Whether a content type is gRPC's: itself, or with `+subtype` or `;parameters`. */
function isGrpc(contentType: string): boolean {
  if (contentType === GRPC) return true
  const next = contentType.charCodeAt(GRPC.length)
  return contentType.startsWith(GRPC) && (next === 0x2b || next === 0x3b)
}

/** What is wrong with the headers of a call, status and text as grpc-go 1.82; undefined: nothing. `raw`: names and values in turn. */
export function refuse(headers: IncomingHttpHeaders, raw: readonly string[], maxSize: number): Refusal | undefined {
  // node:http2 announces the limit to the client, but does not hold it.
  let size = raw.length * FIELD_OVERHEAD
  for (const text of raw) size += text.length
  if (size > maxSize) return refusal(431, Code.ResourceExhausted, `received metadata larger than max (${size} vs. ${maxSize})`)
  const contentType = headers['content-type'] ?? ''
  if (!isGrpc(contentType)) return refusal(415, Code.InvalidArgument, `invalid gRPC request content-type ${JSON.stringify(contentType)}`)
  const timeout = headers['grpc-timeout']
  if (typeof timeout === 'string' && parseTimeout(timeout) === undefined)
    return refusal(400, Code.Internal, `malformed grpc-timeout: ${timeoutFault(timeout)}`)
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    if (!name.endsWith('-bin')) continue
    for (const value of (raw[index + 1] as string).split(',')) {
      const fault = binaryFault(value.trim())
      if (fault)
        return refusal(400, Code.Internal, `malformed binary metadata ${JSON.stringify(value)} in header ${JSON.stringify(name)}: ${fault}`)
    }
  }
  const method = headers[':method']
  if (method !== 'POST')
    return refusal(405, Code.Internal, `Received a HEADERS frame with :method ${JSON.stringify(method)} which should be POST`)
  return undefined
}

/** Why a path names no method that is served. */
export function unknownMethod(path: string, methods: ReadonlyMap<string, unknown>): GrpcStatus {
  const slash = path.lastIndexOf('/')
  if (!path.startsWith('/') || slash === 0) return new GrpcStatus(Code.Unimplemented, `malformed method name: ${JSON.stringify(path)}`)
  const service = path.slice(0, slash + 1)
  const known = methods.keys().some((method) => method.startsWith(service))
  return new GrpcStatus(
    Code.Unimplemented,
    known ? `unknown method ${path.slice(slash + 1)} for service ${path.slice(1, slash)}` : `unknown service ${path.slice(1, slash)}`,
  )
}

function refusal(http: number, code: Code, message: string): Refusal {
  return { http, status: new GrpcStatus(code, message) }
}
