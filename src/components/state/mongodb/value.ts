import type { StateItem, StateSet } from '../../../blocks/state/driver.ts'
import { Doubles, TYPE } from '../../mongodb/bson.ts'
import { toJson } from '../../mongodb/bson-json.ts'
import { eachElement, textAt } from '../../mongodb/bson-read.ts'
import { rfc3339 } from '../ttl.ts'

/** What a document holds of an item. */
export interface Stored extends StateItem {
  key: string
}

/**
 * A value as daprd lays it out: JSON as BSON of its own, all numbers doubles, a text with its quotes; bytes as a string.
 * Where they are not UTF-8, which a string has to be, as binary.
 */
export function toBson({ value, json }: StateSet): unknown {
  const text = value.toString()
  if (!json) return Buffer.from(text).equals(value) ? text : value
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'string' ? JSON.stringify(parsed) : new Doubles(parsed)
}

/** Reads a document as it came: a string's bytes are the value's, UTF-8 or not. */
export function readDocument(document: Buffer): Stored {
  let key = ''
  let data: Buffer | undefined
  let etag: string | undefined
  let expires: number | undefined
  eachElement(document, 0, document.length, (type, name, at, end) => {
    // Bytes are copied: those that came hold the whole reply.
    if (name === '_id') key = type === TYPE.string ? textAt(document, at, end) : toJson(document, type, at, end)
    else if (name === 'value') data = dataOf(document, type, at, end)
    else if (name === '_etag' && type === TYPE.string) etag = textAt(document, at, end)
    else if (name === '_ttl' && type === TYPE.date) expires = Number(document.readBigInt64LE(at))
  })
  return {
    key,
    data: data ?? Buffer.from('null'),
    ...(etag ? { etag } : {}),
    ...(expires === undefined ? {} : { metadata: { ttlExpireTime: rfc3339(expires) } }),
  }
}

/** A length in 4 bytes stands before, a zero behind; binary has its subtype in between. */
function dataOf(document: Buffer, type: number, at: number, end: number): Buffer {
  if (type === TYPE.string) return Buffer.from(document.subarray(at + 4, end - 1))
  if (type === TYPE.binary) return Buffer.from(document.subarray(at + 5, end))
  return Buffer.from(toJson(document, type, at, end))
}
