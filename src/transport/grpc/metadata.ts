import type { IncomingHttpHeaders } from 'node:http2'

/**
 * Binary metadata: names that end in `-bin` carry base64, with or without padding, several values joined by commas.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

/** Bytes as the value of a `-bin` header, without padding as gRPC senders do. */
export function encodeBinary(value: Uint8Array): string {
  const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  return text.endsWith('==') ? text.slice(0, -2) : text.endsWith('=') ? text.slice(0, -1) : text
}

/** One value of a `-bin` header as bytes; undefined: no base64. */
export function decodeBinary(text: string): Buffer | undefined {
  return binaryFault(text) === undefined ? Buffer.from(text, 'base64') : undefined
}

/** All values of a `-bin` header; those that are no base64 are left out. */
export function binaryValues(headers: IncomingHttpHeaders, name: string): Buffer[] {
  const value = headers[name]
  if (value === undefined) return []
  return (Array.isArray(value) ? value : value.split(','))
    .map((one) => decodeBinary(one.trim()))
    .filter((one): one is Buffer => one !== undefined)
}

/** Where base64 text goes wrong, as grpc-go says it; undefined: it is right. */
export function binaryFault(text: string): string | undefined {
  const padded = text.length % 4 === 0 && text.endsWith('=')
  const body = padded ? text.replace(/={1,2}$/, '') : text
  const wrong = body.search(/[^A-Za-z0-9+/]/)
  if (wrong >= 0) return `illegal base64 data at input byte ${wrong}`
  if (body.length % 4 === 1) return `illegal base64 data at input byte ${body.length}`
  return undefined
}
