import { randomUUID } from 'node:crypto'
import { AmqpError } from './errors.ts'
import { Receiver } from './receiver.ts'
import { Sender } from './sender.ts'
import type { Session } from './session.ts'
import type { AmqpMessage, AmqpReply, AmqpRequests } from './types.ts'

/** Answers that may be under way; further requests wait for the peer's credit. */
const CREDIT = 100

interface Pending {
  resolve(reply: AmqpReply): void
  reject(error: Error): void
}

/** See AmqpRequests. */
export class Requests implements AmqpRequests {
  readonly #session: Session
  readonly #sender: Sender
  readonly #receiver: Receiver
  readonly #reply: string
  readonly #pending = new Map<string, Pending>()

  constructor(session: Session, address: string) {
    this.#session = session
    this.#reply = `${address}-${randomUUID()}`
    this.#sender = new Sender(session, address, {}, this.#reply)
    const onMessage = ({ message }: { message: AmqpMessage }) => this.#answer(message)
    this.#receiver = new Receiver(session, address, { credit: CREDIT, settle: 'first', presettled: true, onMessage }, this.#reply)
    void this.#receiver.closed.then((error) => this.#fail(error))
  }

  get usable(): boolean {
    return this.#sender.usable && this.#receiver.usable
  }

  get closed(): Promise<Error> {
    return this.#receiver.closed
  }

  async open(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#sender.open(signal), this.#receiver.open(signal)])
  }

  async call(message: AmqpMessage, signal: AbortSignal): Promise<AmqpReply> {
    signal.throwIfAborted()
    if (!this.usable) throw await this.closed
    const messageId = randomUUID()
    const { promise, resolve, reject } = Promise.withResolvers<AmqpReply>()
    const aborted = () => reject(signal.reason)
    signal.addEventListener('abort', aborted, { once: true })
    this.#pending.set(messageId, { resolve, reject })
    try {
      const properties = { ...message.properties, messageId, replyTo: this.#reply }
      const sending = this.#sender.send({ ...message, properties }, signal)
      sending.catch(reject)
      return await promise
    } finally {
      this.#pending.delete(messageId)
      signal.removeEventListener('abort', aborted)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#sender[Symbol.asyncDispose](), this.#receiver[Symbol.asyncDispose]()])
    this.#session.end()
  }

  #answer(message: AmqpMessage): void {
    this.#receiver.grant(1)
    const pending = this.#pending.get(message.properties?.correlationId ?? '')
    if (!pending) return
    const said = message.applicationProperties ?? {}
    const status = Number(said.statusCode ?? said['status-code'] ?? 0)
    const description = String(said.statusDescription ?? said['status-description'] ?? '')
    if (status >= 200 && status < 300) return pending.resolve({ status, description, message })
    const condition = String(said.errorCondition ?? said['error-condition'] ?? `amqp:status-${status}`)
    pending.reject(new AmqpError(condition, description || condition, said, status))
  }

  #fail(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}
