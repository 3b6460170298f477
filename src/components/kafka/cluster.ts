import { messageOf } from '../../errors.ts'
import { type BrokerAddress, type Call, metadata } from './calls.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { ClosedError, KafkaError, UnreachableError } from './errors.ts'
import { findCoordinator } from './group-calls.ts'

export interface ClusterOptions extends ConnectionOptions {
  /** Where to ask first. */
  seeds: readonly { host: string; port: number }[]
  /** Limit for one answer, milliseconds. */
  requestTimeout: number
}

/** What a connection is for. A fetch that waits for messages holds up what is behind it, so the kinds do not share. */
export type Purpose = 'ask' | 'produce' | 'group' | 'fetch'

export interface Topic {
  /** Leader by partition; -1 while there is none. */
  leaders: number[]
  at: number
}

/** The brokers of one cluster: who leads which partition, and connections to them. */
export class Cluster {
  readonly options: ClusterOptions
  readonly #brokers = new Map<number, BrokerAddress>()
  readonly #topics = new Map<string, Topic>()
  readonly #connections = new Map<string, Promise<Connection>>()
  readonly #open = new Set<Connection>()
  readonly #asking = new Map<string, Promise<void>>()
  readonly #closing = new AbortController()

  constructor(options: ClusterOptions) {
    this.options = options
  }

  /** What is known of a topic, if anything. */
  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /** Forgets where the partitions of these topics are led. */
  forget(topics: Iterable<string>): void {
    for (const topic of topics) this.#topics.delete(topic)
  }

  /** Asks for these topics anew. Rejects when no broker answers, or with the KafkaError of the first topic that has one. */
  async refresh(topics: readonly string[]): Promise<void> {
    const names = [...new Set(topics)].sort()
    const key = names.join('\n')
    let asking = this.#asking.get(key)
    if (asking === undefined) {
      asking = this.#refresh(names).finally(() => this.#asking.delete(key))
      this.#asking.set(key, asking)
    }
    return asking
  }

  async #refresh(names: readonly string[]): Promise<void> {
    const { brokers, topics } = await this.ask(metadata(names))
    for (const broker of brokers) this.#brokers.set(broker.id, broker)
    let problem: KafkaError | undefined
    for (const { name, error, partitions } of topics) {
      if (error !== 0) {
        this.#topics.delete(name)
        problem ??= new KafkaError(
          error,
          error === 17 || error === 29
            ? ''
            : `topic ${name} ${error === 3 ? 'does not exist and the broker does not make it' : 'has no leader yet'}`,
        )
        continue
      }
      const leaders: number[] = []
      for (const { index, leader } of partitions) leaders[index] = leader
      this.#topics.set(name, { leaders, at: Date.now() })
    }
    if (problem) throw problem
  }

  /** Asks whichever broker answers: those already connected first, then all that are known. */
  async ask<T>(call: Call<T>, timeout = this.options.requestTimeout): Promise<T> {
    const until = Date.now() + timeout
    const left = () => Math.max(1, until - Date.now())
    const known = [...this.options.seeds, ...this.#brokers.values()]
    const addresses = [...new Map(known.map((address) => [`${address.host}:${address.port}`, address])).values()]
    addresses.sort((a, b) => Number(this.#connections.has(keyOf(b, 'ask'))) - Number(this.#connections.has(keyOf(a, 'ask'))))
    const failures: UnreachableError[] = []
    for (const [index, address] of addresses.entries()) {
      // Each one that is left gets its share of the time, so that one which hangs does not use it all up.
      const share = left() / (addresses.length - index)
      try {
        const connection = await this.#connect(address, 'ask', share)
        return await connection.call(call, share)
      } catch (error) {
        if (this.#closing.signal.aborted || !(error instanceof UnreachableError)) throw error
        failures.push(error)
      }
      if (Date.now() >= until) break
    }
    if (failures.length === 1) throw failures[0]
    const none = new UnreachableError(`none of ${failures.length} brokers answers: ${failures.map(messageOf).join('; ')}`)
    none.next = failures.find(({ next }) => next)?.next
    throw none
  }

  /** A connection to a broker that is known from metadata. */
  async connection(id: number, purpose: Purpose, timeout = this.options.dialTimeout): Promise<Connection> {
    const broker = this.#brokers.get(id)
    if (broker === undefined) throw new UnreachableError(`broker ${id} is not known`)
    return this.#connect(broker, purpose, timeout)
  }

  /** The broker that keeps a consumer group. */
  async coordinator(group: string): Promise<BrokerAddress> {
    const { error, message, broker } = await this.ask(findCoordinator(group))
    if (error !== 0) throw new KafkaError(error, message ?? '')
    this.#brokers.set(broker.id, broker)
    return broker
  }

  async #connect(address: { host: string; port: number }, purpose: Purpose, timeout: number): Promise<Connection> {
    if (this.#closing.signal.aborted) throw new ClosedError()
    const key = keyOf(address, purpose)
    const existing = this.#connections.get(key)
    if (existing) {
      const connection = await existing
      if (connection.usable) return connection
      if (this.#connections.get(key) === existing) this.#connections.delete(key)
      if (connection.busy === 0) connection.close()
      return this.#connect(address, purpose, timeout)
    }
    const options = { ...this.options, dialTimeout: Math.min(timeout, this.options.dialTimeout) }
    const opening: Promise<Connection> = Connection.open(address.host, address.port, options, this.#closing.signal, () => {
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
      for (const connection of this.#open) if (!connection.usable) this.#open.delete(connection)
    })
    this.#connections.set(key, opening)
    try {
      const connection = await opening
      if (this.#closing.signal.aborted) {
        connection.close()
        throw new ClosedError()
      }
      this.#open.add(connection)
      return connection
    } catch (error) {
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
      throw error
    }
  }

  close(): void {
    this.#closing.abort()
    for (const connection of this.#open) connection.close()
    this.#open.clear()
    this.#connections.clear()
  }
}

function keyOf(address: { host: string; port: number }, purpose: Purpose): string {
  return `${address.host}:${address.port} ${purpose}`
}
