import type { Downstream } from './downstream.ts'
import { fieldOf } from './fields.ts'

/** https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
const GRPC_STATUS: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 }

/** A reply that the proxy makes itself: fields and body. Calls of gRPC get it as a status of theirs. */
export function localReply(
  request: Downstream,
  status: number,
  text: string,
): { status: number; fields: string[]; body: Buffer | undefined } {
  const type = fieldOf(request.fields, 'content-type')
  if (type !== undefined && /^application\/grpc(?:$|[+;])/.test(type) && status !== 200) {
    // https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
    const message = text.replace(/[^\x20-\x24\x26-\x7e]/g, encodeURIComponent)
    const fields = ['content-type', 'application/grpc', 'grpc-status', String(GRPC_STATUS[status] ?? 2)]
    if (message !== '') fields.push('grpc-message', message)
    return { status: 200, fields, body: undefined }
  }
  const body = Buffer.from(text)
  const fields = body.length > 0 ? ['content-length', String(body.length), 'content-type', 'text/plain'] : ['content-length', '0']
  return { status, fields, body: body.length > 0 && request.method !== 'HEAD' ? body : undefined }
}
