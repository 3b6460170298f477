/** Bytes that wait for their reader, in memory of at most twice their size however small the pieces were. */
export class HeldBytes {
  size = 0
  #bytes: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): void {
    const size = this.size + chunk.length
    if (size > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, this.size * 2))
      this.#bytes.copy(larger, 0, 0, this.size)
      this.#bytes = larger
    }
    chunk.copy(this.#bytes, this.size)
    this.size = size
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.size)
  }
}
