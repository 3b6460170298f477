import type { IncomingHttpHeaders } from 'node:http2'
import { badField } from './request.ts'

/** Names that count once; the first value is taken. */
const SINGLE = new Set(['content-type', 'content-length', 'grpc-status', 'grpc-message', 'grpc-encoding', 'grpc-status-details-bin'])
const STATUS = /^[1-9]\d\d$/

/**
 * The head of a reply by names, `:status` as a number; undefined: it is malformed,
 * https://www.rfc-editor.org/rfc/rfc9113#section-8.1.1.
 */
export function readResponse(raw: readonly string[]): IncomingHttpHeaders | undefined {
  const status = raw[1]
  if (raw[0] !== ':status' || status === undefined || !STATUS.test(status)) return undefined
  const headers = readTrailers(raw, 2)
  if (!headers) return undefined
  const length = headers['content-length']
  if (length !== undefined && !/^\d{1,15}$/.test(length)) return undefined
  ;(headers as Record<string, unknown>)[':status'] = Number(status)
  return headers
}

/** Fields without pseudo headers by names; undefined: they are malformed. */
export function readTrailers(raw: readonly string[], from = 0): IncomingHttpHeaders | undefined {
  const headers = Object.create(null) as Record<string, string>
  for (let index = from; index < raw.length; index += 2) {
    const name = raw[index] as string
    const value = raw[index + 1] as string
    if (badField(name, value)) return undefined
    const known = headers[name]
    if (known === undefined) headers[name] = value
    else if (!SINGLE.has(name)) headers[name] = `${known}, ${value}`
  }
  return headers
}
