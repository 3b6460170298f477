import { Described } from './values.ts'

/** Values within values; deeper ones are refused. */
const DEEPEST = 32
/** Items of an array that take no bytes. */
const MOST_EMPTY = 65_536

/**
 * Reads AMQP 1.0 values: text of strings and symbols, numbers (bigint beyond 2^53), boolean, Buffer (a view), Date, UUIDs as text,
 * lists and arrays as arrays, maps as objects, `Described`; null. Throws RangeError or TypeError for what is not AMQP.
 */
export class Decoder {
  readonly #bytes: Buffer
  #at: number
  #depth = 0

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }

  get position(): number {
    return this.#at
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  value(): unknown {
    const code = this.#byte()
    if (code !== 0) return this.#coded(code)
    const descriptor = this.value()
    return new Described(descriptor as number, this.value())
  }

  #coded(code: number): unknown {
    const bytes = this.#bytes
    switch (code) {
      case 0x40:
        return null
      case 0x41:
        return true
      case 0x42:
        return false
      case 0x56:
        return this.#byte() !== 0
      case 0x43:
      case 0x44:
        return 0
      case 0x50:
      case 0x52:
      case 0x53:
        return this.#byte()
      case 0x51:
      case 0x54:
      case 0x55:
        return bytes.readInt8(this.#skip(1))
      case 0x60:
        return bytes.readUInt16BE(this.#skip(2))
      case 0x61:
        return bytes.readInt16BE(this.#skip(2))
      case 0x70:
        return bytes.readUInt32BE(this.#skip(4))
      case 0x71:
        return bytes.readInt32BE(this.#skip(4))
      case 0x72:
        return bytes.readFloatBE(this.#skip(4))
      case 0x73:
        return String.fromCodePoint(bytes.readUInt32BE(this.#skip(4)))
      case 0x80:
        return small(bytes.readBigUInt64BE(this.#skip(8)))
      case 0x81:
        return small(bytes.readBigInt64BE(this.#skip(8)))
      case 0x82:
        return bytes.readDoubleBE(this.#skip(8))
      case 0x83:
        return new Date(Number(bytes.readBigInt64BE(this.#skip(8))))
      case 0x74:
        return this.#view(4)
      case 0x84:
        return this.#view(8)
      case 0x94:
        return this.#view(16)
      case 0x98:
        return uuidText(this.#view(16))
      case 0xa0:
        return this.#view(this.#byte())
      case 0xb0:
        return this.#view(this.#uint32())
      case 0xa1:
      case 0xa3:
        return this.#view(this.#byte()).toString()
      case 0xb1:
      case 0xb3:
        return this.#view(this.#uint32()).toString()
      case 0x45:
        return []
      case 0xc0:
        return this.#items(this.#byte(), this.#byte())
      case 0xd0:
        return this.#items(this.#uint32(), this.#uint32())
      case 0xc1:
        return pairs(this.#items(this.#byte(), this.#byte()))
      case 0xd1:
        return pairs(this.#items(this.#uint32(), this.#uint32()))
      case 0xe0:
        return this.#array(this.#byte(), this.#byte())
      case 0xf0:
        return this.#array(this.#uint32(), this.#uint32())
    }
    throw new TypeError(`0x${code.toString(16)} is no AMQP type`)
  }

  #items(size: number, count: number): unknown[] {
    if (count > size) throw new RangeError('an AMQP list says more items than bytes')
    return this.#within(() => Array.from({ length: count }, () => this.value()))
  }

  #array(size: number, count: number): unknown[] {
    if (count > Math.max(size, MOST_EMPTY)) throw new RangeError('an AMQP array says more items than bytes')
    return this.#within(() => {
      let code = this.#byte()
      let descriptor: unknown
      if (code === 0) {
        descriptor = this.value()
        code = this.#byte()
      }
      return Array.from({ length: count }, () => {
        const item = this.#coded(code)
        return descriptor === undefined ? item : new Described(descriptor as number, item)
      })
    })
  }

  #within<T>(read: () => T): T {
    if (++this.#depth > DEEPEST) throw new RangeError('AMQP values stand too deep in each other')
    const found = read()
    this.#depth--
    return found
  }

  #byte(): number {
    return this.#bytes.readUInt8(this.#skip(1))
  }

  #uint32(): number {
    return this.#bytes.readUInt32BE(this.#skip(4))
  }

  #view(size: number): Buffer {
    const at = this.#skip(size)
    return this.#bytes.subarray(at, at + size)
  }

  #skip(size: number): number {
    const at = this.#at
    if (at + size > this.#bytes.length) throw new RangeError('an AMQP value ends too early')
    this.#at += size
    return at
  }
}

function small(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

function pairs(items: readonly unknown[]): Record<string, unknown> {
  const found: [string, unknown][] = []
  for (let at = 0; at + 1 < items.length; at += 2) found.push([String(items[at]), items[at + 1]])
  // fromEntries defines: a key `__proto__` stays a key.
  return Object.fromEntries(found)
}

/** 16 bytes as `00112233-4455-6677-8899-aabbccddeeff`. */
export function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
