import { randomBytes } from 'node:crypto'

export interface Session {
  /** What the provider has to send back. */
  state?: string
  /** Where the caller wanted to go. */
  target?: string
  /** The header's value once the caller is known. */
  header?: string
}

/** Sessions kept at once; the one unused longest goes, and its caller is sent to the provider again. */
const KEPT = 10_000
/** Milliseconds without a request. */
const IDLE = 2 * 3_600_000

/** Sessions by the random id in a caller's cookie, in memory. */
export class Sessions {
  readonly #sessions = new Map<string, { session: Session; until: number; idle: number }>()

  /** `now` in milliseconds. */
  find(id: string | undefined, now: number): Session | undefined {
    const found = id === undefined ? undefined : this.#sessions.get(id)
    if (!found || id === undefined) return undefined
    this.#sessions.delete(id)
    if (now >= found.until || now >= found.idle) return undefined
    found.idle = now + IDLE
    this.#sessions.set(id, found)
    return found.session
  }

  /** Returns the id. @param lifetime milliseconds at most */
  begin(session: Session, now: number, lifetime = Number.POSITIVE_INFINITY): string {
    const id = randomBytes(32).toString('base64url')
    this.#sessions.set(id, { session, until: now + lifetime, idle: now + IDLE })
    if (this.#sessions.size > KEPT) this.#sessions.delete(this.#sessions.keys().next().value as string)
    return id
  }

  end(id: string | undefined): void {
    if (id !== undefined) this.#sessions.delete(id)
  }
}
