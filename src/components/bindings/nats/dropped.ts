import type { Logger } from '../../../telemetry/log.ts'

/** Between two warnings, milliseconds. */
const PAUSE = 10_000

/** Counts what is dropped and warns of it: at once, then every 10 s how many more. */
export class Dropped {
  readonly #log: Logger
  readonly #what: string
  #count = 0
  #timer: NodeJS.Timeout | undefined

  constructor(log: Logger, what: string) {
    this.#log = log
    this.#what = what
  }

  add(why: string): void {
    if (this.#timer) {
      this.#count++
      return
    }
    this.#log.warn(`${this.#what}: a message was dropped: ${why}`)
    this.#timer = setTimeout(() => this.tell(), PAUSE)
    this.#timer.unref()
  }

  /** Warns of what no warning has counted. */
  tell(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#count > 0) this.#log.warn(`${this.#what}: ${this.#count} more messages were dropped since`)
    this.#count = 0
  }
}
