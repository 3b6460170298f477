import { randomBytes } from 'node:crypto'
import { type Document, Uuid } from './bson.ts'

/** A session as servers know it: numbers of its transactions and retryable writes only grow. */
export interface ServerSession {
  id: Uuid
  number: bigint
  /** `performance.now()` of its last use. */
  used: number
}

/** Sessions kept for later; servers forget those that nobody uses. */
const KEPT = 1000
/** One that the server is about to forget is not used again, milliseconds. */
const EARLIER = 60_000

/** Sessions in use are as many as operations; those used last are used first. */
export class Sessions {
  readonly #free: ServerSession[] = []

  /** `lives`: milliseconds after which servers forget one. */
  take(lives: number): ServerSession {
    const now = performance.now()
    const found = this.#free.pop()
    if (found && now - found.used < lives - EARLIER) {
      found.used = now
      return found
    }
    // Those below were used even earlier.
    this.#free.length = 0
    const bytes = randomBytes(16)
    bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40
    bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
    return { id: new Uuid(bytes), number: 0n, used: now }
  }

  give(session: ServerSession): void {
    if (this.#free.length < KEPT) this.#free.push(session)
  }

  /** All that are kept, to tell the server that it can forget them. */
  end(): Document[] {
    return this.#free.splice(0).map(({ id }) => ({ id }))
  }
}
