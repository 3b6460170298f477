import { BsonError, TYPE } from './bson.ts'

/** How deep a reply may be nested: more than the server stores, with what it wraps around. */
const DEEPEST = 250
const LENGTH = 4

/** Where an element's value stands: `at` up to `end` in the bytes. */
export type OnElement = (type: number, name: string, at: number, end: number) => void

/** The bytes of a document at `from`, all of which have to be within `limit`. Throws BsonError. */
export function documentEnd(bytes: Buffer, from: number, limit: number): number {
  const length = from + LENGTH <= limit ? bytes.readInt32LE(from) : 0
  const end = from + length
  if (length < 5 || end > limit || bytes[end - 1] !== 0) throw new BsonError('a document does not end where it says')
  return end
}

/** Goes through the elements of the document at `from`; gives its end. Throws BsonError on what is no BSON. */
export function eachElement(bytes: Buffer, from: number, limit: number, take: OnElement): number {
  const end = documentEnd(bytes, from, limit)
  let at = from + LENGTH
  while (at < end - 1) {
    const type = bytes[at++] as number
    const stop = bytes.indexOf(0, at)
    if (stop < 0 || stop >= end - 1) throw new BsonError('an element has no end of its name')
    const name = bytes.toString('latin1', at, stop)
    const after = valueEnd(bytes, type, stop + 1, end - 1)
    // Nearly all names are ASCII, which this reads fastest.
    take(type, isAscii(name) ? name : bytes.toString('utf8', at, stop), stop + 1, after)
    at = after
  }
  return end
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false
  return true
}

function valueEnd(bytes: Buffer, type: number, at: number, limit: number): number {
  const end = at + sizeOf(bytes, type, at, limit)
  if (end > limit) throw new BsonError('a value does not end within its document')
  return end
}

function sizeOf(bytes: Buffer, type: number, at: number, limit: number): number {
  switch (type) {
    case TYPE.double:
    case TYPE.date:
    case TYPE.timestamp:
    case TYPE.int64:
      return 8
    case TYPE.int32:
      return 4
    case TYPE.boolean:
      return 1
    case TYPE.null:
    case TYPE.undefined:
    case TYPE.minKey:
    case TYPE.maxKey:
      return 0
    case TYPE.objectId:
      return 12
    case TYPE.decimal:
      return 16
    case TYPE.string:
    case TYPE.code:
    case TYPE.symbol:
      return stringSize(bytes, at, limit)
    case TYPE.document:
    case TYPE.array:
    case TYPE.scopedCode:
      return documentSize(bytes, type, at, limit)
    case TYPE.binary:
      return 5 + sized(bytes, at, limit, 0)
    case TYPE.reference:
      return stringSize(bytes, at, limit) + 12
    case TYPE.regex: {
      const first = bytes.indexOf(0, at)
      const second = first < 0 ? -1 : bytes.indexOf(0, first + 1)
      if (second < 0) throw new BsonError('a regular expression has no end')
      return second + 1 - at
    }
    default:
      throw new BsonError(`unknown type 0x${type.toString(16)} of a value`)
  }
}

function documentSize(bytes: Buffer, type: number, at: number, limit: number): number {
  if (type === TYPE.scopedCode) return sized(bytes, at, limit, 14)
  return documentEnd(bytes, at, limit) - at
}

function stringSize(bytes: Buffer, at: number, limit: number): number {
  const length = sized(bytes, at, limit, 1)
  const end = at + LENGTH + length
  if (end > limit || bytes[end - 1] !== 0) throw new BsonError('a string does not end where it says')
  return LENGTH + length
}

function sized(bytes: Buffer, at: number, limit: number, least: number): number {
  const length = at + LENGTH <= limit ? bytes.readInt32LE(at) : -1
  if (length < least) throw new BsonError('a length that cannot be')
  return length
}

/** The text of a string, code or symbol. */
export function textAt(bytes: Buffer, at: number, end: number): string {
  return bytes.toString('utf8', at + LENGTH, end - 1)
}

/** Documents of a cursor's batch, as they came. */
const BATCHES = new Set(['firstBatch', 'nextBatch'])

/**
 * The document at `from` as an object: int64 are bigint, dates Dates, binary Buffers (a view), object ids their hex digits,
 * documents in a cursor's batch the Buffers of each (a view); types that no reply has are undefined. Throws BsonError.
 */
export function decode(bytes: Buffer, from = 0, limit = bytes.length, depth = 0): Record<string, unknown> {
  const document: Record<string, unknown> = {}
  if (depth > DEEPEST) throw new BsonError(`nested deeper than ${DEEPEST} levels`)
  eachElement(bytes, from, limit, (type, name, at, end) => {
    const value = type === TYPE.array && BATCHES.has(name) ? views(bytes, at, end) : valueAt(bytes, type, at, end, depth)
    if (name === '__proto__') Object.defineProperty(document, name, { value, enumerable: true })
    else document[name] = value
  })
  return document
}

function views(bytes: Buffer, from: number, limit: number): Buffer[] {
  const found: Buffer[] = []
  eachElement(bytes, from, limit, (type, _name, at, end) => {
    if (type !== TYPE.document) throw new BsonError('a batch holds what is no document')
    found.push(bytes.subarray(at, end))
  })
  return found
}

function valueAt(bytes: Buffer, type: number, at: number, end: number, depth: number): unknown {
  switch (type) {
    case TYPE.double:
      return bytes.readDoubleLE(at)
    case TYPE.int32:
      return bytes.readInt32LE(at)
    case TYPE.int64:
    case TYPE.timestamp:
      return bytes.readBigInt64LE(at)
    case TYPE.boolean:
      return bytes[at] !== 0
    case TYPE.string:
      return textAt(bytes, at, end)
    case TYPE.null:
      return null
    case TYPE.document:
      return decode(bytes, at, end, depth + 1)
    case TYPE.array:
      return Object.values(decode(bytes, at, end, depth + 1))
    case TYPE.date:
      return new Date(Number(bytes.readBigInt64LE(at)))
    case TYPE.objectId:
      return bytes.toString('hex', at, end)
    case TYPE.binary:
      return bytes.subarray(at + LENGTH + 1, end)
    default:
      return undefined
  }
}
