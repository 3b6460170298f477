/** A parameter of a statement: its name without @, and its value. */
export type Parameter = { name: string } & (
  | { kind: 'text'; value: string | null }
  | { kind: 'bytes'; value: Buffer | null }
  | { kind: 'int'; value: number | null }
)

/** What a column holds, as far as it is read here. */
export type Value = string | Buffer | bigint | null

const BIG_VARCHAR = 0xa7
const BIG_CHAR = 0xaf
const NVARCHAR = 0xe7
const NCHAR = 0xef
const BIG_VARBINARY = 0xa5
const BIG_BINARY = 0xad
const INTN = 0x26
const FIXED_INTS: Readonly<Record<number, number>> = { 48: 1, 50: 1, 52: 2, 56: 4, 127: 8 }
const BITN = 0x68
const MAX = 0xffff
/** Bytes of a text or value that goes without being announced as a long one. */
const SHORT = 8000
const COLLATION = Buffer.alloc(5)

/** The type of a parameter as T-SQL declares it. */
export function declared({ name, kind, value }: Parameter): string {
  if (kind === 'int') return `@${name} int`
  if (kind === 'bytes') return `@${name} binary(8)`
  return `@${name} nvarchar(${(value?.length ?? 0) * 2 > SHORT ? 'max' : SHORT / 2})`
}

/** A parameter of a remote procedure call. */
export function encode(parameter: Parameter): Buffer {
  const { name, kind, value } = parameter
  const label = Buffer.from(`@${name}`, 'utf16le')
  const head = [Buffer.from([label.length / 2]), label, Buffer.from([0])]
  if (kind === 'int') {
    if (value === null) return Buffer.concat([...head, Buffer.from([INTN, 4, 0])])
    const number = Buffer.alloc(4)
    number.writeInt32LE(value)
    return Buffer.concat([...head, Buffer.from([INTN, 4, 4]), number])
  }
  if (kind === 'bytes') {
    const room = Math.max(8, value?.length ?? 0)
    return Buffer.concat([...head, Buffer.from([BIG_VARBINARY]), short(room), short(value?.length ?? MAX), value ?? Buffer.alloc(0)])
  }
  const data = value === null ? Buffer.alloc(0) : Buffer.from(value, 'utf16le')
  const type = Buffer.from([NVARCHAR])
  if (data.length <= SHORT) return Buffer.concat([...head, type, short(SHORT), COLLATION, short(value === null ? MAX : data.length), data])
  const sizes = Buffer.alloc(12)
  sizes.writeBigUInt64LE(BigInt(data.length))
  sizes.writeUInt32LE(data.length, 8)
  return Buffer.concat([...head, type, short(MAX), COLLATION, sizes, data, Buffer.alloc(4)])
}

function short(value: number): Buffer {
  const out = Buffer.alloc(2)
  out.writeUInt16LE(value)
  return out
}

/** Reads numbers, texts and bytes one after the other; RangeError at the end of what there is. */
export class Cursor {
  readonly body: Buffer
  at = 0

  constructor(body: Buffer) {
    this.body = body
  }

  get more(): boolean {
    return this.at < this.body.length
  }

  byte(): number {
    return this.body.readUInt8(this.#move(1))
  }

  short(): number {
    return this.body.readUInt16LE(this.#move(2))
  }

  int(): number {
    return this.body.readUInt32LE(this.#move(4))
  }

  long(): bigint {
    return this.body.readBigUInt64LE(this.#move(8))
  }

  bytes(length: number): Buffer {
    if (this.at + length > this.body.length) throw new RangeError('an answer that is cut off')
    return this.body.subarray(this.at, this.#move(length) + length)
  }

  text(length: number): string {
    return this.bytes(length * 2).toString('utf16le')
  }

  #move(length: number): number {
    const at = this.at
    this.at += length
    return at
  }
}

/** The type of a column: how its values are read. */
export interface ColumnType {
  type: number
  /** Most bytes; 0xffff of those that come in parts. */
  size: number
}

/** Throws on a type that no statement of ours asks for. */
export function readType(cursor: Cursor): ColumnType {
  const type = cursor.byte()
  const fixed = FIXED_INTS[type]
  if (fixed) return { type, size: fixed }
  if (type === INTN || type === BITN) return { type, size: cursor.byte() }
  const size = cursor.short()
  if (type === NVARCHAR || type === NCHAR || type === BIG_VARCHAR || type === BIG_CHAR) cursor.bytes(COLLATION.length)
  else if (type !== BIG_VARBINARY && type !== BIG_BINARY) throw new Error(`a column of type 0x${type.toString(16)}, which is not read here`)
  return { type, size }
}

export function readValue(cursor: Cursor, { type, size }: ColumnType): Value {
  if (FIXED_INTS[type]) return integer(cursor.bytes(size))
  if (type === INTN || type === BITN) {
    const length = cursor.byte()
    return length === 0 ? null : integer(cursor.bytes(length))
  }
  const data = size === MAX ? parts(cursor) : plain(cursor)
  if (data === null || type === BIG_VARBINARY || type === BIG_BINARY) return data
  return data.toString(type === NVARCHAR || type === NCHAR ? 'utf16le' : 'latin1')
}

function integer(data: Buffer): bigint {
  // A byte has no sign here.
  return data.length === 8 ? data.readBigInt64LE() : BigInt(data.length === 1 ? data.readUInt8() : data.readIntLE(0, data.length))
}

function plain(cursor: Cursor): Buffer | null {
  const length = cursor.short()
  return length === MAX ? null : cursor.bytes(length)
}

function parts(cursor: Cursor): Buffer | null {
  if (cursor.long() === 0xffffffffffffffffn) return null
  const found: Buffer[] = []
  for (let length = cursor.int(); length > 0; length = cursor.int()) found.push(cursor.bytes(length))
  return found.length === 1 ? (found[0] as Buffer) : Buffer.concat(found)
}
