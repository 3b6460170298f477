import type { IncomingHttpHeaders } from 'node:http2'

/** Names that count once; the first value is taken, as grpc-go does. */
const SINGLE = new Set(['content-type', 'user-agent', 'grpc-timeout', 'grpc-encoding', 'host'])
const PSEUDO = new Set([':method', ':scheme', ':path', ':authority'])
/** What belongs to a connection of HTTP/1: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2 */
const CONNECTION = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
const BAD_VALUE = /[\0\r\n]/

/** The head of a request by names; undefined: it is malformed, https://www.rfc-editor.org/rfc/rfc9113#section-8.1.1. */
export function readRequest(raw: readonly string[]): IncomingHttpHeaders | undefined {
  const headers = Object.create(null) as Record<string, string>
  let regular = false
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    const value = raw[index + 1] as string
    if (BAD_VALUE.test(value)) return undefined
    const known = headers[name]
    if (name.charCodeAt(0) === 0x3a) {
      if (regular || known !== undefined || !PSEUDO.has(name)) return undefined
      headers[name] = value
      continue
    }
    regular = true
    if (!NAME.test(name) || CONNECTION.has(name)) return undefined
    if (name === 'te' && value !== 'trailers') return undefined
    if (known === undefined) headers[name] = value
    else if (name === 'content-length') {
      if (known !== value) return undefined
    } else if (!SINGLE.has(name)) headers[name] = `${known}, ${value}`
  }
  const length = headers['content-length']
  if (length !== undefined && !/^\d{1,15}$/.test(length)) return undefined
  return headers[':method'] && headers[':scheme'] && headers[':path'] ? headers : undefined
}

/** Whether the fields after a body may stand there. */
export function trailersAllowed(raw: readonly string[]): boolean {
  for (let index = 0; index < raw.length; index += 2) {
    if (badField(raw[index] as string, raw[index + 1] as string)) return false
  }
  return true
}

/** Whether a field that is no pseudo header may not stand in a head or in trailers. */
export function badField(name: string, value: string): boolean {
  return !NAME.test(name) || CONNECTION.has(name) || BAD_VALUE.test(value)
}
