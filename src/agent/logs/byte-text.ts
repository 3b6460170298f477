import { allocated } from '../../transport/outside-heap.ts'

/**
 * Text that is put together as bytes. Put together as one string, a batch would be in V8's old space, which is collected seldom:
 * a pipeline under load then takes three times the memory.
 */
export class ByteText {
  #bytes: Buffer
  #at: number
  readonly #start: number

  /** `start`: bytes in front that are left free. */
  constructor(start = 0) {
    this.#bytes = Buffer.allocUnsafe(65_536)
    this.#start = start
    this.#at = start
  }

  get length(): number {
    return this.#at - this.#start
  }

  add(text: string): this {
    // A UTF-16 unit takes up to three bytes.
    const most = this.#at + text.length * 3
    if (most > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, most))
      this.#bytes.copy(larger, 0, 0, this.#at)
      this.#bytes = larger
    }
    this.#at += this.#bytes.write(text, this.#at)
    return this
  }

  /** A copy, the free bytes in front included; empty from then on. */
  take(): Buffer {
    const out = Buffer.allocUnsafeSlow(this.#at)
    allocated(out.length)
    this.#bytes.copy(out, 0, 0, this.#at)
    this.#at = this.#start
    // What one great event took is not kept.
    if (this.#bytes.length > 8 << 20) this.#bytes = Buffer.allocUnsafe(65_536)
    return out
  }
}
