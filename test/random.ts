/** mulberry32: small, and the same everywhere for one seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 up to, not including, `below`. */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }

  /** Mostly small, now and then around a power of two. */
  size(max: number): number {
    if (this.int(3) > 0) return Math.min(max, this.int(20))
    return Math.min(max, Math.max(0, 2 ** this.int(Math.ceil(Math.log2(max + 1)) + 1) + this.int(3) - 1))
  }

  bytes(length: number): Buffer {
    const out = Buffer.alloc(length)
    for (let index = 0; index < length; index++) out[index] = this.int(256)
    return out
  }

  text(): string {
    const alphabet = ['a', 'B', '0', ' ', '%', '\0', 'ü', '日', '😀', '\ufffd', '\ud7ff']
    return Array.from({ length: this.size(300) }, () => alphabet[this.int(alphabet.length)]).join('')
  }

  /** The same bytes with something wrong somewhere. */
  mutate(bytes: Buffer): Buffer {
    let out = Buffer.from(bytes)
    for (let count = 1 + this.int(4); count > 0; count--) {
      const at = this.int(out.length + 1)
      switch (this.int(5)) {
        case 0:
          if (at < out.length) out[at] = this.int(256)
          break
        case 1:
          if (at < out.length) out[at] = (out[at] as number) ^ (1 << this.int(8))
          break
        case 2:
          out = out.subarray(0, at)
          break
        case 3:
          out = Buffer.concat([out.subarray(0, at), this.bytes(1 + this.int(12)), out.subarray(at)])
          break
        default:
          out = Buffer.concat([out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + this.int(12)))])
      }
    }
    return out
  }

  /** The bytes in pieces, some of them empty. */
  split(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = []
    const most = 1 + this.size(bytes.length + 1)
    for (let at = 0; at < bytes.length; ) {
      const length = this.int(most + 1)
      pieces.push(bytes.subarray(at, at + length))
      at += length
    }
    return pieces
  }
}
