import type { RedisClient } from '../../redis/client.ts'
import { isAlive, ownIdentity, type ProcessIdentity } from '../process-life.ts'

/** Consumer names of ours carry this mark; of other consumers (daprd's own) nothing is known but their idle time. */
const MARK = '@outrider-'
const PREFIX = 'outrider:pubsub:lease:'
const LEASE = 9000

/** A name for this component in a group, told apart from every other one. Its subscriptions append `#` and a number. */
export function consumerName(group: string, unique: string): string {
  return `${group}${MARK}${unique}`
}

/** Where a subscription that ends puts what it has not handled; nobody holds a lease for it, so it is free at once. */
export function leftName(consumer: string): string {
  return `${consumer}-left`
}

/**
 * Which consumers live. Each of ours keeps a key of 9 s that holds its process; when the key or (on the same machine)
 * the process is gone, so is the consumer, and its pending messages may be taken without waiting for a timeout.
 */
export class Leases {
  readonly #connection: RedisClient
  readonly #name: string
  readonly #value = JSON.stringify(ownIdentity())

  constructor(connection: RedisClient, name: string) {
    this.#connection = connection
    this.#name = name
  }

  /** Milliseconds between two refreshes. */
  static readonly interval = LEASE / 3

  async refresh(): Promise<void> {
    await this.#connection.call('SET', PREFIX + this.#name, this.#value, 'PX', LEASE)
  }

  async release(): Promise<void> {
    await this.#connection.call('DEL', PREFIX + this.#name)
  }

  /** True only when it is certain. */
  async isGone(consumer: string): Promise<boolean> {
    if (!consumer.includes(MARK)) return false
    const hash = consumer.lastIndexOf('#')
    if (consumer.indexOf('-left', hash) > 0) return true
    const value = (await this.#connection.call('GET', PREFIX + (hash < 0 ? consumer : consumer.slice(0, hash)))) as string | null
    if (value === null) return true
    try {
      return isAlive(JSON.parse(value) as ProcessIdentity) === false
    } catch {
      return false
    }
  }
}
