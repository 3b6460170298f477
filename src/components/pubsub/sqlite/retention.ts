import type { Logger } from '../../../telemetry/log.ts'
import type { Statements } from './schema.ts'
import type { Writer } from './writer.ts'

/** Messages looked at in one transaction. */
const STEP = 500
/** Pause between sweeps while there is traffic. */
const INTERVAL = 2_000
/** A sweep for age alone, without traffic. */
const SLOW = 60_000

export interface RetentionOptions {
  /** Milliseconds. */
  age: number
  /** Bytes of data and metadata per topic. */
  size: number
}

/**
 * Keeps the history bounded. From the oldest on, per topic, it removes what every group has handled, what is older than
 * `age`, and what exceeds `size`, the last two whether handled or not (with a warning): a group that never comes
 * back must not fill the disk.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #statements: Statements
  readonly #writer: Writer
  readonly #log: Logger
  readonly #touched = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #deadline = 0
  #stopped = false

  constructor(options: RetentionOptions, parts: { statements: Statements; writer: Writer; log: Logger }) {
    this.#options = options
    this.#statements = parts.statements
    this.#writer = parts.writer
    this.#log = parts.log
    this.#arm(SLOW)
  }

  /** There was traffic on this topic. */
  touch(topic: string): void {
    this.#touched.add(topic)
    if (this.#deadline > Date.now() + INTERVAL) this.#arm(INTERVAL)
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #arm(delay: number): void {
    clearTimeout(this.#timer)
    this.#deadline = Date.now() + delay
    this.#timer = setTimeout(() => void this.sweep().catch((error: Error) => this.#log.warn(`retention: ${error.message}`)), delay)
    this.#timer.unref()
  }

  /** Removes all that may go, a step at a time; without traffic looks at every topic. */
  async sweep(): Promise<void> {
    const topics =
      this.#touched.size > 0 ? [...this.#touched] : (this.#statements.topics.all() as { topic: string }[]).map((row) => row.topic)
    this.#touched.clear()
    try {
      for (const topic of topics) {
        while (!this.#stopped && this.#step(topic, true) > 0) await this.#writer.write(() => this.#step(topic, false))
      }
    } finally {
      if (!this.#stopped) this.#arm(this.#touched.size > 0 ? INTERVAL : SLOW)
    }
  }

  #step(topic: string, look: boolean): number {
    const handled = (this.#statements.handledUpTo.get(topic) as { low: number | null }).low ?? 0
    const tooOld = Date.now() - this.#options.age
    let bytes = (this.#statements.bytes.get(topic) as { bytes: number } | undefined)?.bytes ?? 0
    let removed = 0
    let unhandled = 0
    let freed = 0
    let upTo = 0
    for (const row of this.#statements.oldest.all(topic, look ? 1 : STEP) as { id: number; size: number; published_at: number }[]) {
      if (row.id > handled && row.published_at >= tooOld && bytes <= this.#options.size) break
      if (row.id > handled) unhandled++
      removed++
      freed += row.size
      bytes -= row.size
      upTo = row.id
    }
    if (removed === 0 || look) return removed
    this.#statements.removeUpTo.run(topic, upTo)
    this.#statements.addBytes.run(topic, -freed)
    if (unhandled > 0)
      this.#log.warn(`topic ${topic}: removed ${unhandled} messages that not every group had handled (retentionAge or retentionSize)`)
    return removed
  }
}
