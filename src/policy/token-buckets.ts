/** Keys that are kept; the one unused longest goes, and begins anew when it comes back. */
const KEPT = 10_000

/** Token buckets by key: each holds `burst` tokens and gets `rate` of them a second. */
export class Buckets {
  readonly #rate: number
  readonly #burst: number
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  constructor(rate: number, burst: number) {
    this.#rate = rate
    this.#burst = burst
  }

  /** Takes one token; false: there is none. `now` in milliseconds. */
  take(key: string, now: number): boolean {
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, at: now }
    bucket.tokens = Math.min(this.#burst, bucket.tokens + ((now - bucket.at) / 1000) * this.#rate)
    bucket.at = now
    this.#buckets.delete(key)
    this.#buckets.set(key, bucket)
    if (this.#buckets.size > KEPT) this.#buckets.delete(this.#buckets.keys().next().value as string)
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }

  /** Milliseconds until a key that has just been refused has a token again. */
  wait(key: string): number {
    return Math.ceil(((1 - (this.#buckets.get(key)?.tokens ?? 1)) / this.#rate) * 1000)
  }
}
