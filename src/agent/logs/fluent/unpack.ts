/** A value that is not whole, or is none. */
export class MsgpackError extends Error {
  override readonly name = 'MsgpackError'
}

/** A value of an application's own type, e.g. Fluentd's time (type 0). */
export class Extension {
  readonly type: number
  readonly data: Buffer

  constructor(type: number, data: Buffer) {
    this.type = type
    this.data = data
  }
}

/** Arrays and maps in each other. */
const DEPTH = 100

/** Reads values of msgpack. Text is text, also when it is no UTF-8; bytes are Buffers that share memory; integers past 2^53 are bigint. */
export class Unpacker {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  get empty(): boolean {
    return this.at >= this.#bytes.length
  }

  /** Throws MsgpackError. */
  next(depth = 0): unknown {
    if (depth > DEPTH) throw new MsgpackError(`more than ${DEPTH} arrays or maps in each other`)
    const head = this.#take(1)
    const first = this.#bytes[head] as number
    if (first < 0x80) return first
    if (first >= 0xe0) return first - 256
    if (first < 0x90) return this.#map(first & 15, depth)
    if (first < 0xa0) return this.#array(first & 15, depth)
    if (first < 0xc0) return this.#text(first & 31)
    const bytes = this.#bytes
    switch (first) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#binary(this.#uint(1 << (first - 0xc4)))
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#uint(1 << (first - 0xc7)))
      case 0xca:
        return bytes.readFloatBE(this.#take(4))
      case 0xcb:
        return bytes.readDoubleBE(this.#take(8))
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (first - 0xcc))
      case 0xcf:
        return narrow(bytes.readBigUInt64BE(this.#take(8)))
      case 0xd0:
        return bytes.readInt8(this.#take(1))
      case 0xd1:
        return bytes.readInt16BE(this.#take(2))
      case 0xd2:
        return bytes.readInt32BE(this.#take(4))
      case 0xd3:
        return narrow(bytes.readBigInt64BE(this.#take(8)))
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (first - 0xd4))
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (first - 0xd9)))
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(first === 0xdc ? 2 : 4), depth)
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(first === 0xde ? 2 : 4), depth)
      default:
        throw new MsgpackError('0xc1 begins no value')
    }
  }

  /** Values of the array that begins here; undefined: none begins here. */
  arrayLength(): number | undefined {
    const first = this.#bytes[this.at]
    if (first === undefined || ((first & 0xf0) !== 0x90 && first !== 0xdc && first !== 0xdd)) return undefined
    this.at++
    return first < 0xa0 ? first & 15 : this.#uint(first === 0xdc ? 2 : 4)
  }

  /** The bytes of a text or of bytes, whichever begins here: old clients send bytes as text. undefined: neither. */
  bytes(): Buffer | undefined {
    const first = this.#bytes[this.at] ?? 0
    const sizes: Readonly<Record<number, number>> = { 196: 1, 197: 2, 198: 4, 217: 1, 218: 2, 219: 4 }
    const size = sizes[first]
    if (size === undefined && (first & 0xe0) !== 0xa0) return undefined
    this.at++
    return this.#binary(size === undefined ? first & 31 : this.#uint(size))
  }

  #take(length: number): number {
    const { at } = this
    if (at + length > this.#bytes.length) throw new MsgpackError('the value is not whole')
    this.at += length
    return at
  }

  #uint(size: number): number {
    return this.#bytes.readUIntBE(this.#take(size), size)
  }

  #text(length: number): string {
    const at = this.#take(length)
    return this.#bytes.toString('utf8', at, at + length)
  }

  #binary(length: number): Buffer {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  #extension(length: number): Extension {
    const type = this.#bytes.readInt8(this.#take(1))
    return new Extension(type, this.#binary(length))
  }

  #array(length: number, depth: number): unknown[] {
    // Each value takes a byte: what claims to be longer is not believed.
    if (length > this.#bytes.length - this.at) throw new MsgpackError('the value is not whole')
    const out: unknown[] = []
    for (let index = 0; index < length; index++) out.push(this.next(depth + 1))
    return out
  }

  #map(length: number, depth: number): Record<string, unknown> {
    if (length * 2 > this.#bytes.length - this.at) throw new MsgpackError('the value is not whole')
    const out: Record<string, unknown> = {}
    for (let index = 0; index < length; index++) {
      const key = this.next(depth + 1)
      const name = typeof key === 'string' ? key : Buffer.isBuffer(key) ? key.toString('utf8') : String(key)
      const value = this.next(depth + 1)
      if (name === '__proto__') Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true })
      else out[name] = value
    }
    return out
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** All values of some bytes. Throws MsgpackError. */
export function unpackAll(bytes: Buffer): unknown[] {
  const unpacker = new Unpacker(bytes)
  const out: unknown[] = []
  while (!unpacker.empty) out.push(plain(unpacker.next()))
  return out
}

/** As JSON can say it: bytes as text, integers past 2^53 as text, extensions as base64. */
export function plain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return typeof value === 'bigint' ? String(value) : value
  if (Buffer.isBuffer(value)) return value.toString('utf8')
  if (value instanceof Extension) return value.data.toString('base64')
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = plain(value[index])
    return value
  }
  const record = value as Record<string, unknown>
  for (const name in record) {
    const inner = record[name]
    // Only what is an object, or a bigint, can need a change.
    if ((typeof inner === 'object' && inner !== null) || typeof inner === 'bigint') {
      const changed = plain(inner)
      if (changed !== inner) Object.defineProperty(record, name, { value: changed, enumerable: true, configurable: true, writable: true })
    }
  }
  return record
}
