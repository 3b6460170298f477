import { HttpCallError } from './errors.ts'
import type { HttpRequest } from './exchange.ts'
import { fateOf, isToken, SENT } from './field-names.ts'

const METHODS = new Set(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'])
/** Servers may wait for a body of these unless told that there is none. */
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH'])
const BAD_PATH = /[^\x21-\x7e\x80-\xff]/
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/
const WIDE = /[^\0-\xff]/

/** A request's head in bytes of Latin-1, and how its body is framed. */
export interface RequestHead {
  text: string
  /** Bytes of a streamed body; -1: in chunks. */
  length: number
}

/** Writes the head of a request. `host` and `extra` are whole lines. Throws EINVAL for what would not arrive as it was meant. */
export function requestHead({ method, path, headers, body, takesTrailers }: HttpRequest, host: string, extra: string): RequestHead {
  if (!METHODS.has(method) && !isToken(method))
    throw new HttpCallError('EINVAL', `${JSON.stringify(method.slice(0, 40))} is no HTTP method`)
  if (path.length === 0 || BAD_PATH.test(path)) throw new HttpCallError('EINVAL', `${JSON.stringify(path.slice(0, 200))} is no path`)
  const lines = new Lines()
  if (isFlat(headers)) for (let i = 0; i + 1 < headers.length; i += 2) lines.add(headers[i] as string, headers[i + 1] as string)
  else
    for (const name in headers) {
      const value = headers[name]
      if (typeof value === 'string') lines.add(name, value)
      else if (value !== undefined) for (const one of value) lines.add(name, one)
    }
  let length = -1
  let framing = ''
  if (body === undefined) {
    if (WITH_BODY.has(method)) framing = 'Content-Length: 0\r\n'
  } else if (Buffer.isBuffer(body)) {
    length = body.length
    framing = `Content-Length: ${length}\r\n`
  } else if (lines.length === undefined) framing = 'Transfer-Encoding: chunked\r\n'
  else {
    length = lines.length
    framing = `Content-Length: ${length}\r\n`
  }
  // The wish is for this connection only: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.4
  if (takesTrailers) lines.text += 'TE: trailers\r\nConnection: TE\r\n'
  return { text: `${method} ${path} HTTP/1.1\r\n${lines.host || host}${framing}${lines.text}${extra}\r\n`, length }
}

class Lines {
  text = ''
  host = ''
  length: number | undefined

  add(name: string, value: string): void {
    const fate = fateOf(name)
    if (fate === SENT.asGiven) this.text += fieldLine(name, value)
    else if (fate === SENT.host) this.host = fieldLine(name, value)
    else if (fate === SENT.length) {
      if (!/^\d{1,15}$/.test(value)) throw new HttpCallError('EINVAL', `Content-Length ${JSON.stringify(value.slice(0, 40))} is no length`)
      this.length = Number(value)
    }
  }
}

/** One line of a head. Characters up to U+00FF are bytes as they are, as Node reads them; others go as UTF-8. */
export function fieldLine(name: string, value: string): string {
  return `${name}: ${BAD_VALUE.test(value) ? encoded(name, value) : value}\r\n`
}

function encoded(name: string, value: string): string {
  const bytes = WIDE.test(value) ? Buffer.from(value).toString('latin1') : value
  if (BAD_VALUE.test(bytes)) throw new HttpCallError('EINVAL', `the value of header ${name} has a control character`)
  return bytes
}

function isFlat(headers: HttpRequest['headers']): headers is readonly string[] {
  return Array.isArray(headers)
}
