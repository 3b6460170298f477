import type { WholeReply } from '../../transport/http1/client.ts'

/** What Cosmos DB answers instead of a result. */
export class CosmosError extends Error {
  override readonly name = 'CosmosError'
  readonly status: number
  /** Tells apart what has one status: of 404, 1002 is a replica that is behind, 1003 a container that is not there. */
  readonly substatus: number
  /** e.g. `PreconditionFailed`. */
  readonly code: string

  constructor(what: string, { status, reason, headers, body }: WholeReply) {
    const { code, message } = wordsOf(body)
    const name = code ?? 'UnknownError'
    super(`${what}: status ${status}, ${name}: ${message ?? reason}`)
    this.status = status
    this.substatus = Number(headers['x-ms-substatus'] ?? 0)
    this.code = name
  }
}

/** `Message: {"Errors":["…"]}` and, on further lines, the request's id and where it went. */
function wordsOf(body: Buffer): { code?: string; message?: string } {
  try {
    const { code, message } = JSON.parse(body.toString()) as { code?: string; message?: string }
    if (typeof message !== 'string') return { ...(code && { code }) }
    const first = (message.split(/\r?\n/)[0] as string).replace(/^Message: /, '')
    const errors = /^\{"Errors":\[(".*")\]\}/.exec(first)?.[1]
    return { ...(code && { code }), message: errors === undefined ? first : (JSON.parse(`[${errors}]`) as string[]).join('; ') }
  } catch {
    // Not Cosmos DB's words.
    return {}
  }
}
