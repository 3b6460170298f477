/** What both LZ77 formats (LZ4, Snappy) are made of: copies of bytes that came before, and literals between them. */
export interface Match {
  /** Where the literals before it begin, and where the copy begins. */
  literal: number
  at: number
  /** How far back the copied bytes are, and how many. */
  distance: number
  length: number
}

const MIN_MATCH = 4
const HASH_BITS = 14

/**
 * Calls `emit` for each match found greedily, with one candidate a hash. Matches end `tail` bytes before the end of the
 * input and reach back at most `window` bytes. Returns where the last literals begin.
 */
export function findMatches(input: Buffer, tail: number, window: number, emit: (match: Match) => void): number {
  const table = new Int32Array(1 << HASH_BITS).fill(-1)
  const limit = input.length - tail
  let literal = 0
  let at = 0
  while (at + MIN_MATCH <= limit) {
    const word = input.readInt32LE(at)
    const hash = Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS)
    const candidate = table[hash] as number
    table[hash] = at
    if (candidate < 0 || at - candidate > window || input.readInt32LE(candidate) !== word) {
      at++
      continue
    }
    let length = MIN_MATCH
    while (at + length < limit && input[candidate + length] === input[at + length]) length++
    emit({ literal, at, distance: at - candidate, length })
    at += length
    literal = at
  }
  return literal
}

/** Copies `length` bytes from `distance` back to `at` within `out`; the ranges may overlap, which repeats bytes. */
export function copyWithin(out: Buffer, at: number, distance: number, length: number): void {
  const from = at - distance
  if (from < 0 || distance === 0 || at + length > out.length) throw new Error('compressed data is damaged: a copy is out of range')
  if (distance >= length) out.copyWithin(at, from, from + length)
  else for (let index = 0; index < length; index++) out[at + index] = out[from + index] as number
}
