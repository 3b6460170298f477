import { type PartitionBytes, produce } from './calls.ts'
import type { Cluster } from './cluster.ts'
import { type Compression, codecOf, loadCodec } from './compression.ts'
import { ClosedError, isPassing, KafkaError, UnreachableError } from './errors.ts'
import { type Item, nextBatches } from './next-batches.ts'
import { encodeBatch, type OutRecord, sizeOf } from './records.ts'

export interface ProducerOptions {
  /** -1 all replicas in sync, 1 the leader, 0 none. */
  acks: number
  compression: Compression
  /** Largest batch, bytes. */
  maxMessageBytes: number
  /** How often a message is sent again. */
  retries: number
  /** Limit from publish to answer, milliseconds. */
  timeout: number
  /** How often topics are looked at for new partitions, milliseconds. */
  refreshInterval: number
}

/** What waits while no broker answers, at most; more is refused at once. */
const MOST_BYTES = 64 * 2 ** 20
const MOST_RECORDS = 100_000
const RETRY = 100
const MOST_RETRY = 1000
/** Least time for one request, connecting included; a publish may take that much longer than its limit. */
const LEAST_TRY = 1000

/**
 * Sends records in batches: what was published while one request to a broker was under way goes out with the next one.
 * One request at a time for each broker keeps the order of a partition, also when one is sent again.
 */
export class Producer {
  readonly #cluster: Cluster
  readonly #options: ProducerOptions
  readonly #busy = new Set<number>()
  #waiting: Item[] = []
  #bytes = 0
  #count = 0
  #scheduled = false
  #failures = 0
  #pause: NodeJS.Timeout | undefined
  #sweep: NodeJS.Timeout | undefined
  #looking = false
  #closed = false
  #cutOff = false
  #idle: (() => void) | undefined

  constructor(cluster: Cluster, options: ProducerOptions) {
    this.#cluster = cluster
    this.#options = options
  }

  /** Resolves when the broker has it. `partition` undefined: by the record's key. */
  publish(topic: string, record: OutRecord, partition?: number): Promise<void> {
    if (this.#closed) return Promise.reject(new ClosedError())
    const size = sizeOf(record)
    const { maxMessageBytes } = this.#options
    const bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0)
    if (bytes > maxMessageBytes)
      return Promise.reject(
        new Error(`a message of ${bytes} bytes is larger than maxMessageBytes ${maxMessageBytes}: raise it here and at the broker`),
      )
    if (this.#count >= MOST_RECORDS || (this.#count > 0 && this.#bytes + size > MOST_BYTES))
      return Promise.reject(new UnreachableError(`${this.#count} messages (${this.#bytes >> 20} MiB) wait for a broker already`))
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#count++
    this.#bytes += size
    const done = () => {
      this.#count--
      this.#bytes -= size
      if (this.#count === 0) this.#idle?.()
    }
    this.#waiting.push({
      topic,
      partition: partition ?? -1,
      record,
      size,
      until: Date.now() + this.#options.timeout,
      tries: 0,
      problem: undefined,
      resolve: () => {
        done()
        resolve()
      },
      reject: (error) => {
        done()
        reject(error)
      },
    })
    this.#schedule()
    return promise
  }

