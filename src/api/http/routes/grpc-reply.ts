import type { IncomingHttpHeaders } from 'node:http'
import type { GrpcAnswer } from '../../../app/response-sink.ts'
import { detailJson } from './detail-json.ts'

/** HTTP statuses by gRPC code. */
const STATUS: readonly number[] = [200, 408, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

export interface HttpReplyHead {
  status: number
  headers: Record<string, string | string[]>
  /** Of an error; a good reply brings its own. */
  body?: Buffer
}

/** What an HTTP client gets of a gRPC app's reply: metadata as headers, and an error as the JSON of its status. */
export function httpReply(code: number, metadata: IncomingHttpHeaders, answer: GrpcAnswer): HttpReplyHead {
  const headers: Record<string, string | string[]> = {}
  for (const name in metadata) {
    const value = metadata[name]
    if (value === undefined || name.endsWith('-bin') || name === 'content-length' || name === 'trailer' || name === 'te') continue
    headers[name.startsWith('grpc-') ? `dapr-${name}` : name] = value
  }
  if (code === 0) {
    if (answer.typeUrl) headers['content-type'] = 'application/x-protobuf'
    return { status: 200, headers }
  }
  const body = Buffer.from(
    JSON.stringify({
      code,
      ...(answer.message ? { message: answer.message } : {}),
      ...(answer.details.length > 0 ? { details: answer.details.map(detailJson) } : {}),
    }),
  )
  headers['content-type'] = 'application/json'
  headers['content-length'] = String(body.length)
  return { status: STATUS[code] ?? 500, headers, body }
}
