/** Follows gRPC's frames through a byte stream without keeping any: only the length of the message under way. */
export class FrameGauge {
  readonly #limit: number
  /** Bytes of the five-byte prefix read so far. */
  #prefix = 0
  #length = 0
  #left = 0
  /** Messages that have begun. */
  messages = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Looks at the next bytes. Returns the length of a message past the limit, otherwise undefined. */
  push(chunk: Buffer): number | undefined {
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at)
        this.#left -= step
        at += step
        continue
      }
      if (this.#prefix === 0 && chunk.length - at >= 5) {
        this.#length = chunk.readUInt32BE(at + 1)
        at += 5
      } else {
        const byte = chunk[at++] as number
        if (this.#prefix > 0) this.#length = this.#length * 256 + byte
        else this.#length = 0
        if (++this.#prefix < 5) continue
        this.#prefix = 0
      }
      this.messages++
      if (this.#length > this.#limit) return this.#length
      this.#left = this.#length
    }
    return undefined
  }
}
