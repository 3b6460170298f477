import type { IncomingHttpHeaders } from 'node:http2'
import { STATIC_TABLE } from './hpack-tables.ts'
import { HpackError, huffman } from './huffman.ts'

export { encodeHeaders } from './hpack-encode.ts'
export { HpackError } from './huffman.ts'

/** Header compression of HTTP/2: https://www.rfc-editor.org/rfc/rfc7541 */

/** What we let the other side keep in our table. */
export const TABLE_SIZE = 4096
const OVERHEAD = 32
const STATIC_ENTRIES = STATIC_TABLE.length / 2

/** A header block that was read. */
export interface DecodedBlock {
  /** Names and values in turn. */
  readonly raw: readonly string[]
  /** `raw` by names, kept here by whoever makes it first. */
  head: IncomingHttpHeaders | undefined
}

/** Blocks that each decoder remembers, and their longest. */
const REMEMBERED = 4
const MAX_REMEMBERED = 1024

interface Remembered {
  readonly bytes: Buffer
  readonly version: number
  readonly block: DecodedBlock
}

const NOTHING: Buffer = Buffer.alloc(0)

/** Reads the header blocks of one connection, in their order. */
export class HpackDecoder {
  /** Counts changes of the table. */
  #version = 0
  readonly #remembered: Remembered[] = []
  #oldest = 0
  /** Names and values in turn, newest first. */
  #table: string[] = []
  #size = 0
  #capacity = TABLE_SIZE
  #bytes: Buffer = NOTHING
  #at = 0
  #end = 0

  /**
   * As `decode`. Most blocks of a connection are those that came before: bytes that say the same give the same object, which
   * nobody may change.
   */
  read(bytes: Buffer, limit: number): DecodedBlock | undefined {
    const version = this.#version
    for (const known of this.#remembered)
      if (known.version === version && known.bytes.length === bytes.length && known.bytes.equals(bytes)) return known.block
    const raw = this.decode(bytes, limit)
    if (!raw) return undefined
    const block: DecodedBlock = { raw, head: undefined }
    // What changes the table means something else the next time.
    if (version === this.#version && bytes.length <= MAX_REMEMBERED) {
      this.#remembered[this.#oldest] = { bytes: Buffer.from(bytes), version, block }
      this.#oldest = (this.#oldest + 1) % REMEMBERED
    }
    return block
  }

  /**
   * Names and values in turn; undefined when they are more than `limit` characters together: few bytes can name a long entry of
   * the table many times. The block is read to its end nevertheless, or the tables would differ from then on.
   */
  decode(bytes: Buffer, limit: number): string[] | undefined {
    this.#bytes = bytes
    this.#at = 0
    this.#end = bytes.length
    const out: string[] = []
    let size = 0
    let fields = 0
    let begun = false
    while (this.#at < this.#end) {
      const first = bytes[this.#at] as number
      // Sizes come first.
      if ((first & 0xe0) !== 0x20) begun = true
      if (first & 0x80) this.#entry(this.#integer(7), out)
      else if (first & 0x40) {
        const name = this.#name(6)
        const value = this.#string()
        this.#add(name, value)
        out.push(name, value)
      } else if (first & 0x20) {
        const capacity = this.#integer(5)
        if (capacity > TABLE_SIZE || begun) throw new HpackError('wrong table size')
        this.#capacity = capacity
        this.#version++
        this.#evict(0)
      } else {
        const name = this.#name(4)
        out.push(name, this.#string())
      }
      for (; fields < out.length; fields++) size += (out[fields] as string).length + OVERHEAD / 2
      if (size > limit) {
        out.length = 0
        fields = 0
      }
    }
    // What came is not kept until the next block does: that may be hours.
    this.#bytes = NOTHING
    return size > limit ? undefined : out
  }

  #entry(index: number, out: string[]): void {
    if (index === 0) throw new HpackError('entry 0')
    if (index <= STATIC_ENTRIES) return void out.push(STATIC_TABLE[index * 2 - 2] as string, STATIC_TABLE[index * 2 - 1] as string)
    const at = (index - STATIC_ENTRIES - 1) * 2
    if (at >= this.#table.length) throw new HpackError(`no entry ${index}`)
    out.push(this.#table[at] as string, this.#table[at + 1] as string)
  }

  #name(bits: number): string {
    const index = this.#integer(bits)
    if (index === 0) return this.#string()
    const out: string[] = []
    this.#entry(index, out)
    return out[0] as string
  }

  #add(name: string, value: string): void {
    const size = name.length + value.length + OVERHEAD
    this.#version++
    this.#evict(size)
    if (size > this.#capacity) return
    this.#table.unshift(name, value)
    this.#size += size
  }

  #evict(coming: number): void {
    while (this.#table.length > 0 && this.#size + coming > this.#capacity) {
      const value = this.#table.pop() as string
      const name = this.#table.pop() as string
      this.#size -= name.length + value.length + OVERHEAD
    }
  }

  #integer(bits: number): number {
    const most = 2 ** bits - 1
    let value = (this.#bytes[this.#at++] as number) & most
    if (value < most) return value
    for (let shift = 0; shift < 28; shift += 7) {
      if (this.#at >= this.#end) break
      const byte = this.#bytes[this.#at++] as number
      value += (byte & 127) << shift
      if (byte < 128) return value
    }
    throw new HpackError('an integer without an end')
  }

  #string(): string {
    if (this.#at >= this.#end) throw new HpackError('a string without a length')
    const packed = ((this.#bytes[this.#at] as number) & 0x80) !== 0
    const length = this.#integer(7)
    const start = this.#at
    this.#at += length
    if (this.#at > this.#end) throw new HpackError('a string without an end')
    return packed ? huffman(this.#bytes, start, this.#at) : this.#bytes.toString('latin1', start, this.#at)
  }
}
