import { copyWithin, findMatches } from './lz-match.ts'

const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])

/** Snappy's raw block format (google/snappy format_description.txt). */
export function snappyCompress(input: Buffer): Buffer {
  const out: number[] = []
  for (let rest = input.length; ; rest = Math.floor(rest / 128)) {
    if (rest < 0x80) {
      out.push(rest)
      break
    }
    out.push((rest % 128) | 0x80)
  }
  const parts: Buffer[] = [Buffer.from(out)]
  const literals = (from: number, to: number) => {
    const length = to - from
    if (length === 0) return
    const header = length <= 60 ? Buffer.from([(length - 1) << 2]) : Buffer.alloc(5)
    if (length > 60) {
      header[0] = 63 << 2
      header.writeUInt32LE(length - 1, 1)
    }
    parts.push(header, input.subarray(from, to))
  }
  const last = findMatches(input, 0, 65535, ({ literal, at, distance, length }) => {
    literals(literal, at)
    for (let left = length; left > 0; left -= 64) {
      const size = Math.min(left, 64)
      parts.push(Buffer.from([((size - 1) << 2) | 2, distance & 0xff, distance >> 8]))
    }
  })
  literals(last, input.length)
  return Buffer.concat(parts)
}

/** One raw block, or the chunks of the Xerial framing that Java's clients write. Throws on damaged data and above `most` bytes. */
export function snappyDecompress(input: Buffer, most: number): Buffer {
  if (!input.subarray(0, 8).equals(XERIAL)) return block(input, most)
  const parts: Buffer[] = []
  let size = 0
  for (let at = 16; at < input.length; ) {
    const length = input.readUInt32BE(at)
    const part = block(input.subarray(at + 4, at + 4 + length), most - size)
    parts.push(part)
    size += part.length
    at += 4 + length
  }
  return Buffer.concat(parts)
}

function block(input: Buffer, most: number): Buffer {
  let size = 0
  let at = 0
  for (let factor = 1; ; factor *= 128) {
    const byte = input[at++]
    if (byte === undefined || at > 5) throw new Error('compressed data is damaged: no length')
    size += (byte & 0x7f) * factor
    if (byte < 0x80) break
  }
  if (size > most) throw new Error(`compressed data holds ${size} bytes, at most ${most} are taken`)
  const out = Buffer.allocUnsafe(size)
  let end = 0
  while (at < input.length) {
    const tag = input[at++] as number
    const kind = tag & 3
    if (kind === 0) {
      let length = (tag >> 2) + 1
      if (length > 60) {
        const width = length - 60
        length = input.readUIntLE(at, width) + 1
        at += width
      }
      if (at + length > input.length || end + length > size) throw new Error('compressed data is damaged: literals are out of range')
      input.copy(out, end, at, at + length)
      at += length
      end += length
      continue
    }
    let length = (tag >> 2) + 1
    let distance: number
    if (kind === 1) {
      length = ((tag >> 2) & 7) + 4
      distance = ((tag & 0xe0) << 3) | (input[at++] as number)
    } else {
      const width = kind === 2 ? 2 : 4
      distance = input.readUIntLE(at, width)
      at += width
    }
    copyWithin(out, end, distance, length)
    end += length
  }
  if (end !== size) throw new Error('compressed data is damaged: it is too short')
  return out
}
