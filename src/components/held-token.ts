import { orAborted } from '../waiting.ts'

/** A bearer token and when it ends, milliseconds since 1970. */
export interface BearerToken {
  token: string
  expires: number
}

/** A token is renewed when less than this is left of it, milliseconds; and used at least so long. */
const MARGIN = 5 * 60_000
const LEAST = 30_000

/** Keeps the token that `ask` gives until shortly before its end. Those who come while it is asked for wait for the same answer. */
export class HeldToken {
  readonly #ask: () => Promise<BearerToken>
  #held: Promise<BearerToken> | undefined
  #until = Number.POSITIVE_INFINITY

  constructor(ask: () => Promise<BearerToken>) {
    this.#ask = ask
  }

  /** Rejects as `ask` does, and asks again the next time; or with the signal's reason. */
  async current(signal?: AbortSignal): Promise<string> {
    if (!this.#held || Date.now() >= this.#until) this.#renew()
    const held = this.#held as Promise<BearerToken>
    return (await (signal ? orAborted(held, signal) : held)).token
  }

  /** The service does not take the token any more: the next use asks for another. */
  drop(): void {
    this.#held = undefined
  }

  #renew(): void {
    const asking = this.#ask()
    this.#held = asking
    this.#until = Number.POSITIVE_INFINITY
    asking.then(
      ({ expires }) => {
        if (this.#held === asking) this.#until = Math.max(expires - MARGIN, Date.now() + LEAST)
      },
      () => {
        if (this.#held === asking) this.#held = undefined
      },
    )
  }
}
