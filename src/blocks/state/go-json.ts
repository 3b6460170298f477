/** A text that is no JSON; the message is the one Go's decoder gives, which clients of Dapr know. */
export class JsonTextError extends Error {
  override readonly name = 'JsonTextError'
}

/**
 * Parses the first JSON value of a text as Go's stream decoder does: what follows it is ignored.
 * With `whole`, as Go's Unmarshal does: the text is one value and nothing else.
 */
export function parseJson(text: string, whole = false): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The slow way is taken only for broken or trailing text: it finds the end of the value, or Go's words for the mistake.
    const end = new Scanner(text, whole).value()
    if (whole) throw new JsonTextError(`invalid character ${quoted(text.slice(skipSpace(text, end)))} after top-level value`)
    return JSON.parse(text.slice(0, end))
  }
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && ' \t\r\n'.includes(text[at] as string)) at++
  return at
}

function quoted(rest: string): string {
  const char = String.fromCodePoint(rest.codePointAt(0) ?? 0)
  if (char === "'") return `'\\''`
  if (char === '"') return `'"'`
  return `'${JSON.stringify(char).slice(1, -1)}'`
}

/** Only broken or trailing text is walked here, by recursion; Go allows 10,000, our stack would not. */
const DEPTH = 1000

class Scanner {
  private at = 0
  private readonly text: string
  private readonly whole: boolean

  constructor(text: string, whole: boolean) {
    this.text = text
    this.whole = whole
  }

  /** Index just after the first value. */
  value(depth = 0): number {
    if (depth > DEPTH) throw new JsonTextError('exceeded max depth')
    const char = this.next(depth === 0)
    if (char === '{') return this.object(depth)
    if (char === '[') return this.array(depth)
    if (char === '"') return this.string()
    if (char === 't') return this.literal('true')
    if (char === 'f') return this.literal('false')
    if (char === 'n') return this.literal('null')
    if (char === '-' || (char >= '0' && char <= '9')) return this.number()
    return this.refuse('looking for beginning of value')
  }

  private object(depth: number): number {
    this.at++
    if (this.next() === '}') return ++this.at
    for (;;) {
      if (this.next() !== '"') return this.refuse('looking for beginning of object key string')
      this.string()
      if (this.next() !== ':') return this.refuse('after object key')
      this.at++
      this.value(depth + 1)
      const char = this.next()
      if (char === '}') return ++this.at
      if (char !== ',') return this.refuse('after object key:value pair')
      this.at++
    }
  }

  private array(depth: number): number {
    this.at++
    if (this.next() === ']') return ++this.at
    for (;;) {
      this.value(depth + 1)
      const char = this.next()
      if (char === ']') return ++this.at
      if (char !== ',') return this.refuse('after array element')
      this.at++
    }
  }

  private string(): number {
    for (;;) {
      this.at++
      const char = this.here()
      if (char === '"') return ++this.at
      if (char < ' ') return this.refuse('in string literal')
      if (char !== '\\') continue
      this.at++
      const escaped = this.here()
      if (escaped === 'u') {
        for (let digit = 0; digit < 4; digit++) {
          this.at++
          if (!/[0-9a-fA-F]/.test(this.here())) return this.refuse('in \\u hexadecimal character escape')
        }
      } else if (!'"\\/bfnrt'.includes(escaped)) return this.refuse('in string escape code')
    }
  }

  private literal(word: string): number {
    for (let index = 1; index < word.length; index++) {
      this.at++
      if (this.here() !== word[index]) return this.refuse(`in literal ${word} (expecting '${word[index]}')`)
    }
    return ++this.at
  }

  private number(): number {
    const digit = () => this.text[this.at] !== undefined && /[0-9]/.test(this.text[this.at] as string)
    if (this.text[this.at] === '-') {
      this.at++
      this.here()
      if (!digit()) return this.refuse('in numeric literal')
    }
    if (this.text[this.at] === '0') this.at++
    else while (digit()) this.at++
    if (this.text[this.at] === '.') {
      this.at++
      this.here()
      if (!digit()) return this.refuse('after decimal point in numeric literal')
      while (digit()) this.at++
    }
    if (this.text[this.at] === 'e' || this.text[this.at] === 'E') {
      this.at++
      if (this.here() === '+' || this.here() === '-') this.at++
      this.here()
      if (!digit()) return this.refuse('in exponent of numeric literal')
      while (digit()) this.at++
    }
    return this.at
  }

  private next(first = false): string {
    this.at = skipSpace(this.text, this.at)
    return this.here(first)
  }

  private here(first = false): string {
    const char = this.text[this.at]
    if (char === undefined) throw new JsonTextError(this.whole ? 'unexpected end of JSON input' : first ? 'EOF' : 'unexpected EOF')
    return char
  }

  private refuse(where: string): never {
    throw new JsonTextError(`invalid character ${quoted(this.text.slice(this.at))} ${where}`)
  }
}
