/** Writes msgpack into one growing buffer. */
export class Packer {
  #bytes = Buffer.allocUnsafe(4096)
  #at = 0

  #room(length: number): number {
    if (this.#at + length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + length))
      this.#bytes.copy(larger, 0, 0, this.#at)
      this.#bytes = larger
    }
    const at = this.#at
    this.#at += length
    return at
  }

  /** A copy of what was written; the buffer is empty then. */
  take(): Buffer {
    const out = Buffer.from(this.#bytes.subarray(0, this.#at))
    this.#at = 0
    return out
  }

  /** `values` of JSON; undefined is nil. */
  value(value: unknown): this {
    if (typeof value === 'string') return this.text(value)
    if (typeof value === 'number') return this.number(value)
    if (typeof value === 'boolean') return this.#byte(value ? 0xc3 : 0xc2)
    if (typeof value !== 'object' || value === null) return this.#byte(0xc0)
    if (Buffer.isBuffer(value)) return this.binary(value)
    if (Array.isArray(value)) {
      this.array(value.length)
      for (const each of value) this.value(each)
      return this
    }
    const names = Object.keys(value)
    this.map(names.length)
    for (const name of names) this.text(name).value((value as Record<string, unknown>)[name])
    return this
  }

  #byte(byte: number): this {
    const at = this.#room(1)
    this.#bytes[at] = byte
    return this
  }

  /** A head byte and an unsigned number of 1, 2 or 4 bytes. */
  #head(byte: number, size: number, number: number): this {
    const at = this.#room(1 + size)
    this.#bytes[at] = byte
    this.#bytes.writeUIntBE(number, at + 1, size)
    return this
  }

  #sized(length: number, heads: readonly [number | undefined, number, number]): this {
    const [one, two, four] = heads
    if (one !== undefined && length < 256) return this.#head(one, 1, length)
    return length < 65_536 ? this.#head(two, 2, length) : this.#head(four, 4, length)
  }

  text(text: string): this {
    const length = Buffer.byteLength(text)
    if (length < 32) this.#byte(0xa0 | length)
    else this.#sized(length, [0xd9, 0xda, 0xdb])
    const at = this.#room(length)
    this.#bytes.write(text, at, length, 'utf8')
    return this
  }

  binary(bytes: Buffer): this {
    this.#sized(bytes.length, [0xc4, 0xc5, 0xc6])
    const at = this.#room(bytes.length)
    bytes.copy(this.#bytes, at)
    return this
  }

  array(length: number): this {
    return length < 16 ? this.#byte(0x90 | length) : this.#sized(length, [undefined, 0xdc, 0xdd])
  }

  map(length: number): this {
    return length < 16 ? this.#byte(0x80 | length) : this.#sized(length, [undefined, 0xde, 0xdf])
  }

  number(number: number): this {
    if (!Number.isSafeInteger(number) || Object.is(number, -0)) {
      const at = this.#room(9)
      this.#bytes[at] = 0xcb
      this.#bytes.writeDoubleBE(number, at + 1)
      return this
    }
    if (number >= 0) {
      if (number < 128) return this.#byte(number)
      if (number < 256) return this.#head(0xcc, 1, number)
      if (number < 65_536) return this.#head(0xcd, 2, number)
      if (number < 2 ** 32) return this.#head(0xce, 4, number)
    } else if (number >= -32) return this.#byte(number & 0xff)
    const at = this.#room(9)
    this.#bytes[at] = 0xd3
    this.#bytes.writeBigInt64BE(BigInt(number), at + 1)
    return this
  }

  /** Fluentd's EventTime: extension 0, seconds and nanoseconds. */
  eventTime(milliseconds: number): this {
    const at = this.#room(10)
    const seconds = Math.floor(milliseconds / 1000)
    this.#bytes[at] = 0xd7
    this.#bytes[at + 1] = 0
    this.#bytes.writeUInt32BE(seconds >>> 0, at + 2)
    this.#bytes.writeUInt32BE(Math.min(999_999_999, Math.round((milliseconds - seconds * 1000) * 1000) * 1000), at + 6)
    return this
  }
}
