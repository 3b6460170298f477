import { type Fields, int32, int64, map, message, nested, repeated, string } from '../../../transport/grpc/message.ts'
import type { Any } from '../../../transport/grpc/status.ts'

/** The kinds of google.rpc details, whose JSON form clients read. */
const rpc = <F extends Fields>(name: string, fields: F) => message(`google.rpc.${name}`, fields)
const Duration = message('google.protobuf.Duration', { seconds: int64(1), nanos: int32(2) })
const KNOWN = [
  rpc('ErrorInfo', { reason: string(1), domain: string(2), metadata: map(3) }),
  rpc('RetryInfo', { retryDelay: nested(1, Duration) }),
  rpc('DebugInfo', { stackEntries: repeated(string(1)), detail: string(2) }),
  rpc('QuotaFailure', { violations: repeated(nested(1, rpc('QuotaFailure.Violation', { subject: string(1), description: string(2) }))) }),
  rpc('PreconditionFailure', {
    violations: repeated(nested(1, rpc('PreconditionFailure.Violation', { type: string(1), subject: string(2), description: string(3) }))),
  }),
  rpc('BadRequest', {
    fieldViolations: repeated(nested(1, rpc('BadRequest.FieldViolation', { field: string(1), description: string(2) }))),
  }),
  rpc('RequestInfo', { requestId: string(1), servingData: string(2) }),
  rpc('ResourceInfo', { resourceType: string(1), resourceName: string(2), owner: string(3), description: string(4) }),
  rpc('Help', { links: repeated(nested(1, rpc('Help.Link', { description: string(1), url: string(2) }))) }),
  rpc('LocalizedMessage', { locale: string(1), message: string(2) }),
]

/** A status detail in protobuf's JSON form; a type that nobody here knows with its bytes in Base64 as `value`. */
export function detailJson({ typeUrl, value }: Any): Record<string, unknown> {
  const name = typeUrl.slice(typeUrl.lastIndexOf('/') + 1)
  const known = KNOWN.find((type) => type.fullName === name)
  try {
    if (known) return { '@type': typeUrl, ...(plain(known.decode(value)) as Record<string, unknown>) }
  } catch {
    // Not what its name says: as bytes, then.
  }
  return { '@type': typeUrl, value: value.toString('base64') }
}

/** As protobuf's JSON leaves out what is empty. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  if ('seconds' in value && 'nanos' in value) return `${Number(value.seconds) + Number(value.nanos) / 1e9}s`
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== '' && one !== undefined && !(typeof one === 'object' && one !== null && Object.keys(one).length === 0))
      .map(([key, one]) => [key, plain(one)]),
  )
}
