/** Fields of one event; anything that JSON can say. */
export type LogRecord = Record<string, unknown>

/**
 * One event. Its record exists as object, as JSON text, or both: what only passes through is never parsed.
 * A filter that changes `record` calls `changed`.
 */
export class LogEvent {
  /** Milliseconds since 1970, with fractions: exact to a microsecond. */
  time: number
  tag: string
  #record: LogRecord | undefined
  #json: string | undefined
  /** Place in the buffer, once it is read from there; unique within the pipeline. */
  origin = ''
  index = 0

  /** One of `record` and `json` (a JSON object on one line) is given. */
  constructor(time: number, tag: string, record: LogRecord | undefined, json?: string) {
    this.time = time
    this.tag = tag
    this.#record = record
    this.#json = json
  }

  get record(): LogRecord {
    if (this.#record === undefined) this.#record = JSON.parse(this.#json as string) as LogRecord
    return this.#record
  }

  set record(record: LogRecord) {
    this.#record = record
    this.#json = undefined
  }

  get json(): string {
    if (this.#json === undefined) this.#json = JSON.stringify(this.#record)
    return this.#json
  }

  changed(): void {
    this.#json = undefined
  }

  /** The record with another object's members before its own, as JSON; `members` without braces, names that must not be there twice. */
  jsonWith(members: string, names: readonly string[]): string {
    const { json } = this
    // A name within a value looks the same; then it is only slower.
    if (names.some((name) => json.includes(`"${name}"`))) {
      const rest = { ...this.record }
      for (const name of names) delete rest[name]
      const text = JSON.stringify(rest)
      return text === '{}' ? `{${members}}` : `{${members},${text.slice(1)}`
    }
    const inner = json.slice(json.indexOf('{') + 1)
    return /^\s*\}/.test(inner) ? `{${members}}` : `{${members},${inner}`
  }
}

/** A tag as it may stand in the buffer: no control characters, bounded. */
export function cleanTag(tag: string): string {
  const short = tag.length > 256 ? tag.slice(0, 256) : tag
  let clean = ''
  for (const character of short) clean += character < ' ' || character === '\x7f' ? '_' : character
  return clean === '' ? 'log' : clean
}

/** By a path with dots, or by the whole name when there is such a field; undefined: not there. */
export function fieldOf(record: LogRecord, path: string): unknown {
  if (Object.hasOwn(record, path)) return record[path]
  if (!path.includes('.')) return undefined
  let value: unknown = record
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as LogRecord)[name]
  }
  return value
}

/** A field as text: text as it is, other values as JSON; undefined: not there or null. */
export function textOf(record: LogRecord, path: string): string | undefined {
  const value = fieldOf(record, path)
  if (value === undefined || value === null) return undefined
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Takes a field out. */
export function removeField(record: LogRecord, path: string): boolean {
  if (Object.hasOwn(record, path)) return delete record[path]
  const dot = path.lastIndexOf('.')
  if (dot < 0) return false
  const parent = fieldOf(record, path.slice(0, dot))
  const name = path.slice(dot + 1)
  return typeof parent === 'object' && parent !== null && Object.hasOwn(parent, name) && delete (parent as LogRecord)[name]
}
