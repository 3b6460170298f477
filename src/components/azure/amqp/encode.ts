import { Described, Typed } from './values.ts'

/** Bytes of AMQP 1.0 values. https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html */
export class Encoder {
  #bytes: Buffer
  #length = 0

  constructor(size = 256) {
    this.#bytes = Buffer.allocUnsafe(size)
  }

  get length(): number {
    return this.#length
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  /**
   * Text is a string, whole numbers are int, else long, others double; Date is a timestamp, Buffer binary, an array a list, another
   * object a map; null and undefined are null. `Typed` says otherwise. Throws TypeError for what has no AMQP type.
   */
  value(value: unknown): this {
    if (value === null || value === undefined) return this.byte(0x40)
    switch (typeof value) {
      case 'string':
        return this.#text(0xa1, 0xb1, value)
      case 'boolean':
        return this.byte(value ? 0x41 : 0x42)
      case 'number':
        if (!Number.isInteger(value)) return this.#double(value)
        if (value >= -0x8000_0000 && value <= 0x7fff_ffff) return this.#int(value)
        return Number.isSafeInteger(value) ? this.#long(BigInt(value)) : this.#double(value)
      case 'bigint':
        return this.#long(value)
    }
    if (value instanceof Typed) return this.#typed(value)
    if (value instanceof Described) return this.described(value.descriptor).value(value.value)
    if (Buffer.isBuffer(value)) return this.binary(value)
    if (value instanceof Date) return this.#eight(0x83, BigInt(value.getTime()))
    if (Array.isArray(value)) return this.list(value)
    if (typeof value === 'object') return this.#map(value as Record<string, unknown>, false)
    throw new TypeError(`AMQP has no type for a ${typeof value}`)
  }

  /** The start of a described value; the value follows. */
  described(descriptor: number | bigint | string): this {
    this.byte(0x00)
    return typeof descriptor === 'string' ? this.#text(0xa3, 0xb3, descriptor) : this.#ulong(BigInt(descriptor))
  }

  /** A list without the absent items at its end. */
  list(items: readonly unknown[]): this {
    let count = items.length
    while (count > 0 && (items[count - 1] === undefined || items[count - 1] === null)) count--
    if (count === 0) return this.byte(0x45)
    const start = this.#open(0xd0, count)
    for (let at = 0; at < count; at++) this.value(items[at])
    return this.#close(start)
  }

  binary(value: Buffer): this {
    if (value.length > 0xff) this.byte(0xb0).#uint32(value.length)
    else this.byte(0xa0).byte(value.length)
    return this.raw(value)
  }

  raw(value: Buffer): this {
    this.#room(value.length)
    value.copy(this.#bytes, this.#length)
    this.#length += value.length
    return this
  }

  byte(value: number): this {
    this.#room(1)
    this.#bytes[this.#length++] = value
    return this
  }

  patchUint32(value: number, at: number): void {
    this.#bytes.writeUInt32BE(value, at)
  }

  #typed({ type, value }: Typed): this {
    switch (type) {
      case 'symbol':
        return this.#text(0xa3, 0xb3, String(value))
      case 'ubyte':
        return this.byte(0x50).byte(Number(value))
      case 'ushort':
        return this.byte(0x60)
          .byte(Number(value) >> 8)
          .byte(Number(value) & 0xff)
      case 'uint': {
        const number = Number(value)
        if (number === 0) return this.byte(0x43)
        return number < 0x100 ? this.byte(0x52).byte(number) : this.byte(0x70).#uint32(number)
      }
      case 'ulong':
        return this.#ulong(BigInt(value as number))
      case 'int':
        return this.#int(Number(value))
      case 'long':
        return this.#long(BigInt(value as number))
      case 'uuid':
        return this.byte(0x98).raw(uuidBytes(value as string | Buffer))
      case 'symbolic-map':
        return this.#map(value as Record<string, unknown>, true)
      case 'symbols': {
        const items = (value as readonly string[]).map((one) => Buffer.from(one, 'latin1'))
        const start = this.#open(0xf0, items.length)
        this.byte(0xb3)
        for (const item of items) this.#uint32(item.length).raw(item)
        return this.#close(start)
      }
      case 'uuids': {
        const items = value as readonly (string | Buffer)[]
        const start = this.#open(0xf0, items.length)
        this.byte(0x98)
        for (const item of items) this.raw(uuidBytes(item))
        return this.#close(start)
      }
    }
  }

  #map(value: Readonly<Record<string, unknown>>, symbolic: boolean): this {
    const entries = Object.entries(value).filter(([, one]) => one !== undefined)
    const start = this.#open(0xd1, entries.length * 2)
    for (const [key, one] of entries) {
      if (symbolic) this.#text(0xa3, 0xb3, key)
      else this.#text(0xa1, 0xb1, key)
      this.value(one)
    }
    return this.#close(start)
  }

  #open(code: number, count: number): number {
    this.byte(code)
    const start = this.#length
    this.#uint32(0).#uint32(count)
    return start
  }

  #close(start: number): this {
    this.patchUint32(this.#length - start - 4, start)
    return this
  }

  #text(short: number, long: number, text: string): this {
    const size = Buffer.byteLength(text)
    if (size > 0xff) this.byte(long).#uint32(size)
    else this.byte(short).byte(size)
    this.#room(size)
    this.#length += this.#bytes.write(text, this.#length)
    return this
  }

  #int(value: number): this {
    if (value >= -128 && value < 128) return this.byte(0x54).byte(value & 0xff)
    return this.byte(0x71).#uint32(value >>> 0)
  }

  #long(value: bigint): this {
    if (value >= -128n && value < 128n) return this.byte(0x55).byte(Number(value) & 0xff)
    return this.#eight(0x81, value)
  }

  #ulong(value: bigint): this {
    if (value === 0n) return this.byte(0x44)
    return value < 0x100n ? this.byte(0x53).byte(Number(value)) : this.#eight(0x80, value)
  }

  #eight(code: number, value: bigint): this {
    this.byte(code)
    this.#room(8)
    this.#length = this.#bytes.writeBigUInt64BE(BigInt.asUintN(64, value), this.#length)
    return this
  }

  #double(value: number): this {
    this.byte(0x82)
    this.#room(8)
    this.#length = this.#bytes.writeDoubleBE(value, this.#length)
    return this
  }

  #uint32(value: number): this {
    this.#room(4)
    this.#length = this.#bytes.writeUInt32BE(value, this.#length)
    return this
  }

  #room(size: number): void {
    if (this.#length + size <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + size))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}

function uuidBytes(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value.replaceAll('-', ''), 'hex') : value
  if (bytes.length !== 16) throw new TypeError('a UUID has 16 bytes')
  return bytes
}
