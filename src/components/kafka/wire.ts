/** Writes Kafka's primitive types (big endian) into a buffer that grows. */
export class Writer {
  #buffer: Buffer
  #at = 0

  constructor(size = 256) {
    this.#buffer = Buffer.allocUnsafe(size)
  }

  get length(): number {
    return this.#at
  }

  /** What has been written; valid until the next write. */
  bytesWritten(): Buffer {
    return this.#buffer.subarray(0, this.#at)
  }

  /** Begins anew; the buffer is kept. */
  reset(): void {
    this.#at = 0
  }

  #room(size: number): number {
    const at = this.#at
    const end = at + size
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2))
      this.#buffer.copy(grown, 0, 0, at)
      this.#buffer = grown
    }
    this.#at = end
    return at
  }

  int8(value: number): this {
    const at = this.#room(1)
    this.#buffer[at] = value & 0xff
    return this
  }

  int16(value: number): this {
    const at = this.#room(2)
    this.#buffer.writeInt16BE(value, at)
    return this
  }

  int32(value: number): this {
    const at = this.#room(4)
    this.#buffer.writeInt32BE(value, at)
    return this
  }

  /** Offsets and times: whole numbers that a double holds exactly. */
  int64(value: number): this {
    const at = this.#room(8)
    const high = Math.floor(value / 2 ** 32)
    this.#buffer.writeInt32BE(high, at)
    this.#buffer.writeUInt32BE(value - high * 2 ** 32, at + 4)
    return this
  }

  /** A zigzag varint of up to 53 bits. */
  varint(value: number): this {
    let rest = value >= 0 ? value * 2 : -value * 2 - 1
    let at = this.#room(varintSize(value))
    while (rest >= 0x80) {
      this.#buffer[at++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.#buffer[at] = rest
    return this
  }

  raw(bytes: Buffer): this {
    const at = this.#room(bytes.length)
    bytes.copy(this.#buffer, at)
    return this
  }

  utf8(text: string, size: number): this {
    const at = this.#room(size)
    this.#buffer.write(text, at, size, 'utf8')
    return this
  }

  string(text: string | null): this {
    if (text === null) return this.int16(-1)
    const size = Buffer.byteLength(text)
    return this.int16(size).utf8(text, size)
  }

  bytes(bytes: Buffer | null): this {
    return bytes === null ? this.int32(-1) : this.int32(bytes.length).raw(bytes)
  }

  array<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length)
    for (const item of items) write(item)
    return this
  }

  /** Overwrites four bytes written before. */
  patchInt32(at: number, value: number): void {
    this.#buffer.writeInt32BE(value | 0, at)
  }
}

/** Bytes that `value` takes as a zigzag varint. */
export function varintSize(value: number): number {
  let rest = value >= 0 ? value * 2 : -value * 2 - 1
  let size = 1
  for (; rest >= 0x80; size++) rest = Math.floor(rest / 128)
  return size
}

/** Reads what {@link Writer} writes. Throws RangeError past the end. */
export class Reader {
  readonly buffer: Buffer
  at: number
  readonly #end: number

  constructor(buffer: Buffer, at = 0, end = buffer.length) {
    this.buffer = buffer
    this.at = at
    this.#end = end
  }

  get left(): number {
    return this.#end - this.at
  }

  #take(size: number): number {
    const at = this.at
    if (size < 0 || at + size > this.#end) throw new RangeError(`${size} bytes wanted, ${this.#end - at} left`)
    this.at = at + size
    return at
  }

  int8(): number {
    return this.buffer.readInt8(this.#take(1))
  }

  int16(): number {
    return this.buffer.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.buffer.readInt32BE(this.#take(4))
  }

  int64(): number {
    const at = this.#take(8)
    return this.buffer.readInt32BE(at) * 2 ** 32 + this.buffer.readUInt32BE(at + 4)
  }

  varint(): number {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.buffer[this.#take(1)] as number
      value += (byte & 0x7f) * factor
      if (byte < 0x80) break
      factor *= 128
      if (factor > 2 ** 70) throw new RangeError('a varint has no end')
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** A view, not a copy. */
  raw(size: number): Buffer {
    const at = this.#take(size)
    return this.buffer.subarray(at, at + size)
  }

  string(): string | null {
    const size = this.int16()
    if (size < 0) return null
    const at = this.#take(size)
    return this.buffer.toString('utf8', at, at + size)
  }

  text(): string {
    return this.string() ?? ''
  }

  bytes(): Buffer | null {
    const size = this.int32()
    return size < 0 ? null : this.raw(size)
  }

  array<T>(read: () => T): T[] {
    const count = this.int32()
    const items: T[] = []
    for (let index = 0; index < count; index++) items.push(read())
    return items
  }
}
