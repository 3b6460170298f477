import { backoff } from '../pubsub/running.ts'
import type { Cluster } from './cluster.ts'
import { isPassing, UnreachableError } from './errors.ts'
import type { OutMessage } from './hot.ts'
import { type Item, PartitionProducer, type ProducerOptions } from './partition-producer.ts'

/** What waits for a broker per topic, at most; more is refused at once. */
const MOST_BYTES = 64 * 2 ** 20
const MOST_MESSAGES = 100_000
/** Settled messages that may stand between those that wait. */
const KEPT = 1000
const RETRY = 50
const MOST_RETRY = 1000
/** How often a partitioned topic is looked at for new partitions, milliseconds. */
const REFRESH = 60_000

/** Publishes to one topic: by key, or in turn, to its partitions. */
export class TopicProducer {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #options: ProducerOptions
  #partitions: PartitionProducer[] | undefined
  #partitioned = false
  #looked = 0
  #looking = false
  #unrouted: Item[] = []
  #turn = 0
  #turnSize = 0
  #problem: unknown
  #bytes = 0
  #queue: Item[] = []
  #count = 0
  #sweep: NodeJS.Timeout | undefined
  #idle: (() => void) | undefined
  #closed = false

  constructor(cluster: Cluster, topic: string, options: ProducerOptions) {
    this.#cluster = cluster
    this.#topic = topic
    this.#options = options
  }

  /** Messages without a receipt. */
  get count(): number {
    return this.#count
  }

  /** Resolves with the broker's receipt. */
  publish(message: OutMessage): Promise<void> {
    if (this.#closed) return Promise.reject(new UnreachableError('the Pulsar component is closed'))
    const size = message.payload.length
    if (this.#count >= MOST_MESSAGES || (this.#count > 0 && this.#bytes + size > MOST_BYTES))
      return Promise.reject(new UnreachableError(`${this.#count} messages (${this.#bytes >> 20} MiB) wait for a broker already`))
    return new Promise((resolve, reject) => {
      const done = () => {
        if (item.settled) return false
        item.settled = true
        this.#bytes -= size
        if (--this.#count === 0) this.#rest()
        return true
      }
      const item: Item = {
        message,
        size,
        until: Date.now() + this.#options.timeout,
        settled: false,
        resolve: () => void (done() && resolve()),
        reject: (error) => void (done() && reject(error)),
      }
      this.#count++
      this.#bytes += size
      this.#watch(item)
      if (this.#partitions === undefined) {
        this.#unrouted.push(item)
        void this.#look()
      } else this.#route(item, this.#partitions)
    })
  }

  #route(item: Item, partitions: readonly PartitionProducer[]): void {
    const partition = partitions[this.#choose(item.message, partitions.length)] as PartitionProducer
    const problem = partition.tooLarge(item)
    if (problem) return item.reject(problem)
    partition.add(item)
    if (this.#partitioned && Date.now() - this.#looked > REFRESH) void this.#look()
  }

  #choose({ key, payload }: OutMessage, partitions: number): number {
    if (partitions === 1) return 0
    if (key) return hash(key) % partitions
    // One after the other, a batch each: neighbours go out together.
    const { batching, batchMessages, batchBytes } = this.#options
    this.#turnSize += Math.max(payload.length, batchBytes / batchMessages)
    if (!batching || this.#turnSize > batchBytes) {
      this.#turn = (this.#turn + 1) % partitions
      this.#turnSize = 0
    }
    return this.#turn % partitions
  }

  /** Asks for the partitions until somebody answers or nobody waits for it. */
  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        this.#apply(await this.#cluster.partitions(this.#topic))
        break
      } catch (error) {
        this.#problem = error
        this.#looked = Date.now()
        if (this.#partitions !== undefined) break
        if (!isPassing(error)) for (const item of this.#unrouted) item.reject(error)
        this.#unrouted = this.#unrouted.filter((item) => !item.settled)
        if (this.#unrouted.length === 0) break
        await new Promise((resolve) => setTimeout(resolve, backoff(attempt, RETRY, MOST_RETRY)))
      }
    }
    this.#looking = false
  }

  #apply(count: number): void {
    this.#looked = Date.now()
    this.#problem = undefined
    this.#partitioned = count > 0
    const partitions = this.#partitions ?? []
    if (count === 0 && partitions.length === 0) partitions.push(new PartitionProducer(this.#cluster, this.#topic, this.#options))
    for (let index = partitions.length; index < count; index++)
      partitions.push(new PartitionProducer(this.#cluster, `${this.#topic}-partition-${index}`, this.#options))
    this.#partitions = partitions
    for (const item of this.#unrouted.splice(0)) if (!item.settled) this.#route(item, partitions)
  }

  /** One timer for all that wait: all have the same limit, so the first comes first. */
  #watch(item: Item): void {
    if (this.#queue.length > KEPT && this.#queue.length > this.#count * 2) this.#queue = this.#queue.filter(({ settled }) => !settled)
    this.#queue.push(item)
    this.#sweep ??= setTimeout(() => this.#expire(), this.#options.timeout)
  }

  #expire(): void {
    this.#sweep = undefined
    const now = Date.now()
    const { timeout } = this.#options
    let gone = 0
    for (const item of this.#queue) {
      if (!item.settled) {
        if (item.until > now) break
        const why = this.#problem ?? this.#partitions?.map(({ problem }) => problem).find(Boolean)
        item.reject(
          why ?? new UnreachableError(`the broker has not acknowledged the message within ${timeout} ms; it may have arrived nevertheless`),
        )
      }
      gone++
    }
    this.#queue.splice(0, gone)
    const next = this.#queue[0]
    if (next) this.#sweep = setTimeout(() => this.#expire(), Math.max(10, next.until - now))
  }

  #rest(): void {
    clearTimeout(this.#sweep)
    this.#sweep = undefined
    this.#queue = []
    this.#idle?.()
  }

  /** Takes no more; gives what is under way `grace` milliseconds and refuses the rest. */
  async close(grace: number): Promise<void> {
    this.#closed = true
    if (this.#count > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#idle = resolve
      const timer = setTimeout(resolve, grace)
      await promise
      clearTimeout(timer)
    }
    for (const item of this.#unrouted.splice(0)) item.reject(new UnreachableError('the Pulsar component is closed'))
    for (const partition of this.#partitions ?? []) partition.close()
  }
}

/** Java's hash of a string over its bytes, as other clients choose partitions. */
export function hash(key: string): number {
  let value = 0
  for (const byte of Buffer.from(key)) value = (Math.imul(31, value) + byte) >>> 0
  return value
}
