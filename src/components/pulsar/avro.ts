/**
 * Avro (https://avro.apache.org/docs/1.12.0/specification/): schemas, and values between their binary form and plain JSON, in which
 * a member of a union stands as it is, bytes and fixed as strings of code points, and integers beyond 2^53 lose digits.
 */

export type Avro =
  | { kind: 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'bytes' | 'string' }
  | { kind: 'array' | 'map'; items: Avro }
  | { kind: 'union'; members: readonly Avro[] }
  | { kind: 'enum'; symbols: readonly string[] }
  | { kind: 'fixed'; size: number }
  | { kind: 'record'; name: string; fields: readonly { name: string; type: Avro; fallback: unknown }[] }

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const
type Primitive = (typeof PRIMITIVES)[number]
/** Types inside each other, far less than the stack holds. */
const MOST_DEPTH = 100
/** Items of an array or a map, as many as a message of a broker may hold bytes. */
const MOST_ITEMS = 10_000_000

/** A schema from its JSON. Throws saying what is wrong with it. */
export function parseAvro(schema: unknown): Avro {
  return parse(schema, '', new Map(), 0)
}

function parse(schema: unknown, space: string, named: Map<string, Avro>, depth: number): Avro {
  if (depth > MOST_DEPTH) throw new Error(`its types stand more than ${MOST_DEPTH} deep in each other`)
  if (typeof schema === 'string') {
    if (PRIMITIVES.includes(schema as Primitive)) return { kind: schema as Primitive }
    const found = named.get(schema) ?? named.get(`${space}.${schema}`)
    if (found === undefined) throw new Error(`unknown type name: ${JSON.stringify(schema)}`)
    return found
  }
  if (Array.isArray(schema)) return { kind: 'union', members: schema.map((member) => parse(member, space, named, depth + 1)) }
  if (typeof schema !== 'object' || schema === null) throw new Error('a type is a name, a list or an object')
  const { type, name, namespace, items, values, symbols, size, fields } = schema as Record<string, unknown>
  switch (type) {
    case 'array':
      return { kind: 'array', items: parse(items, space, named, depth + 1) }
    case 'map':
      return { kind: 'map', items: parse(values, space, named, depth + 1) }
    case 'record':
    case 'error':
    case 'enum':
    case 'fixed':
      break
    default:
      return parse(type, space, named, depth + 1)
  }
  if (typeof name !== 'string' || name === '') throw new Error(`a type ${type} has no name`)
  const inside = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : typeof namespace === 'string' ? namespace : space
  const know = <T extends Avro>(made: T): T => {
    named.set(inside && !name.includes('.') ? `${inside}.${name}` : name, made)
    return made
  }
  if (type === 'enum') {
    if (!Array.isArray(symbols) || !symbols.every((one) => typeof one === 'string')) throw new Error(`enum ${name} has no symbols`)
    return know({ kind: 'enum', symbols })
  }
  if (type === 'fixed') {
    if (typeof size !== 'number') throw new Error(`fixed ${name} has no size`)
    return know({ kind: 'fixed', size })
  }
  if (!Array.isArray(fields)) throw new Error(`record ${name} has no fields`)
  const parsed: { name: string; type: Avro; fallback: unknown }[] = []
  // Known before its fields are read: they may hold it again.
  const record = know({ kind: 'record', name, fields: parsed })
  for (const field of fields as { name?: unknown; type?: unknown; default?: unknown }[]) {
    if (typeof field?.name !== 'string') throw new Error(`a field of record ${name} has no name`)
    parsed.push({ name: field.name, type: parse(field.type, inside, named, depth + 1), fallback: field.default })
  }
  return record
}

