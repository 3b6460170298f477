import { encodeHeaders } from '../http2/hpack.ts'
import { flatten, type GrpcStatus, statusTrailers } from './status.ts'

/** Names with one value each, or several. */
type Trailers = Readonly<Record<string, string | string[]>> | undefined

/** What most replies begin and end with, encoded once. */
const CONTENT_TYPE = 'application/grpc'
const HEAD: readonly string[] = [':status', '200', 'content-type', CONTENT_TYPE]
const HEAD_BLOCK = encodeHeaders(HEAD)
const OK_BLOCK = encodeHeaders(['grpc-status', '0'])

/** The head of a reply, with further names and values in turn. A request of another content type is answered in its own. */
export function headBlock(contentType: string, extra: readonly string[] | undefined): Buffer {
  if (contentType === CONTENT_TYPE && !extra) return HEAD_BLOCK
  const head = contentType === CONTENT_TYPE ? HEAD : [':status', '200', 'content-type', answered(contentType)]
  return encodeHeaders(extra ? [...head, ...extra] : head)
}

/** The end of a reply; `status` undefined: OK. */
export function trailerBlock(status: GrpcStatus | undefined, trailers: Trailers): Buffer {
  return status || trailers ? encodeHeaders(flatten({ ...trailers, ...statusTrailers(status) })) : OK_BLOCK
}

/** A status alone, in one header block that ends the stream. */
export function statusBlock(http: number, contentType: string, status: GrpcStatus, trailers: Trailers): Buffer {
  const type = http === 200 ? answered(contentType) : CONTENT_TYPE
  return encodeHeaders([':status', String(http), 'content-type', type, ...flatten({ ...trailers, ...statusTrailers(status) })])
}

function answered(contentType: string): string {
  return contentType === CONTENT_TYPE ? CONTENT_TYPE : contentType.replace(';', '+')
}

/** Names and values in turn, with this one instead of others of its name. */
export function withField(fields: readonly string[] | undefined, name: string, value: string | string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < (fields?.length ?? 0); index += 2)
    if (fields?.[index] !== name) kept.push(fields?.[index] as string, fields?.[index + 1] as string)
  for (const one of typeof value === 'string' ? [value] : value) kept.push(name, one)
  return kept
}
