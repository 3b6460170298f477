/** One google.rpc error detail; `@type` is the full type URL, e.g. `type.googleapis.com/google.rpc.ErrorInfo`. */
export interface ErrorDetail {
  '@type': string
  [field: string]: unknown
}

/** gRPC status codes, by the names of the specification. */
export const Code = {
  OK: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const
export type Code = (typeof Code)[keyof typeof Code]

const CODE_NAMES = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]))

/** A code's name as gRPC in Go has it, e.g. `NotFound`. */
export function codeName(code: number): string {
  return CODE_NAMES.get(code) ?? `Code(${code})`
}

export interface OutriderErrorOptions {
  /** Dapr's error code as clients read it in `errorCode`, e.g. `ERR_STATE_STORE_NOT_FOUND`. */
  code: string
  /** HTTP status of the reply. */
  http: number
  /** gRPC status of the reply. */
  grpc: Code
  /** Says which thing failed and why; never holds a secret. */
  message: string
  /** What the reader can do next; sent in the header, or trailing metadata, `outrider-hint`. */
  hint?: string
  /** google.rpc details, specific ones first, ErrorInfo last; empty for legacy errors. */
  details?: ErrorDetail[]
  /** Whether trying the same again can succeed. Default false. */
  retryable?: boolean
  cause?: unknown
}

/** The one error that crosses rooms: both wires, logs and docs read the same fields. */
export class OutriderError extends Error {
  override readonly name = 'OutriderError'
  readonly code: string
  readonly http: number
  readonly grpc: Code
  readonly hint: string | undefined
  readonly details: readonly ErrorDetail[]
  readonly retryable: boolean

  constructor(options: OutriderErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = options.code
    this.http = options.http
    this.grpc = options.grpc
    this.hint = options.hint
    this.details = options.details ?? []
    this.retryable = options.retryable ?? false
  }

  /** Any thrown value as an OutriderError; what is not one already becomes Dapr's untyped 500 `ERROR`. */
  static from(thrown: unknown): OutriderError {
    if (thrown instanceof OutriderError) return thrown
    return new OutriderError({ code: 'ERROR', http: 500, grpc: Code.Unknown, message: messageOf(thrown), cause: thrown })
  }
}

/** The text of any thrown value. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && !thrown.message) return thrown.errors.map(messageOf).join('; ')
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** google.rpc.ErrorInfo with Dapr's domain. */
export function errorInfo(reason: string, metadata: Record<string, string> | null = null): ErrorDetail {
  return { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', domain: 'dapr.io', metadata, reason }
}

/** google.rpc.BadRequest with one field violation. */
export function badRequest(field: string, description: string): ErrorDetail {
  return { '@type': 'type.googleapis.com/google.rpc.BadRequest', field_violations: [{ description, field }] }
}
