import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { OutriderError } from '../../errors.ts'
import { giveBack, isPiece } from '../../transport/pieces.ts'
import { encodeHint, HINT } from '../hint.ts'
import { countSent } from './exchange.ts'
import type { Reply } from './route.ts'

/** Bodies up to this size leave as text with the head: one buffer and one plain write instead of two and a gathered one. */
const SMALL = 4096

/** Writes a finished reply; JSON unless its headers say otherwise, nothing but the head for 204. */
export function writeReply(response: ServerResponse, reply: Reply, traceparent?: string): void {
  if (response.headersSent || response.destroyed) return
  const { status, body } = reply
  // A copy: replies may be shared.
  const headers: OutgoingHttpHeaders = { ...reply.headers }
  if (traceparent !== undefined) headers.traceparent = traceparent
  if (body === undefined || status === 204) {
    response.writeHead(status, headers)
    response.end()
    return
  }
  headers['content-type'] ??= 'application/json'
  const length = Buffer.byteLength(body)
  headers['content-length'] = length
  countSent(response, length)
  response.writeHead(status, headers)
  if (typeof body === 'string') response.end(body, length === body.length ? 'latin1' : 'utf8')
  else if (asText(response, body)) response.end(body.toString('latin1'), 'latin1')
  else response.end(body)
}

/** Writes a piece of a body, which is given back then; false: wait for `drain`. */
export function writeChunk(response: ServerResponse, chunk: Buffer): boolean {
  countSent(response, chunk.length)
  if (asText(response, chunk)) {
    const text = chunk.toString('latin1')
    giveBack(chunk)
    return response.write(text, 'latin1')
  }
  return isPiece(chunk) ? response.write(chunk, () => giveBack(chunk)) : response.write(chunk)
}

/** Latin-1 both ways leaves bytes as they are; HTTP/2 takes buffers best. */
function asText(response: ServerResponse, bytes: Buffer): boolean {
  return bytes.length <= SMALL && response.req.httpVersionMajor === 1
}

/** An error as Dapr's clients read it; its hint goes in a header of ours. */
export function errorReply(error: OutriderError): Reply {
  const body: Record<string, unknown> = { errorCode: error.code, message: error.message }
  if (error.details.length > 0) body.details = error.details
  const headers: Record<string, string> = error.hint === undefined ? {} : { [HINT]: encodeHint(error.hint) }
  if (error.code === 'ERR_MEMORY_LIMIT') headers['retry-after'] = '1'
  return { status: error.http, headers, body: JSON.stringify(body) }
}
