import { copyWithin, findMatches } from './lz-match.ts'

const MAGIC = 0x184d2204
/** Version 1, independent blocks. */
const FLAGS = 0x60
/** Blocks of at most 4 MiB. */
const BLOCK_CODE = 0x70
const BLOCK = 4 << 20

/** An LZ4 frame (lz4_Frame_format.md) as Kafka's clients write it. */
export function lz4Compress(input: Buffer): Buffer {
  const header = Buffer.alloc(7)
  header.writeUInt32LE(MAGIC, 0)
  header[4] = FLAGS
  header[5] = BLOCK_CODE
  header[6] = (xxh32(header.subarray(4, 6)) >>> 8) & 0xff
  const parts: Buffer[] = [header]
  for (let at = 0; at < input.length; at += BLOCK) {
    const plain = input.subarray(at, at + BLOCK)
    const packed = packBlock(plain)
    const smaller = packed.length < plain.length
    const size = Buffer.alloc(4)
    size.writeUInt32LE(smaller ? packed.length : (plain.length | 0x80000000) >>> 0)
    parts.push(size, smaller ? packed : plain)
  }
  parts.push(Buffer.alloc(4))
  return Buffer.concat(parts)
}

/** Throws on damaged data and above `most` bytes. Checksums of blocks and content are not looked at: the record batch has its own. */
export function lz4Decompress(input: Buffer, most: number): Buffer {
  if (input.length < 7 || input.readUInt32LE(0) !== MAGIC) throw new Error('compressed data is damaged: no LZ4 frame')
  const flags = input[4] as number
  const blockSum = (flags & 0x10) !== 0
  let at = 6 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0) + 1
  const limit = 1 << (8 + 2 * (((input[5] as number) >> 4) & 7))
  // Blocks may copy from the ones before, so that all share one output.
  let out = Buffer.allocUnsafe(Math.min(most, Math.max(1024, input.length * 4)))
  let end = 0
  const room = (size: number) => {
    if (end + size <= out.length) return
    if (end + size > most) throw new Error(`compressed data holds more than ${most} bytes`)
    const grown = Buffer.allocUnsafe(Math.min(most, Math.max(end + size, out.length * 2)))
    out.copy(grown, 0, 0, end)
    out = grown
  }
  while (at + 4 <= input.length) {
    const word = input.readUInt32LE(at)
    at += 4
    if (word === 0) break
    const size = word & 0x7fffffff
    const block = input.subarray(at, at + size)
    at += size + (blockSum ? 4 : 0)
    if (word >>> 31) {
      room(block.length)
      end += block.copy(out, end)
    } else {
      room(Math.min(limit, most - end, block.length * 255))
      end = unpackBlock(block, out, end)
    }
  }
  return out.subarray(0, end)
}

/** One block without a frame. */
export function packBlock(input: Buffer): Buffer {
  const parts: Buffer[] = []
  const lengths = (literals: number, match: number): Buffer => {
    const bytes = [(Math.min(literals, 15) << 4) | Math.min(match, 15)]
    if (literals >= 15) rest(bytes, literals - 15)
    return Buffer.from(bytes)
  }
  // The format wants the last 5 bytes to be literals and no match in the last 12.
  const last = findMatches(input, 12, 65535, ({ literal, at, distance, length }) => {
    parts.push(lengths(at - literal, length - 4), input.subarray(literal, at))
    const bytes = [distance & 0xff, distance >> 8]
    if (length - 4 >= 15) rest(bytes, length - 4 - 15)
    parts.push(Buffer.from(bytes))
  })
  parts.push(lengths(input.length - last, 0), input.subarray(last))
  return Buffer.concat(parts)
}

function rest(bytes: number[], length: number): void {
  let left = length
  for (; left >= 255; left -= 255) bytes.push(255)
  bytes.push(left)
}

/** Writes what a block without a frame holds to `out` from `start`; where it ends. Throws on damaged data. */
export function unpackBlock(input: Buffer, out: Buffer, start: number): number {
  let at = 0
  let end = start
  const long = (length: number): number => {
    if (length < 15) return length
    let sum = length
    for (;;) {
      const byte = input[at++]
      if (byte === undefined) throw new Error('compressed data is damaged: it is too short')
      sum += byte
      if (byte < 255) return sum
    }
  }
  while (at < input.length) {
    const token = input[at++] as number
    const literals = long(token >> 4)
    if (at + literals > input.length || end + literals > out.length)
      throw new Error('compressed data is damaged: literals are out of range')
    input.copy(out, end, at, at + literals)
    at += literals
    end += literals
    if (at >= input.length) break
    const distance = input.readUInt16LE(at)
    at += 2
    const length = long(token & 15) + 4
    copyWithin(out, end, distance, length)
    end += length
  }
  return end
}

/** xxHash32 with seed 0 of fewer than 16 bytes: the frame header is no longer. */
function xxh32(bytes: Buffer): number {
  const [p1, p2, p3, p5] = [2654435761, 2246822519, 3266489917, 374761393]
  let hash = (p5 + bytes.length) | 0
  for (const byte of bytes) {
    hash = (hash + Math.imul(byte, p5)) | 0
    hash = Math.imul((hash << 11) | (hash >>> 21), p1)
  }
  hash = Math.imul(hash ^ (hash >>> 15), p2)
  hash = Math.imul(hash ^ (hash >>> 13), p3)
  return (hash ^ (hash >>> 16)) >>> 0
}
