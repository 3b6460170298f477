/** BSON 1.1 (bsonspec.org): what commands and replies of MongoDB consist of. */
export const TYPE = {
  double: 0x01,
  string: 0x02,
  document: 0x03,
  array: 0x04,
  binary: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  boolean: 0x08,
  date: 0x09,
  null: 0x0a,
  regex: 0x0b,
  reference: 0x0c,
  code: 0x0d,
  symbol: 0x0e,
  scopedCode: 0x0f,
  int32: 0x10,
  timestamp: 0x11,
  int64: 0x12,
  decimal: 0x13,
  maxKey: 0x7f,
  minKey: 0xff,
} as const

export type Document = Readonly<Record<string, unknown>>

/** How deep documents may be nested, as the server has it; beyond it a document is refused, here or there. */
const DEEPEST = 200

export class BsonError extends Error {
  override readonly name = 'BsonError'
}

/** A value whose numbers are all doubles, whole or not. */
export class Doubles {
  readonly value: unknown
  constructor(value: unknown) {
    this.value = value
  }
}

/** A document that is encoded already. */
export class Encoded {
  readonly bytes: Buffer
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

/** 16 bytes, binary of subtype 4. */
export class Uuid {
  readonly bytes: Buffer
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

const SCRATCH = 16 * 1024
/** What one large document made room for is given back. */
const KEPT = 1 << 20

/**
 * Writes documents one after the other into memory of its own. Whole numbers that fit are int32, other numbers doubles, bigint
 * int64, Buffers binary, Dates dates, what is undefined is left out.
 */
class BsonWriter {
  #bytes = Buffer.allocUnsafeSlow(SCRATCH)
  #at = 0

  /** The bytes of `document` behind `ahead` bytes that the caller fills in; they are the caller's. */
  encode(document: Document, ahead: number): Buffer {
    this.#at = ahead
    try {
      this.#document(document, false, 0)
      return Buffer.from(this.#bytes.subarray(0, this.#at))
    } finally {
      if (this.#bytes.length > KEPT) this.#bytes = Buffer.allocUnsafeSlow(SCRATCH)
    }
  }

  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#at + size))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }

  #document(document: Document | readonly unknown[], doubles: boolean, depth: number): void {
    if (depth > DEEPEST) throw new BsonError(`nested deeper than ${DEEPEST} levels, which MongoDB does not store: make it flatter`)
    const from = this.#at
    this.#room(5)
    this.#at += 4
    if (Array.isArray(document))
      for (let index = 0; index < document.length; index++) this.#element(String(index), document[index], doubles, depth)
    else for (const name in document) this.#element(name, (document as Document)[name], doubles, depth)
    this.#room(1)
    this.#bytes[this.#at++] = 0
    this.#bytes.writeInt32LE(this.#at - from, from)
  }

  #element(name: string, value: unknown, doubles: boolean, depth: number): void {
    switch (typeof value) {
      case 'string': {
        this.#name(TYPE.string, name)
        this.#room(5 + value.length * 3)
        const length = this.#bytes.write(value, this.#at + 4)
        this.#bytes.writeInt32LE(length + 1, this.#at)
        this.#at += 4 + length
        this.#bytes[this.#at++] = 0
        return
      }
      case 'number':
        if (!doubles && (value | 0) === value && !Object.is(value, -0)) {
          this.#name(TYPE.int32, name)
          this.#room(4)
          this.#at = this.#bytes.writeInt32LE(value, this.#at)
        } else {
          this.#name(TYPE.double, name)
          this.#room(8)
          this.#at = this.#bytes.writeDoubleLE(value, this.#at)
        }
        return
      case 'boolean':
        this.#name(TYPE.boolean, name)
        this.#room(1)
        this.#bytes[this.#at++] = value ? 1 : 0
        return
      case 'bigint':
        this.#long(TYPE.int64, name, value)
        return
      case 'undefined':
        return
      default:
        this.#object(name, value as object | null, doubles, depth)
    }
  }

  #object(name: string, value: object | null, doubles: boolean, depth: number): void {
    if (value === null) this.#name(TYPE.null, name)
    else if (Array.isArray(value)) {
      this.#name(TYPE.array, name)
      this.#document(value, doubles, depth + 1)
    } else if (value instanceof Doubles) this.#element(name, value.value, true, depth)
    else if (value instanceof Encoded) {
      this.#name(TYPE.document, name)
      this.#copy(value.bytes)
    } else if (Buffer.isBuffer(value) || value instanceof Uuid) {
      const bytes = Buffer.isBuffer(value) ? value : value.bytes
      this.#name(TYPE.binary, name)
      this.#room(5)
      this.#at = this.#bytes.writeInt32LE(bytes.length, this.#at)
      this.#bytes[this.#at++] = Buffer.isBuffer(value) ? 0 : 4
      this.#copy(bytes)
    } else if (value instanceof Date) this.#long(TYPE.date, name, BigInt(value.getTime()))
    else {
      this.#name(TYPE.document, name)
      this.#document(value as Document, doubles, depth + 1)
    }
  }

  #long(type: number, name: string, value: bigint): void {
    this.#name(type, name)
    this.#room(8)
    this.#at = this.#bytes.writeBigInt64LE(value, this.#at)
  }

  #copy(bytes: Buffer): void {
    this.#room(bytes.length)
    bytes.copy(this.#bytes, this.#at)
    this.#at += bytes.length
  }

  #name(type: number, name: string): void {
    if (name.includes('\0'))
      throw new BsonError(`the name ${JSON.stringify(name)} has a zero character in it, which MongoDB does not store`)
    this.#room(2 + name.length * 3)
    this.#bytes[this.#at++] = type
    this.#at += this.#bytes.write(name, this.#at)
    this.#bytes[this.#at++] = 0
  }
}

const writer = new BsonWriter()

/** The document's bytes, behind `ahead` bytes that the caller fills in. Throws BsonError on what MongoDB could not store. */
export function encode(document: Document, ahead = 0): Buffer {
  return writer.encode(document, ahead)
}
