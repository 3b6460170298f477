import { messageOf } from '../../../errors.ts'
import { pause } from '../../../waiting.ts'
import type { Connection } from './connection.ts'
import { AmqpError } from './errors.ts'
import { Requests } from './requests.ts'
import type { TokenSource } from './types.ts'

/** A token is renewed when this part of its life is over, and at the latest so many milliseconds before its end. */
const PART = 0.75
const MARGIN = 5 * 60_000
/** Between tries to renew, milliseconds. */
const AGAIN = 10_000
/** Limit for one request to `$cbs`, milliseconds. */
const LIMIT = 30_000

/** Claims-based security on one connection: a token for each audience, renewed as long as the connection lives. Audiences are as many as entities. */
export class Cbs {
  readonly #connection: Connection
  readonly #tokens: TokenSource
  readonly #warn: (text: string) => void
  readonly #granted = new Map<string, Promise<void>>()
  readonly #over = new AbortController()
  #requests: Promise<Requests> | undefined

  constructor(connection: Connection, tokens: TokenSource, warn: (text: string) => void) {
    this.#connection = connection
    this.#tokens = tokens
    this.#warn = warn
    void connection.ended.then((error) => this.#over.abort(error))
  }

  /** Resolves when the peer has a token for the audience. Rejects with what the token source says, or with the peer's AmqpError. */
  async authorise(audience: string): Promise<void> {
    let granted = this.#granted.get(audience)
    if (!granted) {
      granted = this.#put(audience).then((expires) => void this.#renew(audience, expires))
      this.#granted.set(audience, granted)
      granted.catch(() => this.#granted.delete(audience))
    }
    await granted
  }

  async #put(audience: string): Promise<number> {
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(LIMIT)])
    const { token, type, expires } = await this.#tokens(audience, signal)
    const requests = await this.#open(signal)
    try {
      await requests.call({ value: token, applicationProperties: { operation: 'put-token', type, name: audience } }, signal)
    } catch (error) {
      if (!(error instanceof AmqpError)) throw error
      const condition = error.status === 401 ? 'amqp:unauthorized-access' : error.status === 404 ? 'amqp:not-found' : error.condition
      throw new AmqpError(condition, `${this.#connection.address} refuses the token for ${audience}: ${error.message}`, {}, error.status)
    }
    return expires
  }

  #open(signal: AbortSignal): Promise<Requests> {
    this.#requests ??= (async () => {
      const requests = new Requests(this.#connection.session(), '$cbs')
      await requests.open(signal)
      void requests.closed.then(() => {
        this.#requests = undefined
      })
      return requests
    })()
    this.#requests.catch(() => {
      this.#requests = undefined
    })
    return this.#requests
  }

  async #renew(audience: string, first: number): Promise<void> {
    const { signal } = this.#over
    let expires = first
    while (!signal.aborted) {
      const left = expires - Date.now()
      // Timers take 31 bits.
      await pause(Math.min(Math.max(1000, left * PART, left - MARGIN), 2 ** 31 - 1), signal)
      for (;;) {
        if (signal.aborted) return
        try {
          expires = await this.#put(audience)
          break
        } catch (error) {
          if (signal.aborted) return
          this.#warn(`the token for ${audience} is not renewed, again in ${AGAIN / 1000} s: ${messageOf(error)}`)
          await pause(AGAIN, signal)
        }
      }
    }
  }
}
