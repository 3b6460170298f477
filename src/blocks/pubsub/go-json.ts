/**
 * JSON as Go reads and writes it, because events cross sidecars byte by byte: names sorted, `<>&` escaped, digits of
 * numbers kept, whatever follows the first value ignored, and Go's words for what is broken.
 */

interface RawJson {
  rawJSON(text: string): object
  isRawJSON(value: unknown): boolean
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
}
const exactJson = JSON as unknown as RawJson

/** Numbers that a double could change or print differently: fractions, exponents, 16 digits and more, minus zero. */
const DELICATE = /\d[.eE]|\d{16}|-0/
const HTML = /[<>&\u2028\u2029]/g
/** Short and without anything to escape, as names, types and ids are. */
const PLAIN = /^[\w .:;/+=,@|-]{0,128}$/
const ESCAPES: Record<string, string> = { '<': '\\u003c', '>': '\\u003e', '&': '\\u0026', '\u2028': '\\u2028', '\u2029': '\\u2029' }

/** Why a text is not JSON, in Go's words. */
export class GoSyntaxError extends Error {
  override readonly name = 'GoSyntaxError'
}

/** A JSON string literal, escaped as Go escapes it. */
export function goString(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`
  return JSON.stringify(text).replace(HTML, (character) => ESCAPES[character] as string)
}

/** A value as Go's encoding/json writes it. Throws RangeError when it is nested too deeply for the stack. */
export function goEncode(value: unknown): string {
  if (typeof value === 'string') return goString(value)
  if (typeof value !== 'object' || value === null || exactJson.isRawJSON(value)) return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(goEncode).join(',')}]`
  const entries = value as Record<string, unknown>
  return `{${Object.keys(entries)
    .sort()
    .map((name) => `${goString(name)}:${goEncode(entries[name])}`)
    .join(',')}}`
}

/** The first JSON value of a text; `exact` keeps numbers with the digits they were written with. Throws GoSyntaxError. */
export function goDecode(text: string, exact = false): unknown {
  const parse = exact && DELICATE.test(text) ? parseExact : JSON.parse
  try {
    return parse(text)
  } catch {
    return parse(text.slice(0, endOfValue(text)))
  }
}

function parseExact(text: string): unknown {
  return exactJson.parse(text, (_, value, context) =>
    typeof value === 'number' && context.source !== undefined ? exactJson.rawJSON(context.source) : value,
  )
}

const SPACE = /[ \t\r\n]*/y
const NUMBER = /-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y

/** Where the first value ends. Throws GoSyntaxError for the first thing that cannot be. */
function endOfValue(text: string): number {
  const open: string[] = []
  let at = 0
  const skip = () => {
    SPACE.lastIndex = at
    SPACE.test(text)
    at = SPACE.lastIndex
  }
  const peek = () => {
    if (at >= text.length) throw new GoSyntaxError('unexpected EOF')
    return text[at] as string
  }
  const refuse = (where: string): never => {
    throw new GoSyntaxError(`invalid character ${quoteCharacter(peek())} ${where}`)
  }
  const string = () => {
    for (at++; peek() !== '"'; at++) {
      if (peek() < ' ') refuse('in string literal')
      if (peek() !== '\\') continue
      at++
      if (peek() === 'u') {
        for (let digit = 0; digit < 4; digit++) {
          at++
          if (!/[0-9a-fA-F]/.test(peek())) refuse('in \\u hexadecimal character escape')
        }
      } else if (!'"\\/bfnrt'.includes(peek())) refuse('in string escape code')
    }
    at++
  }
  const scalar = () => {
    const first = peek()
    if (first === '"') return string()
    const word = { t: 'true', f: 'false', n: 'null' }[first]
    if (word !== undefined) {
      for (const expected of word) {
        if (peek() !== expected) refuse(`in literal ${word} (expecting '${expected}')`)
        at++
      }
      return
    }
    NUMBER.lastIndex = at
    if (NUMBER.test(text)) {
      at = NUMBER.lastIndex
      if (at < text.length && /[.eE]/.test(peek())) {
        at++
        refuse(text[at - 1] === '.' ? 'after decimal point in numeric literal' : 'in exponent of numeric literal')
      }
      return
    }
    if (first === '-') {
      at++
      refuse('in numeric literal')
    }
    refuse('looking for beginning of value')
  }
  const key = () => {
    skip()
    if (peek() !== '"') refuse('looking for beginning of object key string')
    string()
    skip()
    if (peek() !== ':') refuse('after object key')
    at++
  }
  skip()
  if (at >= text.length) throw new GoSyntaxError('EOF')
  for (;;) {
    skip()
    const first = peek()
    if (first === '{' || first === '[') {
      at++
      skip()
      if (peek() !== (first === '{' ? '}' : ']')) {
        open.push(first)
        if (first === '{') key()
        continue
      }
      at++
    } else scalar()
    // A value is complete: close what it completes, up to the next one.
    for (;;) {
      const inside = open.at(-1)
      if (inside === undefined) return at
      skip()
      const next = peek()
      at++
      if (next === ',') {
        if (inside === '{') key()
        break
      }
      if (next === (inside === '{' ? '}' : ']')) {
        open.pop()
        continue
      }
      at--
      refuse(inside === '{' ? 'after object key:value pair' : 'after array element')
    }
  }
}

function quoteCharacter(character: string): string {
  if (character === "'") return "'\\''"
  if (character === '"') return `'"'`
  return `'${JSON.stringify(character).slice(1, -1)}'`
}
