import { parseJson } from '../../../blocks/state/go-json.ts'
import type { SaveItem, TransactionItem } from '../../../blocks/state/items.ts'
import { valueFromJson } from '../../../blocks/state/value.ts'

type Fields = Record<string, unknown>

/** The items of a save request; throws an Error in the words of Go's decoder. */
export function readSaves(text: string): SaveItem[] {
  const given = parseJson(text)
  if (given === null) return []
  if (!Array.isArray(given)) throw mismatch(given, '[]state.SetRequest')
  return given.map((item: unknown) => readSet(item, 'SetRequest'))
}

/** The body of a bulk get. */
export function readBulkGet(text: string): { keys: string[]; parallelism: number; metadata: Record<string, string> } {
  const fields = members(parseJson(text), 'http.BulkGetRequest')
  const keys = fields.keys ?? []
  if (!Array.isArray(keys)) throw fieldMismatch(keys, 'BulkGetRequest.keys', '[]string')
  const parallelism = fields.parallelism ?? 0
  if (typeof parallelism !== 'number' || !Number.isInteger(parallelism))
    throw fieldMismatch(parallelism, 'BulkGetRequest.parallelism', 'int')
  return {
    keys: keys.map((key: unknown) => string(key, 'BulkGetRequest.keys')),
    parallelism,
    metadata: strings(fields.metadata, 'BulkGetRequest.metadata'),
  }
}

/** The body of a transaction. */
export function readTransaction(text: string): { operations: TransactionItem[]; metadata: Record<string, string> } {
  const fields = members(parseJson(text), 'state.TransactionalStateRequest')
  const operations = fields.operations ?? []
  if (!Array.isArray(operations)) throw fieldMismatch(operations, 'operations', '[]state.TransactionalStateOperation')
  return { metadata: strings(fields.metadata, 'metadata'), operations: operations.map(readOperation) }
}

function readOperation(given: unknown): TransactionItem {
  const fields = members(given, 'state.operation')
  const operation = string(fields.operation, 'operation')
  const request = readSet(fields.request ?? {}, 'request')
  if (operation !== 'delete') return { operation, ...request }
  const { value: _value, json: _json, ...rest } = request
  return { operation, ...rest }
}

function readSet(given: unknown, name: string): SaveItem {
  const fields = members(given, `state.${name}`)
  const options = members(fields.options ?? {}, `state.SetStateOption`)
  return {
    ...valueFromJson(fields.value),
    ...(fields.contenttype ? { contentType: string(fields.contenttype, `${name}.contentType`) } : {}),
    key: string(fields.key, `${name}.key`),
    etag: fields.etag === undefined || fields.etag === null ? undefined : string(fields.etag, `${name}.etag`),
    concurrency: string(options.concurrency, `${name}.options.concurrency`),
    consistency: string(options.consistency, `${name}.options.consistency`),
    metadata: strings(fields.metadata, `${name}.metadata`),
  }
}

const KNOWN = new Set([
  'key',
  'value',
  'etag',
  'metadata',
  'options',
  'concurrency',
  'consistency',
  'contenttype',
  'keys',
  'parallelism',
  'operations',
  'operation',
  'request',
])

/** An object's known members by lower-cased name, as Go matches them; null is an object without members. */
function members(given: unknown, type: string): Fields {
  if (given === null) return {}
  if (typeof given !== 'object' || Array.isArray(given)) throw mismatch(given, type)
  const fields: Fields = {}
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase()
    if (KNOWN.has(lower)) fields[lower] = value
  }
  return fields
}

function string(given: unknown, field: string): string {
  if (given === undefined || given === null) return ''
  if (typeof given !== 'string') throw fieldMismatch(given, field, 'string')
  return given
}

function strings(given: unknown, field: string): Record<string, string> {
  if (given === undefined || given === null) return {}
  if (typeof given !== 'object' || Array.isArray(given)) throw fieldMismatch(given, field, 'map[string]string')
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, string(value, field)]))
}

function mismatch(given: unknown, type: string): Error {
  return new Error(`json: cannot unmarshal ${kindOf(given)} into Go value of type ${type}`)
}

function fieldMismatch(given: unknown, field: string, type: string): Error {
  return new Error(`json: cannot unmarshal ${kindOf(given)} into Go struct field ${field} of type ${type}`)
}

function kindOf(given: unknown): string {
  if (Array.isArray(given)) return 'array'
  return typeof given === 'boolean' ? 'bool' : typeof given
}
