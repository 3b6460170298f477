import { badRequest, Code, type ErrorDetail, errorInfo, messageOf, OutriderError } from '../../errors.ts'
import { EtagError } from './driver.ts'
import { originalKey } from './keys.ts'

/** Both wires say all four fields of ResourceInfo, empty ones too. */
function store(name: string): ErrorDetail {
  return { '@type': 'type.googleapis.com/google.rpc.ResourceInfo', description: '', owner: '', resource_name: name, resource_type: 'state' }
}

export function notConfigured(name: string): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_STORE_NOT_CONFIGURED',
    http: 500,
    grpc: Code.FailedPrecondition,
    message: `state store ${name} is not configured`,
    hint: 'add a Component resource whose type starts with state. to the resources folder',
    details: [errorInfo('DAPR_STATE_NOT_CONFIGURED')],
  })
}

export function notFound(name: string, known: Iterable<string>): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_STORE_NOT_FOUND',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `state store ${name} is not found`,
    hint: `use a loaded state store (${[...known].slice(0, 20).join(', ')}), or check the component's name and scopes`,
    details: [errorInfo('DAPR_STATE_NOT_FOUND')],
  })
}

export function illegalKey(key: string, name: string): OutriderError {
  const message = `input key/keyPrefix '${key}' can't contain '||'`
  return new OutriderError({
    code: 'ERR_MALFORMED_REQUEST',
    http: 400,
    grpc: Code.InvalidArgument,
    message,
    hint: 'choose a key without ||, which separates the app from the key in the store',
    details: [badRequest(key, message), store(name), errorInfo('DAPR_STATE_ILLEGAL_KEY')],
  })
}

export function emptyKey(): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_SAVE',
    http: 400,
    grpc: Code.InvalidArgument,
    message: 'state key cannot be empty',
    hint: 'give every item a key',
    details: [errorInfo('ERR_STATE_SAVE')],
  })
}

export function notTransactional(name: string): OutriderError {
  const help = {
    '@type': 'type.googleapis.com/google.rpc.Help',
    links: [
      {
        description: 'Check the list of state stores and the features they support',
        url: 'https://docs.dapr.io/reference/components-reference/supported-state-stores/',
      },
    ],
  }
  return new OutriderError({
    code: 'ERR_STATE_STORE_NOT_SUPPORTED',
    http: 500,
    grpc: Code.Unimplemented,
    message: `state store ${name} doesn't support transactions`,
    hint: 'use a store whose capabilities in /v1.0/metadata list TRANSACTIONAL',
    details: [help, store(name), errorInfo('DAPR_STATE_TRANSACTIONS_NOT_SUPPORTED')],
  })
}

export function notQueryable(name: string): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_STORE_NOT_SUPPORTED',
    http: 500,
    grpc: Code.Internal,
    message: 'state store does not support querying',
    hint: 'use a store whose capabilities in /v1.0/metadata list QUERY_API, such as state.postgresql v1, state.mongodb, state.azure.cosmosdb, or state.redis on a Redis with its JSON and search modules',
    details: [store(name), errorInfo('DAPR_STATE_QUERYING_NOT_SUPPORTED')],
  })
}

/** The store takes fewer operations at once. */
export function tooManyOperations(name: string, count: number, most: number): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_STORE_TOO_MANY_TRANSACTIONS',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `the transaction contains ${count} operations, which is more than what the state store supports: ${most}`,
    hint: `send at most ${most} operations in one transaction to this store`,
    details: [
      store(name),
      errorInfo('DAPR_STATE_TOO_MANY_TRANSACTIONS', { currentOpsTransaction: String(count), maxOpsPerTransaction: String(most) }),
    ],
  })
}

export function queryFailed(name: string, cause: unknown): OutriderError {
  if (cause instanceof OutriderError) return cause
  return new OutriderError({
    code: 'ERR_STATE_QUERY',
    http: 500,
    grpc: Code.Internal,
    message: `state store ${name} query failed: ${messageOf(cause)}`,
    hint: 'check the query against the state query reference and the store against its capabilities',
    details: [store(name), errorInfo('DAPR_STATE_QUERY_FAILED')],
    cause,
  })
}

export function unsupportedOperation(operation: string): OutriderError {
  return new OutriderError({
    code: 'ERR_NOT_SUPPORTED_STATE_OPERATION',
    http: 400,
    grpc: Code.Unimplemented,
    message: `operation type ${operation} not supported`,
    hint: 'use upsert or delete',
    details: [errorInfo('ERR_NOT_SUPPORTED_STATE_OPERATION')],
  })
}

export function getFailed(key: string, name: string, cause: unknown): OutriderError {
  return failure('ERR_STATE_GET', `fail to get ${key} from state store ${name}: `, [cause], false)
}

/** `list`: the request had several items. */
export function saveFailed(name: string, causes: readonly unknown[], list: boolean): OutriderError {
  return failure('ERR_STATE_SAVE', `failed saving state in state store ${name}: `, causes, true, list)
}

export function deleteFailed(key: string, cause: unknown): OutriderError {
  return failure('ERR_STATE_DELETE', `failed deleting state with key ${key}: `, [cause], true)
}

export function bulkDeleteFailed(name: string, causes: readonly unknown[], list: boolean): OutriderError {
  return failure('ERR_STATE_BULK_DELETE', `failed deleting state in state store ${name}: `, causes, true, list)
}

export function encryptionFailed(name: string, cause: unknown): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_SAVE',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `failed saving state in state store ${name}: ${messageOf(cause)}`,
    hint: 'check primaryEncryptionKey of the component',
    details: [errorInfo('ERR_STATE_SAVE')],
    cause,
  })
}

