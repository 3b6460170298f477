import { type SourceDocument, splitDocuments } from '../../resources/documents.ts'

/** What is wrong with a file, and where. Lines from 1. */
export interface ConfigProblem {
  file: string
  line: number
  /** As `static_resources.listeners[0].name`. */
  path: string
  message: string
  /** A field that nothing here acts on: no mistake, but not to be passed over in silence. */
  unsupported: boolean
}

/** A file that cannot be used; the message has every problem in a line of its own. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly ConfigProblem[]

  constructor(problems: readonly ConfigProblem[]) {
    const shown = problems.slice(0, 50).map(problemText)
    if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`)
    super(shown.join('\n'))
    this.problems = problems
  }
}

export function problemText({ file, line, path, message }: ConfigProblem): string {
  return `${file}:${line}: ${path === '' ? '' : `${path} `}${message}`
}

type Path = readonly (string | number)[]
type Fields = Record<string, unknown>

/** Reads one document and remembers which of its fields were asked for: those that were not, nothing acts on. */
export class ConfigReader {
  readonly problems: ConfigProblem[] = []
  readonly root: ConfigNode
  readonly file: string
  readonly #document: SourceDocument | undefined
  readonly #asked = new Map<object, Set<string>>()
  readonly #value: unknown

  /** JSON is YAML, too. Throws ConfigError for what is neither. */
  constructor(text: string, file: string) {
    this.file = file
    const documents = splitDocuments(text)
    this.#document = documents[0]
    if (documents.length > 1) this.complain([], 'has several documents; one is wanted')
    const [error] = documents[0]?.syntaxErrors ?? []
    if (error) throw new ConfigError([{ file, line: error.line, path: '', message: error.message, unsupported: false }])
    const { value, problems } = this.#document?.read({}) ?? { value: {}, problems: [] }
    for (const { line, message } of problems) this.problems.push({ file, line, path: '', message, unsupported: false })
    this.#value = value ?? {}
    this.root = new ConfigNode(this, this.#value, [])
  }

  complain(path: Path, message: string, unsupported = false): void {
    const line = this.#document?.positionOf(path.map(String)).line ?? 1
    this.problems.push({ file: this.file, line, path: pathText(path), message, unsupported })
  }

  ask(fields: object, name: string): void {
    let asked = this.#asked.get(fields)
    if (!asked) {
      asked = new Set()
      this.#asked.set(fields, asked)
    }
    asked.add(name)
  }

  /** Complains of every field that nobody has asked for; with `--lenient` who reads decides what to do with these complaints. */
  finish(): void {
    this.#unasked(this.#value, [])
  }

  #unasked(value: unknown, path: Path): void {
    if (Array.isArray(value)) for (const [index, item] of value.entries()) this.#unasked(item, [...path, index])
    else if (isFields(value)) {
      const asked = this.#asked.get(value)
      for (const [name, inner] of Object.entries(value)) {
        if (asked?.has(WHOLE)) continue
        if (asked?.has(name)) this.#unasked(inner, [...path, name])
        else this.complain([...path, name], 'is not supported here; take it out, or pass over such fields with --lenient', true)
      }
    }
  }
}

const WHOLE = '*'

/** One value of a document. Fields may be written in snake_case or camelCase, as in every JSON form of protobuf. */
export class ConfigNode {
  readonly #reader: ConfigReader
  readonly value: unknown
  readonly path: Path

  constructor(reader: ConfigReader, value: unknown, path: Path) {
    this.#reader = reader
    this.value = value
    this.path = path
  }

  get where(): string {
    return pathText(this.path)
  }

  complain(message: string): void {
    this.#reader.complain(this.path, message)
  }

  /** Says that this cannot be served here, though it is right. */
  unsupported(message: string): void {
    this.#reader.complain(this.path, message, true)
  }

