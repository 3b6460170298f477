import type { AmqpClient } from '../amqp/client.ts'
import type { AmqpReceiver, AmqpRequests } from '../amqp/types.ts'
import { uuids } from '../amqp/values.ts'

/** Renewals of locks of one entity, over one pair of links that is opened when it is needed. */
export class Locks {
  readonly #client: AmqpClient
  readonly #entity: string
  readonly #timeout: number
  #requests: Promise<AmqpRequests> | undefined

  constructor(client: AmqpClient, entity: string, timeout: number) {
    this.#client = client
    this.#entity = entity
    this.#timeout = timeout
  }

  /** Of one message. Rejects with AmqpError when its lock is lost. */
  async message(token: Buffer, receiver: AmqpReceiver): Promise<void> {
    await this.#call('com.microsoft:renew-lock', { 'lock-tokens': uuids([token]) }, receiver)
  }

  async session(id: string, receiver: AmqpReceiver): Promise<void> {
    await this.#call('com.microsoft:renew-session-lock', { 'session-id': id }, receiver)
  }

  async #call(operation: string, value: Record<string, unknown>, receiver: AmqpReceiver): Promise<void> {
    const signal = AbortSignal.timeout(this.#timeout)
    const requests = await this.#open(signal)
    await requests.call({ value, applicationProperties: { operation, 'associated-link-name': receiver.name } }, signal)
  }

  async #open(signal: AbortSignal): Promise<AmqpRequests> {
    const known = await this.#requests?.catch(() => undefined)
    if (known?.usable) return known
    const opening = this.#client.requests(`${this.#entity}/$management`, {}, signal)
    this.#requests = opening
    return opening
  }
}