/** Whether a value is one of this type, as far as the choice in a union goes. */
function fits(type: Avro, value: unknown): boolean {
  switch (type.kind) {
    case 'null':
      return value === null
    case 'boolean':
      return typeof value === 'boolean'
    case 'int':
      return typeof value === 'number' && Number.isInteger(value) && value === (value | 0)
    case 'long':
      return typeof value === 'number' && Number.isInteger(value)
    case 'float':
    case 'double':
      return typeof value === 'number'
    case 'bytes':
    case 'string':
      return typeof value === 'string'
    case 'fixed':
      return typeof value === 'string' && value.length === type.size
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
export function encodeAvro(type: Avro, value: unknown): Buffer {
  const parts: Buffer[] = []
  write(type, value, parts, '')
  return Buffer.concat(parts)
}

function wrong(path: string, type: Avro): Error {
  return new Error(`${path || 'the value'} is no ${type.kind}${type.kind === 'union' ? ` of ${type.members.map(({ kind }) => kind)}` : ''}`)
}

function write(type: Avro, value: unknown, parts: Buffer[], path: string): void {
  if (type.kind === 'union') {
    const index = type.members.findIndex((member) => fits(member, value))
    if (index < 0) {
      // One other than null: its own complaint says more.
      const [only, ...others] = type.members.filter(({ kind }) => kind !== 'null')
      if (only !== undefined && others.length === 0) write(only, value, [], path)
      throw wrong(path, type)
    }
    parts.push(long(index))
    return write(type.members[index] as Avro, value, parts, path)
  }
  if (type.kind === 'record') {
    if (!isObject(value)) throw wrong(path, type)
    for (const name in value)
      if (!type.fields.some((field) => field.name === name)) throw new Error(`${path}${name} is no field of record ${type.name}`)
    for (const { name, type: its, fallback } of type.fields) {
      if (value[name] === undefined && fallback === undefined)
        throw new Error(`${path}${name}: only default values for fields can be left out`)
      write(its, value[name] === undefined ? fallback : value[name], parts, `${path}${name}.`)
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
      write(type.items, item, parts, `${path}${key}.`)
    }
    parts.push(long(0))
    return
  }
  if (!fits(type, value)) throw wrong(path.replace(/\.$/, ''), type)
  if (type.kind === 'boolean') parts.push(Buffer.from([value ? 1 : 0]))
  else if (type.kind === 'int' || type.kind === 'long') parts.push(long(value as number))
  else if (type.kind === 'enum') parts.push(long(type.symbols.indexOf(value as string)))
  else if (type.kind === 'string') parts.push(sized(Buffer.from(value as string)))
  else if (type.kind === 'bytes') parts.push(sized(Buffer.from(value as string, 'latin1')))
  else if (type.kind === 'fixed') parts.push(Buffer.from(value as string, 'latin1'))
  else if (type.kind === 'float' || type.kind === 'double') {
    const bytes = Buffer.alloc(type.kind === 'float' ? 4 : 8)
    if (type.kind === 'float') bytes.writeFloatLE(value as number)
    else bytes.writeDoubleLE(value as number)
    parts.push(bytes)
  }
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([long(bytes.length), bytes])
}

/** Zigzag and variable length; beyond 2^31 by big integers. */
function long(value: number): Buffer {
  const bytes: number[] = []
  let rest =
    value >= -(2 ** 30) && value < 2 ** 30
      ? BigInt((value << 1) ^ (value >> 31))
      : BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

/** The value that Avro's binary form holds. Throws on damaged data. */
export function decodeAvro(type: Avro, bytes: Buffer): unknown {
  return new Reader(bytes).read(type, 0)
}

class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  #take(size: number): Buffer {
    if (size < 0 || this.#at + size > this.#bytes.length) throw new Error('the Avro data breaks off')
    this.#at += size
    return this.#bytes.subarray(this.#at - size, this.#at)
  }

  #long(): number {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#take(1)[0] as number
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return Number(BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n)))
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
      case 'long':
        return this.#long()
      case 'float':
        return this.#take(4).readFloatLE()
      case 'double':
        return this.#take(8).readDoubleLE()
      case 'bytes':
        return this.#take(this.#long()).toString('latin1')
      case 'string':
        return this.#take(this.#long()).toString()
      case 'fixed':
        return this.#take(type.size).toString('latin1')
      case 'enum':
        return this.#one(type.symbols)
      case 'union':
        return this.read(this.#one(type.members), depth + 1)
      case 'record':
        return Object.fromEntries(type.fields.map(({ name, type: its }) => [name, this.read(its, depth + 1)]))
      case 'array': {
        const items: unknown[] = []
        this.#blocks(() => items.push(this.read(type.items, depth + 1)))
        return items
      }
      case 'map': {
        const items: [string, unknown][] = []
        this.#blocks(() => items.push([this.#take(this.#long()).toString(), this.read(type.items, depth + 1)]))
        return Object.fromEntries(items)
      }
    }
  }

  #one<T>(of: readonly T[]): T {
    const found = of[this.#long()]
    if (found === undefined) throw new Error('the Avro data names what its schema has not')
    return found
  }

  #blocks(item: () => void): void {
    let left = MOST_ITEMS
    for (let count = this.#long(); count !== 0; count = this.#long()) {
      // A negative count comes with the size of its block.
      if (count < 0) this.#long()
      left -= Math.abs(count)
      if (left < 0) throw new Error(`the Avro data holds more than ${MOST_ITEMS} items`)
      for (let index = Math.abs(count); index > 0; index--) item()
    }
  }
}
