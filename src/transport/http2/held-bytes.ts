import { allocated } from '../outside-heap.ts'

const NOTHING: Buffer = Buffer.alloc(0)

/** Bytes that wait for their reader, in memory of at most about twice their size however small the pieces were. */
export class HeldBytes {
  #bytes: Buffer = NOTHING
  #start = 0
  #end = 0

  get size(): number {
    return this.#end - this.#start
  }

  push(chunk: Buffer): void {
    if (this.#end + chunk.length > this.#bytes.length) {
      const { size } = this
      // What was taken is still in use, so it is left where it is.
      const larger = Buffer.allocUnsafeSlow(Math.max(size + chunk.length, size * 2))
      allocated(larger.length)
      this.#bytes.copy(larger, 0, this.#start, this.#end)
      this.#bytes = larger
      this.#start = 0
      this.#end = size
    }
    chunk.copy(this.#bytes, this.#end)
    this.#end += chunk.length
  }

  /** Takes the next bytes out, at most `most`. */
  take(most: number): Buffer {
    const from = this.#start
    this.#start = Math.min(this.#end, from + most)
    const taken = this.#bytes.subarray(from, this.#start)
    if (this.#start === this.#end) {
      this.#bytes = NOTHING
      this.#start = 0
      this.#end = 0
    }
    return taken
  }
}
