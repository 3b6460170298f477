import { MsgpackError } from './unpack.ts'

const NOTHING: Buffer = Buffer.alloc(0)

/**
 * Finds where values of msgpack end in bytes that come piece by piece, without reading any byte twice: for each value it counts
 * how many are still to come.
 */
export class ValueStream {
  readonly #limit: number
  #bytes: Buffer = NOTHING
  /** The memory that `#bytes` is a part of, when there may be written behind it. */
  #own: unknown
  /** Bytes that are looked at; values that are still to come in the one that has begun. */
  #at = 0
  #open = 0

  /** `limit`: bytes of one value. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whole values, as their bytes. Throws MsgpackError for what is none, and for one that is too long. */
  push(piece: Buffer): Buffer[] {
    this.#bytes = this.#bytes.length === 0 ? piece : this.#join(piece)
    const values: Buffer[] = []
    let start = 0
    for (;;) {
      if (this.#open === 0) {
        if (this.#at >= this.#bytes.length) break
        this.#open = 1
      }
      if (!this.#step()) break
      if (this.#open > 0) continue
      values.push(this.#bytes.subarray(start, this.#at))
      start = this.#at
    }
    this.#bytes = start === this.#bytes.length ? NOTHING : this.#bytes.subarray(start)
    this.#at -= start
    if (this.#bytes.length > this.#limit || this.#at > this.#limit) throw new MsgpackError(`a message is longer than ${this.#limit} bytes`)
    return values
  }

  /** Bytes of a value that is not whole are in a buffer that doubles. */
  #join(piece: Buffer): Buffer {
    const { length } = this.#bytes
    const total = length + piece.length
    const space = this.#bytes.buffer.byteLength - this.#bytes.byteOffset
    if (this.#own === this.#bytes.buffer && space >= total) {
      const grown = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, total)
      piece.copy(grown, length)
      return grown
    }
    const fresh = Buffer.from(new ArrayBuffer(Math.min(Math.max(total * 2, 65_536), Math.max(total, this.#limit * 2))), 0, total)
    this.#own = fresh.buffer
    this.#bytes.copy(fresh, 0)
    piece.copy(fresh, length)
    return fresh
  }

  /** Passes over one value's head, and over its bytes if it is no array or map. False: not all of it is here. */
  #step(): boolean {
    const first = this.#bytes[this.#at]
    if (first === undefined) return false
    const [size, length, inner] = this.#shape(first)
    if (size < 0) return false
    const end = this.#at + size + length
    if (end - this.#at > this.#limit || this.#open + inner > this.#limit)
      throw new MsgpackError(`a message is longer than ${this.#limit} bytes`)
    if (end > this.#bytes.length) return false
    this.#at = end
    this.#open += inner - 1
    return true
  }

  /** Bytes of the head, bytes behind it, values inside; a head of -1 is not all here. */
  #shape(first: number): readonly [number, number, number] {
    if (first < 0x80 || first >= 0xe0) return [1, 0, 0]
    if (first < 0x90) return [1, 0, (first & 15) * 2]
    if (first < 0xa0) return [1, 0, first & 15]
    if (first < 0xc0) return [1, first & 31, 0]
    const counted = (size: number, more = 0): readonly [number, number, number] => {
      if (this.#at + 1 + size > this.#bytes.length) return [-1, 0, 0]
      return [1 + size, this.#bytes.readUIntBE(this.#at + 1, size) + more, 0]
    }
    const inside = (size: number, each: number): readonly [number, number, number] => {
      const [head, count] = counted(size)
      return [head, 0, count * each]
    }
    if (first === 0xc1) throw new MsgpackError('0xc1 begins no value')
    if (first <= 0xc3) return [1, 0, 0]
    if (first <= 0xc6) return counted(1 << (first - 0xc4))
    if (first <= 0xc9) return counted(1 << (first - 0xc7), 1)
    if (first === 0xca) return [1, 4, 0]
    if (first === 0xcb) return [1, 8, 0]
    if (first <= 0xcf) return [1, 1 << (first - 0xcc), 0]
    if (first <= 0xd3) return [1, 1 << (first - 0xd0), 0]
    if (first <= 0xd8) return [1, 1 + (1 << (first - 0xd4)), 0]
    if (first <= 0xdb) return counted(1 << (first - 0xd9))
    if (first <= 0xdd) return inside(first === 0xdc ? 2 : 4, 1)
    return inside(first === 0xde ? 2 : 4, 2)
  }
}
