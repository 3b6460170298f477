import type { BSON as Bson } from 'mongodb'
import type { StateItem, StateSet } from '../../../blocks/state/driver.ts'
import { rfc3339 } from '../ttl.ts'

/** What a document holds of an item. */
export interface Stored extends StateItem {
  key: string
}

const STRING = 0x02
const BINARY = 0x05

/**
 * A value as daprd lays it out: JSON as BSON of its own, all numbers doubles, a text with its quotes; bytes as a string.
 * Where they are not UTF-8, which the library cannot put into a string, as binary.
 */
export function toBson({ value, json }: StateSet, bson: typeof Bson): unknown {
  const text = value.toString()
  if (!json) return Buffer.from(text).equals(value) ? text : new bson.Binary(value)
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'string' ? JSON.stringify(parsed) : withDoubles(parsed, bson)
}

function withDoubles(value: unknown, bson: typeof Bson): unknown {
  if (typeof value === 'number') return new bson.Double(value)
  if (Array.isArray(value)) return value.map((member) => withDoubles(member, bson))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withDoubles(member, bson)]))
}

/** Reads a document as it came: a string's bytes are the value's, UTF-8 or not. */
export function readDocument(document: Buffer, bson: typeof Bson): Stored {
  const held = new Map<string, { type: number; at: number; length: number }>()
  for (const [type, nameAt, nameLength, at, length] of bson.onDemand.parseToElements(document))
    held.set(document.toString('utf8', nameAt, nameAt + nameLength), { type, at, length })
  const value = held.get('value')
  let data: Buffer | undefined
  // A length in 4 bytes before, a zero behind; binary has its subtype in between.
  if (value?.type === STRING) data = Buffer.from(document.subarray(value.at + 4, value.at + value.length - 1))
  else if (value?.type === BINARY) data = Buffer.from(document.subarray(value.at + 5, value.at + value.length))
  const rest = bson.deserialize(document, { validation: { utf8: false } })
  data ??= Buffer.from(toJson(rest.value))
  return {
    key: String(rest._id),
    data,
    ...(typeof rest._etag === 'string' && rest._etag ? { etag: rest._etag } : {}),
    ...(rest._ttl instanceof Date ? { metadata: { ttlExpireTime: rfc3339(rest._ttl.getTime()) } } : {}),
  }
}

function toJson(value: unknown): string {
  return JSON.stringify(value ?? null, (_, member: unknown) => (isLong(member) ? raw(member.toString()) : member))
}

/** An integer beyond what a double holds, which others may have written. */
function isLong(value: unknown): value is { toString(): string } {
  return typeof value === 'object' && value !== null && '_bsontype' in value && value._bsontype === 'Long'
}

/** ES2026, which TypeScript does not know yet. */
const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON
