import { isAlive, ownIdentity, type ProcessIdentity } from '../process-life.ts'
import type { Statements } from './schema.ts'
import type { Writer } from './writer.ts'

interface ConsumerRow extends ProcessIdentity {
  id: string
  seen_at: number
}

/** How often others on this machine are looked at, while there are any. */
const LOOK = 500

/**
 * Who of the processes on this file consumes. Each has a row that it refreshes; a row whose process is gone (seen at
 * once on the same machine) or silent for `leaseTimeout` is removed, and what it was handling goes back to its group.
 */
export class Membership {
  readonly #id: string
  readonly #leaseTimeout: number
  readonly #statements: Statements
  readonly #writer: Writer
  readonly #onTick: () => void
  readonly #identity = ownIdentity()
  #timer: NodeJS.Timeout | undefined
  #deadline = 0
  #refreshed = 0
  #looked = 0

  constructor(parts: { id: string; leaseTimeout: number; statements: Statements; writer: Writer; onTick: () => void }) {
    this.#id = parts.id
    this.#leaseTimeout = parts.leaseTimeout
    this.#statements = parts.statements
    this.#writer = parts.writer
    this.#onTick = parts.onTick
  }

  /** Enters us and clears away whoever is gone. Once is enough. */
  async join(): Promise<void> {
    if (this.#refreshed > 0) return
    this.#refreshed = Date.now()
    await this.#writer.write(() => {
      this.#putSelf()
      for (const gone of this.#gone()) this.#statements.removeConsumer.run(gone)
      this.#statements.releaseOrphans.run()
    }, true)
    this.#looked = Date.now()
    this.#armNext()
  }

  /** Another process may have come: look soon. */
  notice(): void {
    if (this.#refreshed > 0 && this.#deadline > Date.now() + LOOK) this.#arm(LOOK)
  }

  #armNext(): void {
    const alone = this.#others().length === 0
    this.#arm(alone ? this.#leaseTimeout / 3 : Math.min(LOOK, this.#leaseTimeout / 3))
  }

  #arm(delay: number): void {
    clearTimeout(this.#timer)
    this.#deadline = Date.now() + delay
    this.#timer = setTimeout(() => this.#tick(), delay)
    this.#timer.unref()
  }

  async leave(): Promise<void> {
    clearTimeout(this.#timer)
    if (this.#refreshed === 0) return
    this.#refreshed = 0
    await this.#writer.write(() => {
      this.#statements.removeConsumer.run(this.#id)
      this.#statements.releaseOrphans.run()
    }, true)
  }

  #tick(): void {
    const now = Date.now()
    // After a sleep of the whole machine everybody looks silent: refresh first, judge at the next look.
    const overslept = now - this.#looked > this.#leaseTimeout * 0.8
    this.#looked = now
    if (now - this.#refreshed >= this.#leaseTimeout / 3 - LOOK) {
      this.#refreshed = now
      this.#writer.add({ run: () => this.#putSelf() })
    }
    if (!overslept && this.#gone().length > 0) {
      this.#writer.add({
        run: () => {
          for (const gone of this.#gone()) this.#statements.removeConsumer.run(gone)
          this.#statements.releaseOrphans.run()
        },
        rings: true,
      })
    }
    this.#onTick()
    this.#armNext()
  }

  #putSelf(): void {
    this.#statements.putConsumer.run(this.#id, this.#identity.place, this.#identity.pid, this.#identity.started, Date.now())
  }

  #others(): ConsumerRow[] {
    return this.#statements.otherConsumers.all(this.#id) as unknown as ConsumerRow[]
  }

  #gone(): string[] {
    const oldest = Date.now() - this.#leaseTimeout
    return this.#others()
      .filter((other) => isAlive(other) === false || other.seen_at < oldest)
      .map((other) => other.id)
  }
}
