import type { ServerResponse } from 'node:http'
import type { OutriderError } from '../../errors.ts'
import { encodeHint, HINT } from '../hint.ts'
import type { Reply } from './route.ts'

/** Writes a finished reply; JSON unless its headers say otherwise, nothing but the head for 204. */
export function writeReply(response: ServerResponse, reply: Reply): void {
  if (response.headersSent || response.destroyed) return
  const headers = reply.headers ?? {}
  if (reply.body === undefined || reply.status === 204) {
    response.writeHead(reply.status, headers)
    response.end()
    return
  }
  if (headers['content-type'] === undefined) headers['content-type'] = 'application/json'
  headers['content-length'] = Buffer.byteLength(reply.body)
  response.writeHead(reply.status, headers)
  response.end(reply.body)
}

/** An error as Dapr's clients read it; its hint goes in a header of ours. */
export function errorReply(error: OutriderError): Reply {
  const body: Record<string, unknown> = { errorCode: error.code, message: error.message }
  if (error.details.length > 0) body.details = error.details
  return { status: error.http, headers: error.hint === undefined ? {} : { [HINT]: encodeHint(error.hint) }, body: JSON.stringify(body) }
}
