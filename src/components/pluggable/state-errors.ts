import { EtagError } from '../../blocks/state/driver.ts'
import { Code, OutriderError } from '../../errors.ts'
import { map, message, nested, repeated, string } from '../../transport/grpc/message.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { ComponentCallError } from './connection.ts'

const TYPES = 'type.googleapis.com/google.rpc.'
const Violation = message('google.rpc.BadRequest.FieldViolation', { field: string(1), description: string(2) })
const BadRequest = message('google.rpc.BadRequest', { fieldViolations: repeated(nested(1, Violation)) })
const ErrorInfo = message('google.rpc.ErrorInfo', { reason: string(1), domain: string(2), metadata: map(3) })

/** What a state component's error means to the state block: an ETag conflict, an error made for the app, or a plain one. */
export function stateError(error: unknown, method: string): unknown {
  if (!(error instanceof ComponentCallError)) return error
  const { status } = error
  const [detail] = status.details
  if (!detail || status.details.length !== 1) return error
  if (detail.typeUrl === `${TYPES}BadRequest`) return etagError(status, detail.value) ?? error
  if (detail.typeUrl !== `${TYPES}ErrorInfo`) return error
  const { reason, domain, metadata } = ErrorInfo.decode(detail.value)
  if (metadata.kit_error === 'true' && /^\d{3}$/.test(metadata.http_code ?? '')) {
    return new OutriderError({
      code: metadata.tag || 'ERROR',
      http: Number(metadata.http_code),
      grpc: status.code,
      message: status.message,
      // No hint: the answer is the component's own, to the letter.
      details: [{ '@type': `${TYPES}ErrorInfo`, domain, metadata: null, reason }],
      cause: error,
    })
  }
  const { expected, affected } = metadata
  if (method === 'StateStore/BulkDelete' && status.code === Code.Internal && isInteger(expected) && isInteger(affected))
    return new Error(`delete affected only ${affected} rows, expected ${expected}`, { cause: error })
  return error
}

function etagError(status: GrpcStatus, detail: Buffer): EtagError | undefined {
  const kind = status.code === Code.FailedPrecondition ? 'mismatch' : status.code === Code.InvalidArgument ? 'invalid' : undefined
  const { fieldViolations } = BadRequest.decode(detail)
  const [violation] = fieldViolations
  if (!kind || fieldViolations.length !== 1 || violation?.field !== 'etag') return undefined
  return new EtagError(kind, violation.description)
}

function isInteger(text: string | undefined): boolean {
  return text !== undefined && /^[+-]?\d+$/.test(text)
}
