import { type Avro, MOST_DEPTH } from './avro-schema.ts'

/**
 * Avro (https://avro.apache.org/docs/1.12.0/specification/): values between their binary form and JSON, in which bytes
 * and fixed are strings of code points. In plain JSON a member of a union stands as it is, in Avro's own (`tagged`) as an object
 * with the member's name. Integers keep all of their 64 bits: JSON comes in by `parseExact` and goes out by `exactJson` (exact-json.ts).
 */

/** Items of an array or a map, as many as a message of a broker may hold bytes. */
const MOST_ITEMS = 10_000_000

const BEYOND_BYTES = /[\u0100-\uffff]/

/** Whether a value of plain JSON is one of this type, as far as the choice in a union goes. */
function fits(type: Avro, value: unknown): boolean {
  switch (type.kind) {
    case 'null':
      return value === null
    case 'boolean':
      return typeof value === 'boolean'
    case 'int':
      return typeof value === 'number' && Number.isInteger(value) && value === (value | 0)
    case 'long':
      return typeof value === 'bigint' ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value)
    case 'float':
    case 'double':
      return typeof value === 'number' || typeof value === 'bigint'
    case 'bytes':
      return typeof value === 'string' && !BEYOND_BYTES.test(value)
    case 'string':
      return typeof value === 'string'
    case 'fixed':
      return typeof value === 'string' && value.length === type.size && !BEYOND_BYTES.test(value)
    case 'enum':
      return typeof value === 'string' && type.symbols.includes(value)
    case 'array':
      return Array.isArray(value) && value.every((item) => fits(type.items, item))
    case 'map':
      return isObject(value) && Object.values(value).every((item) => fits(type.items, item))
    case 'union':
      return type.members.some((member) => fits(member, value))
    case 'record':
      return (
        isObject(value) &&
        type.fields.every(({ name, type: its, fallback }) => (name in value ? fits(its, value[name]) : fallback !== undefined)) &&
        Object.keys(value).every((name) => type.fields.some((field) => field.name === name))
      )
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value in Avro's binary form. Throws naming the place that does not fit its type. */
export function encodeAvro(type: Avro, value: unknown, tagged = false): Buffer {
  const parts: Buffer[] = []
  write(type, value, tagged, parts, '')
  return Buffer.concat(parts)
}

/** Of a member of a union in Avro's own JSON. */
function tagOf(type: Avro): string {
  return 'name' in type ? type.name : type.kind
}

function memberOf(members: readonly Avro[], value: unknown, tagged: boolean): { index: number; inner: unknown } {
  if (!tagged || value === null) return { index: members.findIndex((member) => fits(member, value)), inner: value }
  const [tag, ...others] = isObject(value) ? Object.keys(value) : []
  if (tag === undefined || others.length > 0) return { index: -1, inner: value }
  return { index: members.findIndex((member) => tagOf(member) === tag), inner: (value as Record<string, unknown>)[tag] }
}

function wrong(path: string, type: Avro): Error {
  return new Error(`${path || 'the value'} is no ${type.kind}${type.kind === 'union' ? ` of ${type.members.map(({ kind }) => kind)}` : ''}`)
}

function write(type: Avro, value: unknown, tagged: boolean, parts: Buffer[], path: string): void {
  if (type.kind === 'union') {
    const { index, inner } = memberOf(type.members, value, tagged)
    if (index < 0) {
      // One other than null: its own complaint says more.
      const [only, ...others] = type.members.filter(({ kind }) => kind !== 'null')
      if (only !== undefined && others.length === 0 && !tagged) write(only, value, tagged, [], path)
      throw wrong(path, type)
    }
    parts.push(long(index))
    return write(type.members[index] as Avro, inner, tagged, parts, path)
  }
  if (type.kind === 'record') {
    if (!isObject(value)) throw wrong(path, type)
    for (const name in value)
      if (!type.fields.some((field) => field.name === name)) throw new Error(`${path}${name} is no field of record ${type.name}`)
    for (const { name, type: its, fallback } of type.fields) {
      if (value[name] === undefined && fallback === undefined)
        throw new Error(`${path}${name}: only default values for fields can be left out`)
      // A default is written plainly: of a union it is the first member.
      const given = value[name] !== undefined
      write(its, given ? value[name] : fallback, tagged && given, parts, `${path}${name}.`)
    }
    return
  }
  if (type.kind === 'array' || type.kind === 'map') {
    const list = type.kind === 'array'
    if (list ? !Array.isArray(value) : !isObject(value)) throw wrong(path, type)
    const items = Object.entries(value as object)
    if (items.length > 0) parts.push(long(items.length))
    for (const [key, item] of items) {
      if (!list) parts.push(sized(Buffer.from(key)))
      write(type.items, item, tagged, parts, `${path}${key}.`)
    }
    parts.push(long(0))
    return
  }
  if (!fits(type, value)) throw wrong(path.replace(/\.$/, ''), type)
  if (type.kind === 'boolean') parts.push(Buffer.from([value ? 1 : 0]))
  else if (type.kind === 'int' || type.kind === 'long') parts.push(long(value as number | bigint))
  else if (type.kind === 'enum') parts.push(long(type.symbols.indexOf(value as string)))
  else if (type.kind === 'string') parts.push(sized(Buffer.from(value as string)))
  else if (type.kind === 'bytes') parts.push(sized(Buffer.from(value as string, 'latin1')))
  else if (type.kind === 'fixed') parts.push(Buffer.from(value as string, 'latin1'))
  else if (type.kind === 'float' || type.kind === 'double') {
    const bytes = Buffer.alloc(type.kind === 'float' ? 4 : 8)
    if (type.kind === 'float') bytes.writeFloatLE(Number(value))
    else bytes.writeDoubleLE(Number(value))
    parts.push(bytes)
  }
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([long(bytes.length), bytes])
}

/** Zigzag and variable length. */
function long(value: number | bigint): Buffer {
  const wide = BigInt(value)
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, (wide << 1n) ^ (wide >> 63n))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

/** What Avro's binary form holds, as `parseExact` gives values. Throws on damaged data. */
export function decodeAvro(type: Avro, bytes: Buffer, tagged = false): unknown {
  return new Reader(bytes, tagged).read(type, 0)
}

class Reader {
  readonly #bytes: Buffer
  readonly #tagged: boolean
  #at = 0

  constructor(bytes: Buffer, tagged: boolean) {
    this.#bytes = bytes
    this.#tagged = tagged
  }

  #take(size: number): Buffer {
    if (size < 0 || this.#at + size > this.#bytes.length) throw new Error('the Avro data breaks off')
    this.#at += size
    return this.#bytes.subarray(this.#at - size, this.#at)
  }

  /** A count, a size or an index. */
  #number(): number {
    return Number(this.#long())
  }

  #long(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#take(1)[0] as number
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n))
    }
    throw new Error('the Avro data holds a number of more than 64 bits')
  }

  read(type: Avro, depth: number): unknown {
    if (depth > MOST_DEPTH) throw new Error(`the Avro data stands more than ${MOST_DEPTH} deep in itself`)
    switch (type.kind) {
      case 'null':
        return null
      case 'boolean':
        return this.#take(1)[0] !== 0
      case 'int':
        return this.#number()
      case 'long': {
        const value = this.#long()
        return Number.isSafeInteger(Number(value)) ? Number(value) : value
      }
      case 'float':
        return this.#take(4).readFloatLE()
      case 'double':
        return this.#take(8).readDoubleLE()
      case 'bytes':
        return this.#take(this.#number()).toString('latin1')
      case 'string':
        return this.#take(this.#number()).toString()
      case 'fixed':
        return this.#take(type.size).toString('latin1')
      case 'enum':
        return this.#one(type.symbols)
      case 'union': {
        const member = this.#one(type.members)
        const value = this.read(member, depth + 1)
        return this.#tagged && member.kind !== 'null' ? { [tagOf(member)]: value } : value
      }
      case 'record':
        return Object.fromEntries(type.fields.map(({ name, type: its }) => [name, this.read(its, depth + 1)]))
      case 'array': {
        const items: unknown[] = []
        this.#blocks(() => items.push(this.read(type.items, depth + 1)))
        return items
      }
      case 'map': {
        const items: [string, unknown][] = []
        this.#blocks(() => items.push([this.#take(this.#number()).toString(), this.read(type.items, depth + 1)]))
        return Object.fromEntries(items)
      }
    }
  }

  #one<T>(of: readonly T[]): T {
    const found = of[this.#number()]
    if (found === undefined) throw new Error('the Avro data names what its schema has not')
    return found
  }

  #blocks(item: () => void): void {
    let left = MOST_ITEMS
    for (let count = this.#number(); count !== 0; count = this.#number()) {
      // A negative count comes with the size of its block.
      if (count < 0) this.#long()
      left -= Math.abs(count)
      if (left < 0) throw new Error(`the Avro data holds more than ${MOST_ITEMS} items`)
      for (let index = Math.abs(count); index > 0; index--) item()
    }
  }
}
