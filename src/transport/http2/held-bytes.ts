import { pieceOf } from '../pieces.ts'

/** Bytes that are worth a piece of their own; shorter ones are put together. */
const LONG = 2048
/** The most that short ones are put together to. */
const TOGETHER = 16_384

/** Bytes that wait for their reader, in memory of at most about twice their size however small the pieces were. */
export class HeldBytes {
  readonly #pieces: Buffer[] = []
  /** Memory for short ones, of which `#used` bytes are the last piece. */
  #open: Buffer | undefined
  #used = 0
  size = 0

  push(chunk: Buffer): void {
    const { length } = chunk
    this.size += length
    if (length >= LONG) {
      this.#open = undefined
      this.#used = 0
      this.#pieces.push(pieceOf(chunk))
    } else if (this.#open && this.#used + length <= this.#open.length) {
      chunk.copy(this.#open, this.#used)
      this.#used += length
      this.#pieces[this.#pieces.length - 1] = this.#open.subarray(0, this.#used)
    } else {
      // Twice what the last ones took: one alone, as the end of a message is, takes no more than it needs.
      const open = Buffer.allocUnsafe(Math.max(length, Math.min(TOGETHER, this.#used * 2)))
      chunk.copy(open)
      this.#open = open
      this.#used = length
      this.#pieces.push(open.subarray(0, length))
    }
  }

  /** Takes the next bytes out; there must be some. Nobody else has their memory. */
  take(): Buffer {
    const piece = this.#pieces.shift() as Buffer
    if (this.#pieces.length === 0) {
      this.#open = undefined
      this.#used = 0
    }
    this.size -= piece.length
    return piece
  }
}
