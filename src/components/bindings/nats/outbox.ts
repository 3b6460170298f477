import { errors, type Msg, type MsgHdrs } from '@nats-io/transport-node'
import { messageOf } from '../../../errors.ts'
import { orAborted } from '../../../waiting.ts'
import type { NatsLink } from '../../nats/link.ts'

/** What waits for the server at most; beyond it output fails at once, so that memory stays flat. */
const MOST_WAITING = 20_000
const MOST_WAITING_BYTES = 64 * 2 ** 20
/** What a waiting message costs beside its content. */
const OVERHEAD = 512

export interface Outgoing {
  subject: string
  data: Buffer
  headers?: MsgHdrs | undefined
  reply?: string | undefined
}

/** Nothing was written: the connection was gone by then. */
class NotSent extends Error {}

/** Nothing came in time. */
class LateError extends Error {}

interface Wait {
  /** Milliseconds at most, and when they are over. */
  limit: number
  until: number
  signal: AbortSignal | undefined
}

interface Write {
  subject: string
  write(): void
  resolve(): void
  reject(error: Error): void
}

/**
 * Publishes and asks. All messages of a turn of the event loop share one round trip, whose answer says that the server has them;
 * what it complains of comes before that answer. A message whose connection is lost in between is not sent again: it may have arrived.
 */
export class Outbox {
  readonly #link: NatsLink
  readonly #turns = new Set<Write[]>()
  #turn: Write[] = []
  #waiting = 0
  #waitingBytes = 0

  constructor(link: NatsLink) {
    this.#link = link
    link.onError((error) => {
      if (!(error instanceof errors.PermissionViolationError) || error.operation !== 'publish') return
      for (const turn of this.#turns)
        for (const { subject, reject } of turn) if (subject === error.subject) reject(this.#failed(this.#refusal(subject)))
    })
  }

  /** Resolves when the server has the message; waits for it `limit` milliseconds at most. */
  async publish(message: Outgoing, limit: number, signal?: AbortSignal): Promise<void> {
    const { subject, data, headers, reply } = message
    const wait = { limit, until: Date.now() + limit, signal }
    const publish = () => this.#link.connection.publish(subject, data, { ...(headers ? { headers } : {}), ...(reply ? { reply } : {}) })
    const late = `NATS at ${this.#address} has not taken the message for ${subject} within ${limit} ms; it may have arrived nevertheless, try again when the server answers`
    await this.#send(message, wait, publish, (sent) => this.#before(sent, wait, late))
  }

  /** The first answer; waits `limit` milliseconds at most for server and answer together. */
  async request(message: Outgoing, limit: number, signal?: AbortSignal): Promise<Msg> {
    const { subject, data, headers } = message
    const wait = { limit, until: Date.now() + limit, signal }
    let reply: Promise<Msg> | undefined
    const ask = () => {
      const timeout = Math.max(1, wait.until - Date.now())
      reply = this.#link.connection.request(subject, data, { timeout, ...(headers ? { headers } : {}) })
      reply.catch(() => {})
    }
    const late = `nobody has answered the request to ${subject} within ${limit} ms; it may have been handled nevertheless: give it a longer timeout, or see to who reads the subject`
    return this.#send(message, wait, ask, async (sent) => {
      await this.#before(sent, wait, late)
      try {
        return await this.#before(reply as Promise<Msg>, wait, late)
      } catch (error) {
        if (caused(error, errors.NoRespondersError))
          throw this.#failed(`nobody reads ${subject} at NATS at ${this.#address}: start what answers it, or correct the subject`, error)
        if (caused(error, errors.PermissionViolationError)) throw this.#failed(this.#refusal(subject), error)
        const { obstacle } = this.#link
        if (error instanceof LateError || caused(error, errors.TimeoutError))
          throw this.#failed(obstacle === undefined ? late : `${obstacle}; ${late}`)
        throw this.#failed(`the request to ${subject} failed: ${messageOf(error)}`, error)
      }
    })
  }

  get #address(): string {
    return this.#link.settings.address
  }

  #refusal(subject: string): string {
    return `NATS at ${this.#address} does not let this login publish to ${subject}: allow it in the permissions of the user, or log in as another`
  }

  #failed(why: string, cause?: unknown): Error {
    return new Error(`${this.#link.settings.component}: ${why}`, { cause })
  }

  /** Holds a place among what waits, gets the connection, and writes; again when it was lost before anything was written. */
  async #send<T>({ subject, data }: Outgoing, wait: Wait, write: () => void, then: (sent: Promise<void>) => Promise<T>): Promise<T> {
    const size = data.length + OVERHEAD
    if (this.#waiting >= MOST_WAITING || this.#waitingBytes + size > MOST_WAITING_BYTES + OVERHEAD)
      throw this.#failed(`${this.#waiting} messages wait for NATS at ${this.#address} already; send more slowly until it answers`)
    this.#waiting++
    this.#waitingBytes += size
    const free = () => {
      this.#waiting--
      this.#waitingBytes -= size
    }
    let sent: Promise<void> | undefined
    try {
      for (;;) {
        await this.#connected(wait)
        sent = this.#write(subject, write)
        try {
          return await then(sent)
        } catch (error) {
          if (!(error instanceof NotSent)) throw error
        }
      }
    } finally {
      // What a server that hangs was sent stays in the connection's memory, whoever still waits for it.
      if (sent) sent.then(free, free)
      else free()
    }
  }

  async #connected({ limit, until, signal }: Wait): Promise<void> {
    for (;;) {
      signal?.throwIfAborted()
      if (this.#link.ended) throw this.#failed('it is closed')
      const { obstacle } = this.#link
      if (obstacle === undefined) return
      if (Date.now() >= until) throw this.#failed(`${obstacle}; gave up after ${limit} ms, try again when the server is back`)
      await this.#link.change(until - Date.now(), signal)
    }
  }

  #write(subject: string, write: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    if (this.#turn.push({ subject, write, resolve, reject }) === 1) this.#link.soon(() => void this.#flush(this.#turn.splice(0)))
    return promise
  }

  async #flush(turn: Write[]): Promise<void> {
    if (this.#link.obstacle !== undefined) {
      for (const { reject } of turn) reject(new NotSent())
      return
    }
    for (const { write, reject } of turn) {
      try {
        write()
      } catch (error) {
        reject(this.#failed(`the message cannot be sent: ${messageOf(error)}`, error))
      }
    }
    this.#turns.add(turn)
    try {
      await this.#link.connection.flush()
      // A complaint that came before the answer is told a few promises later.
      await new Promise((resolve) => setImmediate(resolve))
      for (const { resolve } of turn) resolve()
    } catch {
      const lost = `the connection to NATS at ${this.#address} was lost before the server said that it has the message; it may have arrived nevertheless, send it again if it may come twice`
      for (const { reject } of turn) reject(this.#failed(lost))
    } finally {
      this.#turns.delete(turn)
    }
  }

  async #before<T>(work: Promise<T>, { until, signal }: Wait, late: string): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new LateError(`${this.#link.settings.component}: ${late}`)), Math.max(0, until - Date.now()))
    const first = Promise.race([work, promise])
    first.catch(() => {})
    try {
      return await (signal ? orAborted(first, signal) : first)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Whether an error, or what caused it, is of this kind. */
function caused(error: unknown, kind: abstract new (...given: never[]) => Error): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if ((at as object) instanceof kind) return true
  return false
}