  get keys(): string[] {
    return isFields(this.value) ? Object.keys(this.value) : []
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /** The field, undefined when it is absent or null. */
  get(name: string): ConfigNode | undefined {
    const found = this.#find(name)
    if (!found) return undefined
    this.#reader.ask(this.value as object, found[0])
    return found[1] === null || found[1] === undefined ? undefined : new ConfigNode(this.#reader, found[1], [...this.path, found[0]])
  }

  /** The field; complains when it is absent. */
  need(name: string): ConfigNode {
    const found = this.get(name)
    if (found) return found
    this.complain(`lacks ${name}`)
    return new ConfigNode(this.#reader, {}, [...this.path, name])
  }

  #find(name: string): [string, unknown] | undefined {
    if (!isFields(this.value)) {
      return undefined
    }
    const fields = this.value
    if (Object.hasOwn(fields, name)) return [name, fields[name]]
    const camel = name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
    return Object.hasOwn(fields, camel) ? [camel, fields[camel]] : undefined
  }

  /** Takes fields as asked for whose meaning is what happens here anyway. */
  accept(...names: readonly string[]): void {
    for (const name of names) this.get(name)?.raw()
  }

  /** The value as it stands, with all that is in it. */
  raw(): unknown {
    const mark = (value: unknown) => {
      if (Array.isArray(value)) value.forEach(mark)
      else if (isFields(value)) {
        this.#reader.ask(value, WHOLE)
        Object.values(value).forEach(mark)
      }
    }
    mark(this.value)
    return this.value
  }

  /** Items of a list; complains of what is none. */
  items(): ConfigNode[] {
    if (Array.isArray(this.value)) return this.value.map((item, index) => new ConfigNode(this.#reader, item, [...this.path, index]))
    this.complain('must be a list')
    return []
  }

  list(name: string): ConfigNode[] {
    return this.get(name)?.items() ?? []
  }

  asText(): string {
    const { value } = this
    if (typeof value === 'string') return value
    if (typeof value === 'number' || typeof value === 'boolean') return String(value)
    this.complain('must be text')
    return ''
  }

  text(name: string): string | undefined
  text(name: string, fallback: string): string
  text(name: string, fallback?: string): string | undefined {
    return this.get(name)?.asText() ?? fallback
  }

  number(name: string): number | undefined
  number(name: string, fallback: number, least?: number, most?: number): number
  number(name: string, fallback?: number, least = 0, most = 2 ** 32 - 1): number | undefined {
    const node = this.get(name)
    if (!node) return fallback
    const value = typeof node.value === 'string' && node.value.trim() !== '' ? Number(node.value) : node.value
    if (typeof value === 'number' && value >= least && value <= most) return value
    node.complain(`must be a number from ${least} to ${most}, not ${JSON.stringify(node.value)}`)
    return fallback
  }

  flag(name: string, fallback: boolean): boolean {
    const node = this.get(name)
    if (!node) return fallback
    if (node.value === true || node.value === 'true') return true
    if (node.value !== false && node.value !== 'false') node.complain(`must be true or false, not ${JSON.stringify(node.value)}`)
    return false
  }

  /** Milliseconds of a duration of protobuf's JSON form, as 0.25s. */
  duration(name: string): number | undefined
  duration(name: string, fallback: number): number
  duration(name: string, fallback?: number): number | undefined {
    const node = this.get(name)
    if (!node) return fallback
    const found = /^(\d+(?:\.\d+)?)s$/.exec(String(node.value))
    if (found) return Number(found[1]) * 1000
    if (isFields(node.value) && (node.has('seconds') || node.has('nanos')))
      return node.number('seconds', 0) * 1000 + node.number('nanos', 0) / 1e6
    node.complain(`must be a duration such as 0.25s, not ${JSON.stringify(node.value)}`)
    return fallback
  }

  /** One of these words. */
  choice<T extends string>(name: string, words: Readonly<Record<string, T>>): T | undefined
  choice<T extends string>(name: string, words: Readonly<Record<string, T>>, fallback: T): T
  choice<T extends string>(name: string, words: Readonly<Record<string, T>>, fallback?: T): T | undefined {
    const node = this.get(name)
    if (!node) return fallback
    const word = String(node.value).toUpperCase()
    if (Object.hasOwn(words, word)) return words[word]
    node.unsupported(`must be one of ${Object.keys(words).join(', ')} here, not ${JSON.stringify(node.value)}`)
    return fallback
  }

  /** The one of these fields that is there; complains when there is none or more than one. */
  oneOf(...names: readonly string[]): string | undefined {
    const there = names.filter((name) => this.has(name))
    if (there.length === 1) return there[0]
    if (there.length > 1) this.complain(`has ${there.join(' and ')}; only one of them may be there`)
    else this.complain(`must have one of ${names.join(', ')}`)
    return there[0]
  }

  map(name: string): [string, ConfigNode][] {
    const node = this.get(name)
    if (!node) return []
    if (!isFields(node.value)) {
      node.complain('must be a mapping')
      return []
    }
    return node.keys.map((key) => {
      this.#reader.ask(node.value as object, key)
      return [key, new ConfigNode(this.#reader, (node.value as Fields)[key], [...node.path, key])]
    })
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function pathText(path: Path): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('')
}
