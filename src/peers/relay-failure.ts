import { Code, messageOf, OutriderError } from '../errors.ts'
import { encodeGrpcMessage, flatten, GrpcStatus, statusTrailers } from '../transport/grpc/status.ts'

/** A status that an app answered with, held back while it may be tried again. */
export class HeldStatus extends Error {
  readonly code: number
  readonly permanent: boolean
  readonly pass: () => void

  constructor(code: number, permanent: boolean, pass: () => void) {
    super(`the app answered with gRPC status ${code}`)
    this.code = code
    this.permanent = permanent
    this.pass = pass
  }
}

/** Nobody was reached: a failure without a code, which every retry policy takes. */
export class Unreached extends Error {}

/** What the caller hears when a policy ends the call: the failure itself, a passed deadline, or a breaker's refusal. */
export function policyStatus(error: unknown): GrpcStatus {
  if (error instanceof GrpcStatus) return error
  if (error instanceof OutriderError) return GrpcStatus.from(error)
  if (error instanceof Unreached) return GrpcStatus.from(error.cause)
  const text = messageOf(error)
  return new GrpcStatus(text === 'context deadline exceeded' ? Code.DeadlineExceeded : Code.Unknown, text, { cause: error })
}

/** The trailers of a status of our own; with the hint of the error that it is about, if there is one. */
export function ownTrailers(status: GrpcStatus): string[] {
  const hint = status.cause instanceof OutriderError ? status.cause.hint : undefined
  return [...flatten(statusTrailers(status)), ...(hint ? ['outrider-hint', encodeGrpcMessage(hint.slice(0, 1024))] : [])]
}
