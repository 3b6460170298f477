import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Claim } from '../partitions/claim.ts'
import { type Fetched, fetch } from './calls.ts'
import type { Cluster } from './cluster.ts'
import type { Connection } from './connection.ts'
import { KafkaError } from './errors.ts'
import { decodeBatches } from './records.ts'

export interface FetchOptions {
  minBytes: number
  partitionBytes: number
}

export interface FetchHooks {
  /** The claims that this broker leads. */
  claims(): Claim[]
  /** So much lies in memory already, over all partitions, that nothing more is to be fetched for a moment. */
  full(): boolean
  /** The broker does not answer, or does not lead what we thought. */
  moved(topics: Iterable<string>): void
  /** The group's position is not in the partition any more. */
  outOfRange(claim: Claim): void
}

/** One answer of a broker carries at most so much, and waits at most so long for it. */
const MOST_BYTES = 8 * 2 ** 20
const WAIT = 500
/** While a partition has enough, so that it is asked for again soon when it has not. */
const SHORT_WAIT = 50
const RETRY = 100
const MOST_RETRY = 1000

/** Fetches from one broker, one request after the other, what its claims have room for. */
export class Fetcher {
  readonly id: number
  readonly #cluster: Cluster
  readonly #options: FetchOptions
  readonly #hooks: FetchHooks
  readonly #log: Logger
  #ended = false
  #turn = 0
  #failures = 0
  #connection: Connection | undefined
  #wake: (() => void) | undefined
  #asked: ReadonlySet<Claim> = new Set()

  constructor(id: number, cluster: Cluster, options: FetchOptions, hooks: FetchHooks, log: Logger) {
    this.id = id
    this.#cluster = cluster
    this.#options = options
    this.#hooks = hooks
    this.#log = log
  }

  start(): void {
    void this.#run()
  }

  wake(): void {
    this.#wake?.()
  }

  /** Asks anew when there are claims that the request under way does not name: it may wait for half a second. */
  renew(): void {
    if (this.#connection && this.#hooks.claims().some((claim) => !this.#asked.has(claim))) this.#connection.close()
    this.wake()
  }

  end(): void {
    this.#ended = true
    this.#connection?.close()
    this.wake()
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      const claims = this.#hooks.claims()
      const hungry = claims.filter((claim) => claim.hungry)
      if (hungry.length === 0 || this.#hooks.full()) {
        await this.#rest(hungry.length === 0 ? undefined : SHORT_WAIT)
        continue
      }
      this.#asked = new Set(claims)
      try {
        await this.#fetch(hungry, hungry.length < claims.length ? SHORT_WAIT : WAIT)
        this.#failures = 0
      } catch (error) {
        if (this.#ended) return
        // Closed by us to ask anew.
        if (this.#hooks.claims().some((claim) => !this.#asked.has(claim))) continue
        this.#log.debug(`broker ${this.id}: cannot fetch: ${messageOf(error)}`)
        this.#hooks.moved(new Set(hungry.map(({ topic }) => topic)))
        await this.#rest(Math.min(MOST_RETRY, RETRY * 2 ** Math.min(this.#failures++, 10)))
      }
    }
  }

  async #fetch(claims: readonly Claim[], maxWait: number): Promise<void> {
    const { minBytes, partitionBytes } = this.#options
    const connection = await this.#cluster.connection(this.id, 'fetch')
    if (this.#ended) return
    // Each partition comes first in its turn: the first one gets its bytes even when the others use up the answer.
    const first = this.#turn++ % claims.length
    const order = [...claims.slice(first), ...claims.slice(0, first)]
    const wishes = order.map(({ topic, partition, next }) => ({ topic, partition, offset: next }))
    const limits = { maxWait, minBytes, maxBytes: MOST_BYTES, partitionBytes }
    this.#connection = connection
    const parts = await connection.call(fetch(limits, wishes), maxWait + this.#cluster.options.requestTimeout).finally(() => {
      this.#connection = undefined
    })
    const byKey = new Map(order.map((claim) => [`${claim.partition} ${claim.topic}`, claim]))
    let problem: KafkaError | undefined
    for (const part of parts) {
      const claim = byKey.get(`${part.partition} ${part.topic}`)
      if (claim) problem = (await this.#take(claim, part)) ?? problem
    }
    if (problem) throw problem
  }

  async #take(claim: Claim, { topic, partition, error, bytes }: Fetched): Promise<KafkaError | undefined> {
    if (error === 1) this.#hooks.outOfRange(claim)
    else if (error !== 0) return new KafkaError(error, `partition ${partition} of topic ${topic} cannot be read`)
    else if (bytes.length > 0) {
      const { records, next } = await decodeBatches(bytes, claim.next)
      claim.accept(records, next)
    }
    return undefined
  }

  #rest(limit?: number): Promise<void> {
    if (this.#ended) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = limit === undefined ? undefined : setTimeout(resolve, limit)
    this.#wake = resolve
    return promise.finally(() => {
      clearTimeout(timer)
      this.#wake = undefined
    })
  }
}
