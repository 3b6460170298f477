/** What came to grief with the connection, so that another one may be tried; a server's refusal is a MongoError. */
export class LostError extends Error {
  override readonly name = 'LostError'
}

/** No server that suits was found in time; `cause` is why the last one that was asked did not do. */
export class NoServerError extends Error {
  override readonly name = 'NoServerError'
}

/** The server has no primary any more, or is going down (SDAM specification, "not writable primary" and "node is recovering"). */
const STATE_CHANGES = new Set([10107, 13435, 10058, 11600, 11602, 13436, 189, 91])
/** It would have worked elsewhere or a little later (retryable writes and reads specifications). */
const RETRYABLE = new Set([...STATE_CHANGES, 6, 7, 89, 262, 9001])
const RETRYABLE_READ = new Set([134])

/** A server's refusal, of a command or of a write in it. */
export class MongoError extends Error {
  override readonly name = 'MongoError'
  readonly code: number
  readonly labels: readonly string[]

  constructor(refusal: Readonly<Record<string, unknown>>) {
    super(typeof refusal.errmsg === 'string' ? refusal.errmsg : `error ${String(refusal.code)}`)
    this.code = typeof refusal.code === 'number' ? refusal.code : 0
    this.labels = Array.isArray(refusal.errorLabels) ? refusal.errorLabels.map(String) : []
  }

  get stateChange(): boolean {
    return STATE_CHANGES.has(this.code)
  }
}

/** Whether a read may be asked again. */
export function readsAgain(error: unknown): boolean {
  return error instanceof LostError || (error instanceof MongoError && (RETRYABLE.has(error.code) || RETRYABLE_READ.has(error.code)))
}

/** Whether a write under a number of its own may be done again: servers since 4.4 say so by a label. */
export function writesAgain(error: unknown): boolean {
  if (error instanceof LostError) return true
  return error instanceof MongoError && (error.labels.includes('RetryableWriteError') || RETRYABLE.has(error.code))
}

export function hasLabel(error: unknown, label: string): boolean {
  return error instanceof MongoError && error.labels.includes(label)
}

/** The refusal in a reply, if there is one: of the command, of its first write, or for want of servers that confirm. */
export function refusalIn(reply: Readonly<Record<string, unknown>>): MongoError | undefined {
  const { errorLabels } = reply
  if (reply.ok !== 1 && reply.ok !== true && reply.ok !== 1n) return new MongoError(reply)
  const [first] = Array.isArray(reply.writeErrors) ? reply.writeErrors : []
  const refusal = (first ?? reply.writeConcernError) as Readonly<Record<string, unknown>> | undefined
  return refusal ? new MongoError({ errorLabels, ...refusal }) : undefined
}