  #schedule(): void {
    if (this.#scheduled || this.#pause !== undefined) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#drain()
    })
  }

  /** Sends to every broker that has no request under way what it leads. */
  #drain(): void {
    this.#expire()
    const { maxMessageBytes, refreshInterval } = this.#options
    const { batches, left, unknown, aged } = nextBatches(this.#waiting, {
      topic: (name) => this.#cluster.topic(name),
      busy: this.#busy,
      most: maxMessageBytes,
      agedBefore: Date.now() - refreshInterval,
    })
    this.#waiting = left
    for (const [leader, parts] of batches) void this.#send(leader, parts)
    if (unknown.size > 0) void this.#look([...unknown])
    // Nobody waits for it; when it fails the next publish asks again.
    if (aged.size > 0) this.#cluster.refresh([...aged]).catch(() => {})
  }

  async #look(topics: readonly string[]): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      await this.#cluster.refresh(topics)
      this.#schedule()
    } catch (error) {
      const concerned = new Set(topics.filter((topic) => this.#cluster.topic(topic) === undefined))
      if (isPassing(error))
        this.#retryLater(
          this.#waiting.filter((item) => concerned.has(item.topic)),
          error,
        )
      else {
        const failed = this.#waiting.filter((item) => concerned.has(item.topic))
        this.#waiting = this.#waiting.filter((item) => !concerned.has(item.topic))
        for (const item of failed) item.reject(error)
        this.#schedule()
      }
    } finally {
      this.#looking = false
    }
  }

  async #send(leader: number, parts: readonly Item[][]): Promise<void> {
    this.#busy.add(leader)
    const again: Item[] = []
    let problem: unknown
    try {
      for (const items of parts) for (const item of items) item.tries++
      const first = (parts[0] as Item[])[0] as Item
      // The oldest may be about to expire; the others behind it need a try that can succeed, or none ever does under load.
      const limit = Math.max(Math.min(LEAST_TRY, this.#options.timeout), first.until - Date.now())
      const codecNumber = codecOf(this.#options.compression)
      if (codecNumber !== 0) await loadCodec(codecNumber)
      const now = Date.now()
      const batches: PartitionBytes[] = parts.map((items) => ({
        topic: (items[0] as Item).topic,
        partition: (items[0] as Item).partition,
        batch: encodeBatch(
          items.map(({ record }) => record),
          codecNumber,
          now,
        ),
      }))
      const connection = await this.#cluster.connection(leader, 'produce', limit)
      const { acks } = this.#options
      const request = produce(acks, Math.min(limit, 30_000), batches)
      if (acks === 0) {
        connection.tell(request)
        for (const items of parts) for (const item of items) item.resolve()
        return
      }
      const answers = new Map(
        (await connection.call(request, limit)).map(({ topic, partition, error }) => [`${partition} ${topic}`, error]),
      )
      for (const items of parts) {
        const { partition, topic } = items[0] as Item
        const code = answers.get(`${partition} ${topic}`) ?? -1
        if (code === 0) for (const item of items) item.resolve()
        else {
          const error = new KafkaError(code)
          if (isPassing(error)) {
            if (error.kind === 'stale') this.#cluster.forget([topic])
            problem = error
            again.push(...items)
          } else this.#refused(items, error, again)
        }
      }
      if (problem === undefined) this.#failures = 0
    } catch (error) {
      const items = parts.flat()
      if (isPassing(error)) {
        problem = error
        again.push(...items)
        this.#cluster.forget(new Set(items.map(({ topic }) => topic)))
      } else for (const item of items) item.reject(error)
    } finally {
      this.#busy.delete(leader)
      this.#waiting = [...again, ...this.#waiting]
      if (problem !== undefined) this.#retryLater(again, problem)
      else this.#schedule()
    }
  }

  /** A batch is refused as a whole for one record in it: alone, each gets its own answer. */
  #refused(items: readonly Item[], error: KafkaError, again: Item[]): void {
    if (items.length === 1 || (error.code !== 10 && error.code !== 18 && error.code !== 87)) {
      for (const item of items) item.reject(error)
      return
    }
    // As large as a whole batch, so that nothing joins it.
    for (const item of items) item.size = this.#options.maxMessageBytes
    again.push(...items)
  }

  #retryLater(items: readonly Item[], error: unknown): void {
    for (const item of items) item.problem = error
    const late = new Set(this.#cutOff ? this.#waiting : items.filter((item) => item.tries > this.#options.retries))
    if (late.size > 0) {
      this.#waiting = this.#waiting.filter((item) => !late.has(item))
      for (const item of late) item.reject(error)
    }
    if (this.#pause !== undefined || this.#waiting.length === 0) return
    const wait = Math.min(RETRY * 2 ** Math.min(this.#failures++, 10), MOST_RETRY)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#drain()
    }, wait)
  }

  /** Rejects what has waited too long, and looks again when the next one may have. */
  #expire(): void {
    clearTimeout(this.#sweep)
    this.#sweep = undefined
    const now = Date.now()
    if (this.#waiting.some((item) => item.until <= now)) {
      const late = this.#waiting.filter((item) => item.until <= now)
      this.#waiting = this.#waiting.filter((item) => item.until > now)
      for (const item of late)
        item.reject(item.problem ?? new UnreachableError(`no broker took the message within ${this.#options.timeout} ms`))
    }
    const first = this.#waiting[0]
    if (first && !this.#cutOff) this.#sweep = setTimeout(() => this.#expire(), Math.max(10, first.until - now))
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
    this.#cutOff = true
    clearTimeout(this.#pause)
    clearTimeout(this.#sweep)
    const error = new ClosedError()
    for (const item of this.#waiting.splice(0)) item.reject(error)
  }
}
