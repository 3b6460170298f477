import { seal } from '../transport/grpc/frames.ts'
import { pieceOfLength } from '../transport/pieces.ts'

/**
 * A later message of either direction, framed: InternalInvoke{Request,Response}Stream with nothing but field 2, a StreamPayload of
 * data (1) and seq (2). Bodies are made of these: the data are copied once, into a piece that whoever sends it gives back.
 */
export function encodePayload(data: Uint8Array, seq: number): Buffer {
  const { length } = data
  const size = (length > 0 ? 1 + varintSize(length) + length : 0) + (seq > 0 ? 1 + varintSize(seq) : 0)
  const out = pieceOfLength(6 + varintSize(size) + size)
  out[5] = 0x12
  let at = writeVarint(out, 6, size)
  if (length > 0) {
    out[at] = 0x0a
    at = writeVarint(out, at + 1, length)
    out.set(data, at)
    at += length
  }
  if (seq > 0) {
    out[at] = 0x10
    writeVarint(out, at + 1, seq)
  }
  return seal(out)
}

function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size++
  return size
}

function writeVarint(out: Buffer, from: number, value: number): number {
  let at = from
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) out[at++] = (rest % 128) | 128
  out[at++] = rest
  return at
}