/** The whole call failed; keys that fail alone carry their error in the answer. */
export function bulkGetFailed(cause: unknown): OutriderError {
  if (cause instanceof OutriderError) return new StoreAnswer(cause, 'ERR_STATE_BULK_GET', '')
  return new OutriderError({
    code: 'ERR_STATE_BULK_GET',
    http: 500,
    grpc: Code.Unknown,
    message: messageOf(cause),
    hint: 'check that the store is reachable',
    cause,
  })
}

/** ETag conflicts are Internal here too: that is what clients of Dapr get. */
export function transactionFailed(cause: unknown): OutriderError {
  return new OutriderError({
    code: 'ERR_STATE_TRANSACTION',
    http: 500,
    grpc: Code.Internal,
    message: `error while executing state transaction: ${etagText(cause)}`,
    hint:
      cause instanceof EtagError ? 'read the items again and repeat the transaction with their ETags' : 'check that the store is reachable',
    details: [errorInfo('ERR_STATE_TRANSACTION')],
    cause,
  })
}

const ETAG_WORDS = { mismatch: 'possible etag mismatch. error from state store', invalid: 'invalid etag value' }

/** Dapr's words for an ETag error, or the message of anything else. */
export function etagText(cause: unknown): string {
  if (!(cause instanceof EtagError)) return messageOf(cause)
  return cause.message ? `${ETAG_WORDS[cause.kind]}: ${cause.message}` : ETAG_WORDS[cause.kind]
}

/** An error that a store made for the app: over gRPC it goes as it is, over HTTP in the words of the operation. */
class StoreAnswer extends OutriderError {
  readonly overHttp: OutriderError
  constructor(answer: OutriderError, code: string, prefix: string) {
    const { http, grpc, message, hint, details, retryable } = answer
    const common = { http, grpc, retryable, cause: answer, ...(hint === undefined ? {} : { hint }) }
    super({ ...common, code: answer.code, message, details: [...details] })
    const name = Object.entries(Code).find(([, value]) => value === grpc)?.[0]
    this.overHttp = new OutriderError({ ...common, code, message: `${prefix}api error: code = ${name} desc = ${message}` })
  }
}

/**
 * What went wrong with one item or with several. An invalid ETag outweighs a mismatch. When nothing but ETags is wrong with
 * items of a list, Dapr says so once more in front; which keys it was stands in the hint.
 */
function failure(code: string, prefix: string, causes: readonly unknown[], etags: boolean, list = false): OutriderError {
  if (causes.length === 1 && causes[0] instanceof OutriderError) return new StoreAnswer(causes[0], code, prefix)
  const all = causes.map(etagText).join('\n')
  const kinds = etags ? causes.map((cause) => (cause instanceof EtagError ? cause.kind : undefined)) : []
  const kind = kinds.includes('invalid') ? 'invalid' : 'mismatch'
  const message = list && etags && !kinds.includes(undefined) ? `${ETAG_WORDS[kind]}: ${all}` : all
  const rich = causes.find((cause) => cause instanceof OutriderError)
  const [http, grpc] = kinds.includes('invalid')
    ? [400, Code.InvalidArgument]
    : kinds.includes('mismatch')
      ? [409, Code.Aborted]
      : [rich?.http ?? 500, rich?.grpc ?? Code.Internal]
  const hint =
    http === 409
      ? 'somebody else has written the key: read it again and repeat with its ETag'
      : http === 400
        ? "send the ETag exactly as the store's read gave it"
        : 'check the options and metadata of the request, and that the store is reachable'
  return new OutriderError({
    code,
    http,
    grpc,
    message: prefix + message,
    hint: list ? hint + failedKeys(causes) : hint,
    details: [errorInfo(code)],
    retryable: rich?.retryable ?? false,
    cause: causes.length === 1 ? causes[0] : new AggregateError(causes),
  })
}

/** At most twenty keys, as the app gave them. */
function failedKeys(causes: readonly unknown[]): string {
  const keys = causes.flatMap((cause) => (cause instanceof Error && 'key' in cause ? [originalKey(String(cause.key))] : []))
  return keys.length === 0 ? '' : ` (failed: ${keys.slice(0, 20).join(', ')}${keys.length > 20 ? ', …' : ''})`
}

/**
 * The HTTP form of an error of this block: older errors go without details there, an unknown store names the app
 * (not in queries), and an illegal key is wrapped once more (in transactions BadRequest then names no field).
 */
export function overHttp(thrown: unknown, appId: string, operation?: 'query' | 'transaction'): OutriderError {
  const error = OutriderError.from(thrown)
  if (error instanceof StoreAnswer) return error.overHttp
  const reason = error.details.at(-1)?.reason
  const change = (options: { message?: string; details: ErrorDetail[] }) =>
    new OutriderError({
      code: error.code,
      http: error.http,
      grpc: error.grpc,
      message: error.message,
      retryable: error.retryable,
      cause: error.cause,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...options,
    })
  if (reason === undefined) return error
  if (reason === error.code) return change({ details: [] })
  if (operation !== 'query' && (reason === 'DAPR_STATE_NOT_FOUND' || reason === 'DAPR_STATE_NOT_CONFIGURED'))
    return change({ details: [errorInfo(reason, { appID: appId })] })
  if (reason === 'DAPR_STATE_ILLEGAL_KEY') {
    const message = `api error: code = InvalidArgument desc = ${error.message}`
    const violations = error.details[0]?.field_violations as { field: string }[]
    return change({
      message,
      details: [badRequest(operation === 'transaction' ? '' : (violations[0]?.field ?? ''), message), ...error.details.slice(1)],
    })
  }
  return error
}
