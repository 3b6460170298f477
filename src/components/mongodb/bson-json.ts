import { BsonError, TYPE } from './bson.ts'
import { decimalText } from './bson-decimal.ts'
import { eachElement, textAt } from './bson-read.ts'

const DEEPEST = 250

/**
 * A value as JSON, members in their order: numbers of all widths as numbers, dates in ISO 8601, object ids in hexadecimal, binary in
 * base64, decimals as texts, as daprd's client gives them. What JSON has no word for is null.
 */
export function toJson(bytes: Buffer, type: number, at: number, end: number, depth = 0): string {
  if (depth > DEEPEST) throw new BsonError(`nested deeper than ${DEEPEST} levels`)
  switch (type) {
    case TYPE.double: {
      const number = bytes.readDoubleLE(at)
      return Number.isFinite(number) ? JSON.stringify(number) : 'null'
    }
    case TYPE.int32:
      return String(bytes.readInt32LE(at))
    case TYPE.int64:
      return String(bytes.readBigInt64LE(at))
    case TYPE.boolean:
      return bytes[at] === 0 ? 'false' : 'true'
    case TYPE.string:
    case TYPE.code:
    case TYPE.symbol:
      return JSON.stringify(textAt(bytes, at, end))
    case TYPE.document:
    case TYPE.array:
      return membersOf(bytes, type, at, end, depth)
    case TYPE.date: {
      const date = new Date(Number(bytes.readBigInt64LE(at)))
      return Number.isNaN(date.getTime()) ? 'null' : JSON.stringify(date)
    }
    case TYPE.objectId:
      return `"${bytes.toString('hex', at, end)}"`
    case TYPE.binary:
      return `"${bytes.toString('base64', at + 5, end)}"`
    case TYPE.decimal:
      return JSON.stringify(decimalText(bytes, at))
    default:
      return 'null'
  }
}

function membersOf(bytes: Buffer, type: number, from: number, limit: number, depth: number): string {
  const isArray = type === TYPE.array
  let text = ''
  eachElement(bytes, from, limit, (inner, name, at, end) => {
    if (text !== '') text += ','
    if (!isArray) text += `${JSON.stringify(name)}:`
    text += toJson(bytes, inner, at, end, depth + 1)
  })
  return isArray ? `[${text}]` : `{${text}}`
}
