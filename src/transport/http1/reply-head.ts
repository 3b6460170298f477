import type { IncomingHttpHeaders } from 'node:http'
import { malformed } from './errors.ts'
import { FIELD, replyField } from './field-names.ts'

/** Length of a body that ends with the connection. */
export const UNTIL_CLOSE = -1
/** Length of a body in chunks. */
export const CHUNKED = -2

/** The head of a reply, its framing read out of the fields. */
export interface ReplyHead {
  status: number
  /** The server's own words for the status, often empty. */
  reason: string
  /** Names in lower case; several values of one name as an array. Without Content-Length: that is `length`. */
  headers: IncomingHttpHeaders
  /** Bytes of the body as declared, UNTIL_CLOSE or CHUNKED. Says nothing about replies that have no body by their status. */
  length: number
  /** The connection may be used again. */
  keepAlive: boolean
  /** Seconds for which the server keeps the idle connection, if it says. */
  idleSeconds: number | undefined
}

/** Fields of one head: more are an attack. */
const MAX_FIELDS = 1000
/** Control characters, and an end of a line without its CR. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const BROKEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\r]\n/

/** An object without a prototype that is as fast as one with: names come from outside. */
const Fields = function Fields() {} as unknown as new () => Record<string, string | string[]>
Fields.prototype = Object.create(null)

/**
 * Reads a head, status line to the end of the last field's line, RFC 9112 sections 4 to 6. Throws where the rules leave room
 * for two readings: folded lines, bare CR or LF, control characters, lengths that contradict each other or the encoding.
 */
export function parseHead(text: string): ReplyHead {
  if (BROKEN.test(text)) throw malformed('a control character in the head')
  const minor = text.charCodeAt(7) - 48
  const status = statusOf(text)
  if (!text.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1) || status === 0)
    throw malformed(`status line ${JSON.stringify(text.slice(0, 40))}`)
  const headers = new Fields()
  const last = text.length
  let length = UNTIL_CLOSE
  let keepAlive = minor === 1
  let idleSeconds: number | undefined
  let count = 0
  const first = endOfLine(text, 12)
  let at = first + 2
  while (at < last) {
    const stop = endOfLine(text, at)
    const colon = text.indexOf(':', at)
    if (colon < 0 || colon > stop) throw malformed('a header line without a colon')
    if (++count > MAX_FIELDS) throw malformed(`more than ${MAX_FIELDS} header lines`)
    const { name, kind } = replyField(text.slice(at, colon))
    const value = trimmed(text, colon + 1, stop)
    at = stop + 2
    if (kind !== FIELD.plain) {
      if (kind === FIELD.length) {
        const declared = lengthOf(value)
        if (length === CHUNKED || (length >= 0 && length !== declared)) throw malformed('several lengths')
        length = declared
        continue
      }
      if (kind === FIELD.encoding) {
        if (length !== UNTIL_CLOSE || minor === 0) throw malformed('Transfer-Encoding beside another length')
        if (value.toLowerCase() !== 'chunked') throw malformed(`Transfer-Encoding ${JSON.stringify(value.slice(0, 40))}`)
        length = CHUNKED
      } else if (kind === FIELD.connection) keepAlive = staysOpen(value, keepAlive)
      else idleSeconds = secondsOf(value)
    }
    const before = headers[name]
    if (before === undefined) headers[name] = value
    else if (typeof before === 'string') headers[name] = [before, value]
    else before.push(value)
  }
  return { status, reason: text.slice(13, first), headers: headers as IncomingHttpHeaders, length, keepAlive, idleSeconds }
}

/** 0: there is none where it should be. */
function statusOf(text: string): number {
  const a = text.charCodeAt(9) - 48
  const b = text.charCodeAt(10) - 48
  const c = text.charCodeAt(11) - 48
  const after = text.charCodeAt(12)
  if (text.charCodeAt(8) !== 32 || (after !== 32 && after !== 13)) return 0
  return a >= 1 && a <= 9 && b >= 0 && b <= 9 && c >= 0 && c <= 9 ? a * 100 + b * 10 + c : 0
}

function endOfLine(text: string, from: number): number {
  const stop = text.indexOf('\r', from)
  if (text.charCodeAt(stop + 1) !== 10) throw malformed('a CR without LF')
  return stop
}

/** The text between two places without blanks at its ends. */
export function trimmed(text: string, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9
}

function lengthOf(value: string): number {
  // More digits than 15 are no safe number, and no body.
  if (value.length === 0 || value.length > 15) throw malformed('Content-Length')
  let length = 0
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) throw malformed('Content-Length')
    length = length * 10 + digit
  }
  return length
}

function staysOpen(value: string, before: boolean): boolean {
  if (value === 'keep-alive') return true
  let open = before
  for (const token of value.toLowerCase().split(',')) {
    const name = token.trim()
    if (name === 'close') return false
    if (name === 'keep-alive') open = true
  }
  return open
}

function secondsOf(value: string): number | undefined {
  const found = /(?:^|[\s,;])timeout=(\d{1,6})\b/i.exec(value)
  return found ? Number(found[1]) : undefined
}
