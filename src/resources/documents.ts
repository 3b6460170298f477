import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import type { Schema } from './json-schema.ts'
import { asGoReads } from './lenient-yaml.ts'

/** One complaint about a file, where it stands. Lines and columns count from 1. */
export interface Problem {
  line: number
  column: number
  message: string
}

/** More nodes than this are an alias bomb or not a resource. */
const MAX_NODES = 100_000

function parse(text: string, lineCounter: LineCounter): Document.Parsed {
  return parseDocument(text, { lineCounter, prettyErrors: false, merge: true, uniqueKeys: false, logLevel: 'silent' })
}

/** A field's name as the schema spells it: Go reads names in any case, so resources in the field have both. */
function spelled(key: string, schema: Schema): string {
  if (!schema.properties || schema.properties[key]) return key
  return Object.keys(schema.properties).find((name) => name.toLowerCase() === key.toLowerCase()) ?? key
}

/** One YAML document of a file: reads values against a schema and knows where each one stands. */
export class SourceDocument {
  /** Line of its first content. */
  readonly line: number
  readonly syntaxErrors: readonly Problem[]
  readonly #document: Document.Parsed
  readonly #lines: LineCounter
  readonly #base: number
  #nodes = 0

  constructor(text: string, base: number) {
    this.#base = base
    let lines = new LineCounter()
    let document = parse(text, lines)
    if (document.errors.length > 0) {
      // Files have such texts where JSON stands in one.
      const spaced = new LineCounter()
      const again = parse(asGoReads(text), spaced)
      if (again.errors.length === 0) {
        document = again
        lines = spaced
      }
    }
    this.#document = document
    this.#lines = lines
    const problem = (error: { pos: [number, number]; message: string }) => ({ ...this.#at(error.pos[0]), message: error.message })
    this.syntaxErrors = this.#document.errors.map(problem)
    this.line = this.#at(this.#document.contents?.range?.[0] ?? 0).line
  }

  get empty(): boolean {
    const contents: unknown = this.#document.contents
    return contents === null || (isScalar(contents) && contents.value === null)
  }

  /** Text of a scalar by its path, without any schema; undefined when it is absent or no scalar. */
  text(path: readonly string[]): string | undefined {
    let node: unknown = this.#document.contents
    for (const name of path) {
      if (!isMap(node)) return undefined
      const same = (wanted: string) => (pair: { key: unknown }) => isScalar(pair.key) && scalarText(pair.key) === wanted
      const alike = (pair: { key: unknown }) => isScalar(pair.key) && scalarText(pair.key).toLowerCase() === name.toLowerCase()
      node = (node.items.find(same(name)) ?? node.items.find(alike))?.value
    }
    return isScalar(node) && node.value !== null ? scalarText(node) : undefined
  }

  /** Where the value of a path stands. */
  positionOf(path: readonly string[]): { line: number; column: number } {
    return this.#at((this.#document.getIn(path, true) as Node | undefined)?.range?.[0] ?? 0)
  }

  /** The document as plain values that fit the schema; problems make it unusable, remarks do not. */
  read(schema: Schema): { value: unknown; problems: Problem[]; remarks: Problem[] } {
    const problems: Problem[] = []
    const remarks: Problem[] = []
    this.#nodes = 0
    const value = this.#read(this.#document.contents, schema, '', problems, remarks)
    return { value, problems, remarks }
  }

  #at(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset)
    return { line: Math.max(line, 1) + this.#base, column: Math.max(col, 1) }
  }

  #read(given: unknown, schema: Schema, path: string, problems: Problem[], remarks: Problem[]): unknown {
    const node = (isAlias(given) ? given.resolve(this.#document) : given) as Node | null | undefined
    this.#nodes += 1
    const complain = (message: string): undefined => {
      problems.push({ ...this.#at(node?.range?.[0] ?? 0), message })
    }
    if (this.#nodes > MAX_NODES) {
      if (this.#nodes === MAX_NODES + 1) complain(`more than ${MAX_NODES} values once aliases are followed`)
      return undefined
    }
    if (node === null || node === undefined || (isScalar(node) && node.value === null)) return undefined
    const where = path === '' ? 'the document' : path
    const expected = schema['x-text'] ? 'string' : schema.type

    if (isMap(node)) {
      if (expected !== undefined && expected !== 'object' && !schema['x-text'])
        return complain(`${where} must be ${article(expected)}, not a mapping`)
      const value: Record<string, unknown> = Object.create(null)
      for (const pair of node.items) {
        const key = spelled(isScalar(pair.key) ? scalarText(pair.key) : String(pair.key), schema)
        if (key === '<<' || (isScalar(pair.key) && typeof pair.key.value === 'symbol')) {
          const merged = this.#read(pair.value, schema, path, [], remarks)
          for (const [name, inherited] of Object.entries((merged ?? {}) as object)) value[name] ??= inherited
          continue
        }
        if (Object.hasOwn(value, key) && !merges(node.items)) {
          remarks.push({
            ...this.#at((pair.key as Node | null)?.range?.[0] ?? 0),
            message: `${join(path, key)} is written twice; the later one counts`,
          })
        }
        const known =
          schema.properties?.[key] ?? (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined)
        if (!known && schema.properties && !schema.additionalProperties) {
          const closed = schema.additionalProperties === false
          const list = closed ? problems : remarks
          list.push({
            ...this.#at((pair.key as Node | null)?.range?.[0] ?? 0),
            message: `${join(path, key)} is not a known field${closed ? '' : ' and is ignored'}; known here: ${Object.keys(schema.properties).join(', ')}`,
          })
          continue
        }
        const read = this.#read(pair.value, known ?? {}, join(path, key), problems, remarks)
        if (read !== undefined) value[key] = read
      }
      for (const name of schema.required ?? []) {
        if (value[name] === undefined && !problems.some((problem) => problem.message.startsWith(join(path, name))))
          complain(`${join(path, name)} is missing`)
      }
      const size = Object.keys(value).length
      if (schema.minProperties !== undefined && (size < schema.minProperties || size > (schema.maxProperties ?? size))) {
        complain(`${where} must have exactly one of ${Object.keys(schema.properties ?? {}).join(', ')}`)
      }
      const plain = { ...value }
      return schema['x-text'] ? JSON.stringify(plain) : plain
    }

    if (isSeq(node)) {
      if (expected !== undefined && expected !== 'array' && !schema['x-text'])
        return complain(`${where} must be ${article(expected)}, not a list`)
      const value = node.items.map((item, index) => this.#read(item, schema.items ?? {}, `${path}[${index}]`, problems, remarks) ?? null)
      if (schema.minItems !== undefined && value.length < schema.minItems) complain(`${where} must have at least ${schema.minItems} items`)
      if (schema.maxItems !== undefined && value.length > schema.maxItems) complain(`${where} must have at most ${schema.maxItems} items`)
      return schema['x-text'] ? JSON.stringify(value) : value
    }

    if (!isScalar(node)) return complain(`${where} cannot be read`)
    switch (expected) {
      case 'object':
        return complain(`${where} must be a mapping, not ${JSON.stringify(node.value)}`)
      case 'array':
        return complain(`${where} must be a list, not ${JSON.stringify(node.value)}`)
      case 'boolean':
        if (typeof node.value === 'boolean') return node.value
        if (node.value === 'true' || node.value === 'false') return node.value === 'true'
        return complain(`${where} must be true or false, not ${JSON.stringify(node.value)}`)
      case 'integer':
      case 'number': {
        const value = typeof node.value === 'string' && node.value.trim() !== '' ? Number(node.value) : node.value
        if (typeof value === 'number' && Number.isFinite(value) && (expected === 'number' || Number.isInteger(value))) {
          if (value >= (schema.minimum ?? value) && value <= (schema.maximum ?? value)) return value
          return complain(`${where} must be from ${schema.minimum ?? 'the least'} to ${schema.maximum ?? 'the most'}, not ${value}`)
        }
        return complain(`${where} must be ${article(expected)}, not ${JSON.stringify(node.value)}`)
      }
      case 'string': {
        const value = scalarText(node)
        if (schema.enum && !schema.enum.includes(value))
          return complain(`${where} must be one of ${schema.enum.join(', ')}, not "${value}"`)
        if (schema.minLength !== undefined && value.length < schema.minLength) return complain(`${where} must not be empty`)
        if (schema.maxLength !== undefined && value.length > schema.maxLength)
          return complain(`${where} must have at most ${schema.maxLength} characters`)
        if (schema.pattern && !new RegExp(schema.pattern).test(value))
          return complain(`${where} must match ${schema.pattern}, not "${value}"`)
        return value
      }
      default:
        return node.value
    }
  }
}

/**
 * The documents of one file, empty ones left out. Files are cut before parsing, as Dapr does it,
 * so that a broken document cannot swallow its neighbours.
 */
export function splitDocuments(text: string): SourceDocument[] {
  const documents: SourceDocument[] = []
  let base = 0
  let chunk: string[] = []
  const finish = (next: number) => {
    const document = new SourceDocument(chunk.join('\n'), base)
    if (!document.empty || document.syntaxErrors.length > 0) documents.push(document)
    base = next
    chunk = []
  }
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  for (const [index, line] of lines.entries()) {
    if (!/^---(\s|$)/.test(line)) chunk.push(line)
    else finish(index + 1)
  }
  finish(lines.length)
  return documents
}

/** Numbers stay as they were written, so a password of digits keeps its leading zeros. */
function scalarText(node: { value: unknown; source?: string | undefined }): string {
  if (typeof node.value === 'string') return node.value
  if (typeof node.value === 'number' || typeof node.value === 'bigint') return node.source ?? String(node.value)
  return String(node.value)
}

function merges(items: readonly { key: unknown }[]): boolean {
  return items.some((item) => isScalar(item.key) && (item.key.value === '<<' || typeof item.key.value === 'symbol'))
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

function article(type: string): string {
  return (
    { object: 'a mapping', array: 'a list', string: 'text', integer: 'a whole number', number: 'a number', boolean: 'true or false' }[
      type
    ] ?? type
  )
}
