import { messageOf } from '../../errors.ts'
import { LookupType, Type } from './commands.ts'
import { Connection } from './connection.ts'
import type { ConnectionOptions } from './dial.ts'
import { PulsarError, UnreachableError } from './errors.ts'
import { WebLookup } from './web-lookup.ts'

export interface ClusterOptions extends ConnectionOptions {
  /** Where to ask first. */
  seeds: readonly Address[]
  /** Where lookups go by HTTP instead. */
  web: string | undefined
  /** Which of the brokers' advertised listeners to be sent to; empty: theirs. */
  listener: string
}

export interface Address {
  host: string
  port: number
  /** The broker meant, `host:port`, when the address is a proxy's. */
  through?: string | undefined
}

/** How often a broker may send us on before that is a circle. */
const MOST_REDIRECTS = 20

/** The brokers of one cluster: who serves which topic, and connections to them. */
export class Cluster {
  readonly options: ClusterOptions
  readonly #connections = new Map<string, Promise<Connection>>()
  readonly #open = new Set<Connection>()
  readonly #closing = new AbortController()
  readonly #web: WebLookup | undefined
  #lastId = 0
  #seed = 0

  constructor(options: ClusterOptions) {
    this.options = options
    this.#web = options.web === undefined ? undefined : new WebLookup(options.web, options)
  }

  /** Resolves when somebody answers. */
  async greet(): Promise<void> {
    if (this.#web) await this.#web.greet()
    else await (await this.any()).ping()
  }

  /** Unique among the producers and consumers of this component. */
  nextId(): number {
    return ++this.#lastId
  }

  /** Aborted when the component closes. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** A connection to one of the first brokers: the ones in `host`, in turn until one answers. */
  async any(): Promise<Connection> {
    const { seeds } = this.options
    const failures: unknown[] = []
    for (let tried = 0; tried < seeds.length; tried++) {
      try {
        return await this.#connect(seeds[this.#seed % seeds.length] as Address)
      } catch (error) {
        if (this.closing.aborted || !(error instanceof UnreachableError)) throw error
        failures.push(error)
        this.#seed++
      }
    }
    if (failures.length === 1) throw failures[0]
    const none = new UnreachableError(`none of ${failures.length} brokers answers: ${failures.map(messageOf).join('; ')}`)
    none.next = failures.map((error) => (error as UnreachableError).next).find(Boolean)
    throw none
  }

  /** How many partitions a topic has; 0: it is not partitioned. */
  async partitions(topic: string): Promise<number> {
    if (this.#web) return this.#web.partitions(topic)
    const connection = await this.any()
    const { partitionsResponse } = await connection.ask((requestId) => ({ type: Type.partitions, partitions: { topic, requestId } }))
    if (partitionsResponse?.response === 1) throw new PulsarError(partitionsResponse.error, partitionsResponse.message)
    return partitionsResponse?.partitions ?? 0
  }

  /** A connection to the broker that serves this topic. */
  async serving(topic: string): Promise<Connection> {
    const { listener, tls } = this.options
    if (this.#web) return this.#connect(brokerAddress(await this.#web.serving(topic, listener), tls !== undefined))
    let connection = await this.any()
    let authoritative = false
    for (let hop = 0; hop < MOST_REDIRECTS; hop++) {
      const lookup = { topic, authoritative, ...(listener ? { listener } : {}) }
      const { lookupResponse } = await connection.ask((requestId) => ({ type: Type.lookup, lookup: { ...lookup, requestId } }))
      if (lookupResponse === undefined || lookupResponse.response === LookupType.failed)
        throw new PulsarError(lookupResponse?.error ?? 0, lookupResponse?.message ?? '')
      const url = (tls ? lookupResponse.urlTls : lookupResponse.url) || lookupResponse.url || lookupResponse.urlTls
      const address = brokerAddress(url, tls !== undefined)
      if (lookupResponse.throughProxy) {
        const seed = this.options.seeds[this.#seed % this.options.seeds.length] as Address
        connection = await this.#connect({ host: seed.host, port: seed.port, through: `${address.host}:${address.port}` })
      } else connection = await this.#connect(address)
      if (lookupResponse.response === LookupType.connect) return connection
      authoritative = lookupResponse.authoritative
    }
    throw new UnreachableError(`the brokers send us on for ${topic} more than ${MOST_REDIRECTS} times`)
  }

  async #connect(address: Address): Promise<Connection> {
    if (this.closing.aborted) throw new UnreachableError('the Pulsar component is closed')
    const key = `${address.host}:${address.port} ${address.through ?? ''}`
    const existing = this.#connections.get(key)
    if (existing) {
      const connection = await existing
      if (connection.usable) return connection
      if (this.#connections.get(key) === existing) this.#connections.delete(key)
      return this.#connect(address)
    }
    const opening: Promise<Connection> = Connection.open(address, this.options, this.closing, (ended) => {
      this.#open.delete(ended)
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
    })
    this.#connections.set(key, opening)
    try {
      const connection = await opening
      if (connection.usable) this.#open.add(connection)
      return connection
    } catch (error) {
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
      throw error
    }
  }

  close(): void {
    this.#closing.abort()
    for (const connection of this.#open) connection.close()
    void this.#web?.[Symbol.asyncDispose]()
  }
}

/** Of a URL in a lookup's answer. */
function brokerAddress(url: string, secure: boolean): Address {
  const parsed = URL.parse(url)
  if (!parsed?.hostname) throw new UnreachableError(`a broker names another one by what is no address: ${url}`)
  return { host: parsed.hostname.replace(/^\[|\]$/g, ''), port: Number(parsed.port) || (secure ? 6651 : 6650) }
}
