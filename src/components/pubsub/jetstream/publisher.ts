import { createInbox, headers, type Msg, type Subscription } from '@nats-io/transport-node'
import { messageOf } from '../../../errors.ts'
import type { NatsLink } from '../../nats/link.ts'
import { NoRoomError } from '../../no-room.ts'

/** What waits for the server at most; beyond it a publish fails at once, so that memory stays flat. */
const MOST_WAITING = 20_000
const MOST_WAITING_BYTES = 64 * 2 ** 20
/** What a waiting message costs beside its content. */
const OVERHEAD = 512
const SWEEP = 100

/** JetStream's error codes for no room: of an account, of the server's memory and disk, and of a stream (discard: new). */
const FULL = new Set([10002, 10023, 10028, 10047, 10077])

/** The connection went away, or no stream answers yet: the message may or may not be in. */
class Again extends Error {}

interface Pending {
  subject: string
  until: number
  size: number
  resolve(): void
  reject(error: Error): void
}

/**
 * Publishes to streams and waits for their acknowledgement. All answers come to one subscription: no timer and no
 * subscription for each message. Sends again, within the limit, what a lost connection left without an answer.
 */
export class StreamPublisher {
  readonly #link: NatsLink
  readonly #limit: number
  readonly #pending = new Map<number, Pending>()
  #answers: Subscription | undefined
  #inbox = ''
  #last = 0
  #waiting = 0
  #waitingBytes = 0
  /** Bytes given up but perhaps still in the connection's buffers; they go with its next sign of life. */
  #stuckBytes = 0
  #sweep: NodeJS.Timeout | undefined

  constructor(link: NatsLink, limit: number) {
    this.#link = link
    this.#limit = limit
    link.onDown(() => {
      this.#stuckBytes = 0
      for (const [id, pending] of this.#pending) {
        this.#pending.delete(id)
        pending.reject(new Again('the connection was lost'))
      }
    })
  }

  /** `id`: what the stream knows a message by that it already has (Nats-Msg-Id). */
  async publish(subject: string, data: Buffer, id: string | undefined, signal?: AbortSignal): Promise<void> {
    const size = data.length + OVERHEAD
    if (this.#waiting >= MOST_WAITING || this.#waitingBytes + this.#stuckBytes + size > MOST_WAITING_BYTES + OVERHEAD)
      throw this.#failed(`${this.#waiting} messages wait for NATS at ${this.#address} already; publish more slowly until it answers`)
    this.#waiting++
    this.#waitingBytes += size
    try {
      const until = Date.now() + this.#limit
      let reason: string | undefined
      for (;;) {
        signal?.throwIfAborted()
        if (this.#link.ended) throw this.#failed('it is closed')
        const { obstacle } = this.#link
        try {
          if (obstacle === undefined) return await this.#send(subject, data, id, until, size)
        } catch (error) {
          // What it was before says more than that the last try took too long.
          if (!(error instanceof Again)) throw reason === undefined || Date.now() < until ? error : this.#failed(reason)
          reason = error.message
          if (Date.now() >= until) throw this.#failed(reason)
          await this.#link.change(Math.min(50, until - Date.now()), signal)
          continue
        }
        if (Date.now() >= until) throw this.#failed(`${obstacle}; gave up after ${this.#limit} ms, try again when the server is back`)
        await this.#link.change(until - Date.now(), signal)
      }
    } finally {
      this.#waiting--
      this.#waitingBytes -= size
    }
  }

  get #address(): string {
    return this.#link.settings.address
  }

  #send(subject: string, data: Buffer, id: string | undefined, until: number, size: number): Promise<void> {
    const { connection } = this.#link
    if (this.#answers === undefined) {
      this.#inbox = createInbox()
      this.#answers = connection.subscribe(`${this.#inbox}.*`, { callback: (_error, message) => this.#answered(message) })
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const key = ++this.#last
    this.#pending.set(key, { subject, until, size, resolve, reject })
    this.#sweep ??= setInterval(() => this.#giveUp(), SWEEP)
    this.#link.soon(() => {
      // The connection was lost meanwhile: it is sent again under another key.
      if (!this.#pending.has(key)) return
      try {
        const reply = `${this.#inbox}.${key}`
        if (id === undefined) connection.publish(subject, data, { reply })
        else {
          const given = headers()
          given.set('Nats-Msg-Id', id)
          connection.publish(subject, data, { reply, headers: given })
        }
      } catch (error) {
        this.#pending.delete(key)
        reject(this.#failed(`the message cannot be sent to ${subject}: ${messageOf(error)}`))
      }
    })
    return promise
  }

  #answered(message: Msg): void {
    this.#stuckBytes = 0
    const key = Number(message.subject.slice(this.#inbox.length + 1))
    const pending = this.#pending.get(key)
    if (pending === undefined) return
    this.#pending.delete(key)
    if (message.headers?.code === 503) {
      // Right after a restart streams are not there yet.
      pending.reject(new Again(`no JetStream stream of NATS at ${this.#address} takes subject ${pending.subject}: create one that does`))
      return
    }
    const answer = parse(message)
    if (answer.error === undefined && answer.stream) pending.resolve()
    else if (FULL.has(answer.error?.err_code ?? 0)) pending.reject(this.#full(pending.subject, answer.error?.description))
    else
      pending.reject(
        this.#failed(`NATS at ${this.#address} refused the message: ${answer.error?.description ?? 'the answer is not that of a stream'}`),
      )
  }

  #giveUp(): void {
    const now = Date.now()
    for (const [key, pending] of this.#pending) {
      if (pending.until > now) continue
      this.#pending.delete(key)
      this.#stuckBytes += pending.size
      pending.reject(
        this.#failed(
          `NATS at ${this.#address} has not acknowledged the message within ${this.#limit} ms; it may have arrived nevertheless, try again when the server answers`,
        ),
      )
    }
    if (this.#pending.size === 0) this.#stop()
  }

  #stop(): void {
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }

  #full(subject: string, reason = ''): Error {
    const { component } = this.#link.settings
    return new NoRoomError(
      `${component}: NATS at ${this.#address} has no room for ${subject}: ${reason} (raise the limits of the stream or of the server, purge the stream, or let it discard old messages; it is used again at once)`,
    )
  }

  #failed(why: string): Error {
    return new Error(`${this.#link.settings.component}: ${why}`)
  }

  /** Waits until every message that was sent is acknowledged or given up. */
  async settle(): Promise<void> {
    while (this.#pending.size > 0 && this.#link.obstacle === undefined) await this.#link.change(SWEEP)
    this.#stop()
  }
}

function parse(message: Msg): { stream?: string; error?: { description?: string; err_code?: number } } {
  try {
    return message.json()
  } catch {
    return {}
  }
}
