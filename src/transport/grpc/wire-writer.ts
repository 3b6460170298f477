/** Writes fields one after the other. One instance serves all messages of a thread: nothing here waits. */
export class ProtoWriter {
  #buffer = Buffer.allocUnsafe(4096)
  #at = 0

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes))
    this.#buffer.copy(larger, 0, 0, this.#at)
    this.#buffer = larger
  }

  #varint(value: number): void {
    while (value > 127) {
      this.#buffer[this.#at++] = (value % 128) | 128
      value = Math.floor(value / 128)
    }
    this.#buffer[this.#at++] = value
  }

  /** Non-negative integers up to 2^53; zero is left out unless `always`. */
  uint(field: number, value: number, always = false): void {
    if (value === 0 && !always) return
    this.#room(20)
    this.#varint(field * 8)
    this.#varint(value)
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint(field, 1)
  }

  /** int32, int64 and enumerations, negative values as ten bytes; zero is left out unless `always`. */
  int64(field: number, value: number, always = false): void {
    if (value >= 0) return this.uint(field, value, always)
    this.#room(20)
    this.#varint(field * 8)
    let rest = BigInt.asUintN(64, BigInt(value))
    while (rest > 127n) {
      this.#buffer[this.#at++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    this.#buffer[this.#at++] = Number(rest)
  }

  /** Zero is left out unless `always`. */
  double(field: number, value: number, always = false): void {
    if (value === 0 && !always && !Object.is(value, -0)) return
    this.#room(20)
    this.#varint(field * 8 + 1)
    this.#at = this.#buffer.writeDoubleLE(value, this.#at)
  }

  fixed64(field: number, value: bigint): void {
    if (value === 0n) return
    this.#room(20)
    this.#varint(field * 8 + 1)
    this.#at = this.#buffer.writeBigUInt64LE(value, this.#at)
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return
    this.#room(14)
    this.#varint(field * 8 + 5)
    this.#at = this.#buffer.writeUInt32LE(value, this.#at)
  }

  /** The empty string is left out unless `always` (elements of repeated fields). */
  string(field: number, value: string, always = false): void {
    const { length } = value
    if (length === 0 && !always) return
    this.#room(16 + length * 3)
    this.#varint(field * 8 + 2)
    if (length < 43) {
      // At most 127 bytes: the length takes one byte, written after the text.
      const written = this.#buffer.write(value, this.#at + 1)
      this.#buffer[this.#at] = written
      this.#at += written + 1
      return
    }
    this.#varint(Buffer.byteLength(value))
    this.#at += this.#buffer.write(value, this.#at)
  }

  bytes(field: number, value: Uint8Array, always = false): void {
    if (value.length === 0 && !always) return
    this.#room(16 + value.length)
    this.#varint(field * 8 + 2)
    this.#varint(value.length)
    this.#buffer.set(value, this.#at)
    this.#at += value.length
  }

  /** Begins a nested message; `end` with what this returns closes it. */
  begin(field: number): number {
    this.#room(16)
    this.#varint(field * 8 + 2)
    return this.#at++
  }

  end(mark: number): void {
    const size = this.#at - mark - 1
    if (size > 127) {
      let extra = 0
      for (let rest = size; rest > 127; rest = Math.floor(rest / 128)) extra++
      this.#room(extra)
      this.#buffer.copyWithin(mark + 1 + extra, mark + 1, this.#at)
      const end = this.#at + extra
      this.#at = mark
      this.#varint(size)
      this.#at = end
    } else this.#buffer[mark] = size
  }

  map(field: number, entries: Readonly<Record<string, string>>): void {
    for (const key in entries) {
      const mark = this.begin(field)
      this.string(1, key)
      this.string(2, entries[key] as string)
      this.end(mark)
    }
  }

  /** What was written since the last `take`, copied; `prefix` bytes are left free in front. */
  take(prefix = 0): Buffer {
    const out = Buffer.allocUnsafe(prefix + this.#at)
    this.#buffer.copy(out, prefix, 0, this.#at)
    this.#at = 0
    // One large message must not keep its memory for good.
    if (this.#buffer.length > 1 << 20) this.#buffer = Buffer.allocUnsafe(4096)
    return out
  }

  /** Forgets what was written: for the beginning of a message, should an earlier one have thrown half-way. */
  reset(): this {
    this.#at = 0
    return this
  }
}
