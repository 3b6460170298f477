import { STATIC_TABLE } from './hpack-tables.ts'

const NAMES = new Map<string, number>()
for (let entry = STATIC_TABLE.length / 2; entry > 0; entry--) NAMES.set(STATIC_TABLE[entry * 2 - 2] as string, entry)

/** What HTTP/2 has no place for, and a client would take for an attack: https://www.rfc-editor.org/rfc/rfc9113#section-8.2 */
const CONNECTION = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])
const UPPER = /[A-Z]/
const WIDE = /[^\0-\xff]/
const BREAKS = /[\0\r\n]/
const ALL_BREAKS = /[\0\r\n]/g

/**
 * Names and values in turn as a header block that touches no table, so that it may be kept and sent again anywhere, and no secret
 * stays in one. Names go out in lower case; fields of a connection are left out; line breaks in values become spaces, and none stand at their ends.
 */
export function encodeHeaders(fields: readonly string[]): Buffer {
  let at = 0
  for (let index = 0; index < fields.length; index += 2) {
    const given = fields[index] as string
    const name = UPPER.test(given) ? given.toLowerCase() : given
    const value = fields[index + 1] as string
    // A character has three bytes at most, a length five.
    reserve(at, 20 + 3 * (name.length + value.length))
    if (name === ':status' && value === '200') {
      scratch[at++] = 0x88
      continue
    }
    if (CONNECTION.has(name)) continue
    const entry = NAMES.get(name)
    if (entry === undefined) {
      scratch[at++] = 0
      at = literal(name, at)
    } else at = integer(entry, 4, at)
    at = literal(BREAKS.test(value) ? trimmed(value.replace(ALL_BREAKS, ' ')) : trimmed(value), at)
  }
  return Buffer.from(scratch.subarray(0, at))
}

/** Where blocks are put together; it grows to the longest one but does not keep what only a giant needed. */
const USUAL_SCRATCH = 16_384
let scratch = Buffer.allocUnsafeSlow(USUAL_SCRATCH)

function reserve(at: number, more: number): void {
  if (at === 0 && scratch.length > USUAL_SCRATCH) scratch = Buffer.allocUnsafeSlow(USUAL_SCRATCH)
  if (at + more <= scratch.length) return
  const larger = Buffer.allocUnsafeSlow(Math.max(at + more, scratch.length * 2))
  scratch.copy(larger, 0, 0, at)
  scratch = larger
}

/** By hand: a regular expression takes the square of the length for a long run of spaces. */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return end - start === text.length ? text : text.slice(start, end)
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** Writes a number behind `at` and gives where it ends. */
function integer(value: number, bits: number, at: number): number {
  const most = 2 ** bits - 1
  if (value < most) {
    scratch[at] = value
    return at + 1
  }
  scratch[at++] = most
  let rest = value - most
  for (; rest > 127; rest >>= 7) scratch[at++] = (rest & 127) | 128
  scratch[at] = rest
  return at + 1
}

function literal(text: string, at: number): number {
  if (WIDE.test(text)) {
    const start = integer(Buffer.byteLength(text), 7, at)
    return start + scratch.write(text, start)
  }
  const start = integer(text.length, 7, at)
  return start + scratch.write(text, start, 'latin1')
}
