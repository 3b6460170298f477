import { allocated } from './outside-heap.ts'

/** 64 KiB, as much as is read at once, and what a message puts around it; less than what the allocator maps by itself. */
const SLAB = 65_536 + 256
/** Shorter pieces come from Node's own pool. */
const SHORTEST = 2048
/** Slabs that wait to be used again; further ones are left to the garbage collection. */
const MOST_FREE = 64

interface Slab {
  readonly memory: Buffer
  used: number
  /** Pieces of it that somebody has. */
  pieces: number
}

const slabs = new WeakMap<ArrayBufferLike, Slab>()
const free: Slab[] = []
let current: Slab | undefined

/**
 * Memory for one piece of a stream on its way through. Whoever has it last and alone gives it back with `giveBack`, and the next
 * pieces are written there: a stream needs no more memory than what of it is under way. One that is not given back
 * is collected like any other Buffer.
 */
export function pieceOfLength(length: number): Buffer {
  if (length < SHORTEST) return Buffer.allocUnsafe(length)
  if (length > SLAB) {
    allocated(length)
    return Buffer.allocUnsafeSlow(length)
  }
  if (!current || current.used + length > SLAB) current = free.pop() ?? freshSlab()
  const from = current.used
  current.used += length
  current.pieces++
  return current.memory.subarray(from, current.used)
}

/** Bytes of memory that is used again, copied into a piece. */
export function pieceOf(bytes: Uint8Array): Buffer {
  const piece = pieceOfLength(bytes.length)
  piece.set(bytes)
  return piece
}

/** Whether `giveBack` does anything for these bytes; false for a short view too, which is not worth it. */
export function isPiece(bytes: Buffer): boolean {
  return bytes.length >= SHORTEST && slabs.has(bytes.buffer)
}

/** Nobody looks at the piece any more of which these bytes are: a view of it will do, but only one, once. Nothing happens to other bytes. */
export function giveBack(bytes: Buffer): void {
  const slab = slabs.get(bytes.buffer)
  if (!slab || slab.pieces === 0 || --slab.pieces > 0) return
  slab.used = 0
  if (slab !== current && free.length < MOST_FREE) free.push(slab)
}

/** Keeps no memory for pieces to come, for none do. */
export function dropFreePieces(): void {
  free.length = 0
  if (current?.pieces === 0) current = undefined
}

function freshSlab(): Slab {
  allocated(SLAB)
  const slab = { memory: Buffer.allocUnsafeSlow(SLAB), used: 0, pieces: 0 }
  slabs.set(slab.memory.buffer, slab)
  return slab
}
