import { pause } from '../../../waiting.ts'

/** Turns that may be saved up while nobody takes one. */
const SLACK = 10

/** So many turns a second; a few at once after a pause. */
export class Limiter {
  readonly #interval: number
  #next = 0

  /** 0 a second: no limit. */
  constructor(perSecond: number) {
    this.#interval = perSecond > 0 ? 1000 / perSecond : 0
  }

  async take(signal: AbortSignal): Promise<void> {
    if (this.#interval === 0) return
    const now = Date.now()
    this.#next = Math.max(this.#next, now - SLACK * this.#interval) + this.#interval
    if (this.#next > now) await pause(this.#next - now, signal)
  }
}
