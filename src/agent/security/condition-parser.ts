// The language of Falco's conditions: comparisons of fields, names of macros, and, or, not, brackets.

export const COMPARISONS = [
  '=',
  '==',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  'contains',
  'icontains',
  'startswith',
  'endswith',
  'glob',
  'iglob',
  'regex',
] as const
export const LIST_COMPARISONS = ['in', 'intersects', 'pmatch'] as const

export interface FieldName {
  name: string
  argument: string | undefined
  /** Functions around it, the innermost first. */
  through: readonly string[]
}

export type Condition =
  | { kind: 'and' | 'or'; all: readonly Condition[] }
  | { kind: 'not'; what: Condition }
  | { kind: 'macro'; name: string }
  | { kind: 'exists'; field: FieldName }
  | { kind: 'compare'; field: FieldName; how: (typeof COMPARISONS)[number]; value: string }
  | { kind: 'list'; field: FieldName; how: (typeof LIST_COMPARISONS)[number]; values: readonly string[] }

const DEEPEST = 200
const OPERATOR = /\s*(==|!=|<=|>=|=|<|>|(?:contains|icontains|startswith|endswith|glob|iglob|regex|exists|in|intersects|pmatch)(?![\w.]))/y
const FIELD = /\s*([a-zA-Z_][\w]*(?:\.[\w]+)+)(?:\[([^\]]*)\])?/y
const FUNCTION = /\s*(tolower|toupper|b64|basename|len|val)\(/y
const NAME = /\s*([a-zA-Z_][\w-]*)/y
const VALUE = /\s*("(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|[^\s(),]+)/y
const WORD = /\s*(and|or|not)(?![\w.-])/y

/** Throws an Error that shows where it could not go on. */
export function parseCondition(text: string): Condition {
  const parser = new Parser(text)
  const condition = parser.any(0)
  parser.end()
  return condition
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  end(): void {
    if (this.#text.slice(this.#at).trim() !== '') throw this.#wrong('nothing can follow here')
  }

  any(depth: number): Condition {
    const all = [this.#every(depth)]
    while (this.#word('or')) all.push(this.#every(depth))
    return all.length === 1 ? (all[0] as Condition) : { kind: 'or', all }
  }

  #every(depth: number): Condition {
    const all = [this.#one(depth)]
    while (this.#word('and')) all.push(this.#one(depth))
    return all.length === 1 ? (all[0] as Condition) : { kind: 'and', all }
  }

  #one(depth: number): Condition {
    if (depth > DEEPEST) throw this.#wrong('too many brackets')
    if (this.#word('not')) return { kind: 'not', what: this.#one(depth + 1) }
    if (this.#sign('(')) {
      const inner = this.any(depth + 1)
      if (!this.#sign(')')) throw this.#wrong(') is missing')
      return inner
    }
    const field = this.#field()
    if (field) return this.#comparison(field)
    const name = this.#match(NAME)?.[1]
    if (name === undefined) throw this.#wrong('a field, a macro or ( is missing')
    return { kind: 'macro', name }
  }

  #field(): FieldName | undefined {
    const functions: string[] = []
    for (let found = this.#match(FUNCTION); found; found = this.#match(FUNCTION)) functions.unshift(found[1] as string)
    const found = this.#match(FIELD)
    if (!found) {
      if (functions.length > 0) throw this.#wrong('a field is missing')
      return undefined
    }
    for (const _ of functions) if (!this.#sign(')')) throw this.#wrong(') is missing')
    return { name: found[1] as string, argument: found[2]?.trim(), through: functions }
  }

  #comparison(field: FieldName): Condition {
    const how = this.#match(OPERATOR)?.[1]
    if (how === undefined) throw this.#wrong(`${field.name} has to be compared`)
    if (how === 'exists') return { kind: 'exists', field }
    if (how === 'in' || how === 'intersects' || how === 'pmatch') return { kind: 'list', field, how, values: this.#values() }
    return { kind: 'compare', field, how: how as (typeof COMPARISONS)[number], value: this.#value() }
  }

  #values(): string[] {
    if (!this.#sign('(')) return [this.#value()]
    const values: string[] = []
    if (this.#sign(')')) return values
    do values.push(this.#value())
    while (this.#sign(','))
    if (!this.#sign(')')) throw this.#wrong(') is missing')
    return values
  }

  #value(): string {
    const found = this.#match(VALUE)?.[1]
    if (found === undefined) throw this.#wrong('a value is missing')
    return unquoted(found)
  }

  #word(word: string): boolean {
    const before = this.#at
    if (this.#match(WORD)?.[1] === word) return true
    this.#at = before
    return false
  }

  #sign(sign: string): boolean {
    let at = this.#at
    while (at < this.#text.length && /\s/.test(this.#text[at] as string)) at++
    if (this.#text[at] !== sign) return false
    this.#at = at + 1
    return true
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (found) this.#at = pattern.lastIndex
    return found
  }

  #wrong(message: string): Error {
    const rest = this.#text.slice(this.#at).trim().replaceAll(/\s+/g, ' ').slice(0, 40)
    return new Error(`${message}${rest === '' ? ' at the end' : ` before "${rest}"`}`)
  }
}

function unquoted(text: string): string {
  const quote = text[0]
  if ((quote !== '"' && quote !== "'") || text.length < 2) return text
  return text.slice(1, -1).replaceAll(/\\([\s\S])/g, '$1')
}
