import type { IncomingHttpHeaders } from 'node:http2'
import { HUFFMAN_LENGTHS, STATIC_TABLE } from './hpack-tables.ts'

/** Header compression of HTTP/2: https://www.rfc-editor.org/rfc/rfc7541 */

/** A header block that cannot be read: the connection is lost, for its tables are. */
export class HpackError extends Error {
  override readonly name = 'HpackError'
}

/** What we let the other side keep in our table. */
export const TABLE_SIZE = 4096
const OVERHEAD = 32
const STATIC_ENTRIES = STATIC_TABLE.length / 2

/** The Huffman code as a binary tree: two entries a node, the next node or, negative, a byte; 0: no such code. */
const TREE = huffmanTree()
const END = 256

function huffmanTree(): Int16Array {
  const tree = new Int16Array(1024)
  let next = 1
  let code = 0
  let bits = 0
  const symbols = HUFFMAN_LENGTHS.map((length, symbol) => ({ length, symbol })).sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  for (const { length, symbol } of symbols) {
    code *= 2 ** (length - bits)
    bits = length
    let node = 0
    for (let bit = length - 1; bit >= 0; bit--) {
      const at = node * 2 + ((code >>> bit) & 1)
      if (bit === 0) tree[at] = -symbol - 1
      else {
        if (tree[at] === 0) tree[at] = next++
        node = tree[at] as number
      }
    }
    code++
  }
  return tree
}

function huffman(bytes: Buffer, start: number, end: number): string {
  // The shortest codes have five bits.
  const out = Buffer.allocUnsafe(Math.ceil(((end - start) * 8) / 5))
  let length = 0
  let node = 0
  let pending = 0
  let ones = true
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    for (let bit = 7; bit >= 0; bit--) {
      const one = (byte >> bit) & 1
      const step = TREE[node * 2 + one] as number
      if (step > 0) {
        node = step
        pending++
        if (one === 0) ones = false
      } else {
        const symbol = -step - 1
        if (step === 0 || symbol === END) throw new HpackError('no such Huffman code')
        out[length++] = symbol
        node = 0
        pending = 0
        ones = true
      }
    }
  }
  // What is left over is padding: the first bits of the longest code, all ones.
  if (pending > 7 || !ones) throw new HpackError('wrong Huffman padding')
  return out.toString('latin1', 0, length)
}

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
  #bytes: Buffer = Buffer.alloc(0)
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

const NAMES = new Map<string, number>()
for (let entry = STATIC_ENTRIES; entry > 0; entry--) NAMES.set(STATIC_TABLE[entry * 2 - 2] as string, entry)

/** What HTTP/2 has no place for, and a client would take for an attack: https://www.rfc-editor.org/rfc/rfc9113#section-8.2 */
const CONNECTION = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])
const UPPER = /[A-Z]/
const WIDE = /[^\0-\xff]/
const BREAKS = /[\0\r\n]/
const ALL_BREAKS = /[\0\r\n]/g

/**
 * Names and values in turn as a header block that touches no table, so that it may be kept and sent again anywhere, and no secret
 * stays in one. Names go out in lower case; fields of a connection are left out; line breaks in values become spaces, and none stand at their ends.
 */
export function encodeHeaders(fields: readonly string[]): Buffer {
  let at = 0
  for (let index = 0; index < fields.length; index += 2) {
    const given = fields[index] as string
    const name = UPPER.test(given) ? given.toLowerCase() : given
    const value = fields[index + 1] as string
    // A character has three bytes at most, a length five.
    reserve(at, 20 + 3 * (name.length + value.length))
    if (name === ':status' && value === '200') {
      scratch[at++] = 0x88
      continue
    }
    if (CONNECTION.has(name)) continue
    const entry = NAMES.get(name)
    if (entry === undefined) {
      scratch[at++] = 0
      at = literal(name, at)
    } else at = integer(entry, 4, at)
    at = literal(BREAKS.test(value) ? trimmed(value.replace(ALL_BREAKS, ' ')) : trimmed(value), at)
  }
  return Buffer.from(scratch.subarray(0, at))
}

/** Where blocks are put together; it grows to the longest one but does not keep what only a giant needed. */
const USUAL_SCRATCH = 16_384
let scratch = Buffer.allocUnsafeSlow(USUAL_SCRATCH)

function reserve(at: number, more: number): void {
  if (at === 0 && scratch.length > USUAL_SCRATCH) scratch = Buffer.allocUnsafeSlow(USUAL_SCRATCH)
  if (at + more <= scratch.length) return
  const larger = Buffer.allocUnsafeSlow(Math.max(at + more, scratch.length * 2))
  scratch.copy(larger, 0, 0, at)
  scratch = larger
}

/** By hand: a regular expression takes the square of the length for a long run of spaces. */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return end - start === text.length ? text : text.slice(start, end)
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** Writes a number behind `at` and gives where it ends. */
function integer(value: number, bits: number, at: number): number {
  const most = 2 ** bits - 1
  if (value < most) {
    scratch[at] = value
    return at + 1
  }
  scratch[at++] = most
  let rest = value - most
  for (; rest > 127; rest >>= 7) scratch[at++] = (rest & 127) | 128
  scratch[at] = rest
  return at + 1
}

function literal(text: string, at: number): number {
  if (WIDE.test(text)) {
    const start = integer(Buffer.byteLength(text), 7, at)
    return start + scratch.write(text, start)
  }
  const start = integer(text.length, 7, at)
  return start + scratch.write(text, start, 'latin1')
}
