import { messageOf } from '../../errors.ts'
import { next, Running } from '../pubsub/running.ts'
import type { Cluster } from './cluster.ts'
import { type ConsumerOptions, type Delivery, PartitionConsumer } from './partition-consumer.ts'

export interface TopicConsumerOptions extends ConsumerOptions {
  /** Messages handled at once, over all partitions. */
  handlers: number
  /** How long running handlers may take when the subscription ends, milliseconds. */
  drainTimeout: number
}

/** How often a partitioned topic is looked at for new partitions, milliseconds. */
const REFRESH = 60_000
/** The least that a partition may send ahead, where there are many and the queue is not smaller itself. */
const LEAST_QUEUE = 100

/** One subscription to one topic, with all its partitions. */
export class TopicConsumer implements AsyncDisposable {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #options: TopicConsumerOptions
  readonly #handle: (delivery: Delivery, signal: AbortSignal) => Promise<void>
  readonly #warn: (text: string) => void
  readonly #onEnd: () => void
  readonly #running = new Running()
  readonly #ending = new AbortController()
  readonly #partitions: PartitionConsumer[] = []
  #waiting: Delivery[] = []
  #first = 0
  #refresh: NodeJS.Timeout | undefined
  #ended: Promise<void> | undefined

  constructor(
    cluster: Cluster,
    topic: string,
    options: TopicConsumerOptions,
    handle: (delivery: Delivery, signal: AbortSignal) => Promise<void>,
    warn: (text: string) => void,
    onEnd: (consumer: TopicConsumer) => void,
  ) {
    this.#cluster = cluster
    this.#topic = topic
    this.#options = options
    this.#handle = handle
    this.#warn = warn
    this.#onEnd = () => onEnd(this)
  }

  /** Resolves when messages published from now on will be delivered. */
  async start(): Promise<void> {
    const count = await this.#cluster.partitions(this.#topic)
    await this.#open(count)
    if (count === 0) return
    this.#refresh = setInterval(() => {
      this.#cluster
        .partitions(this.#topic)
        .then((now) => (now > this.#partitions.length ? this.#open(now) : undefined))
        .catch((error) => this.#warn(`cannot look for new partitions: ${messageOf(error)}`))
    }, REFRESH).unref()
  }

  async #open(count: number): Promise<void> {
    const names = count === 0 ? [this.#topic] : Array.from({ length: count }, (_, index) => `${this.#topic}-partition-${index}`)
    const { queueSize } = this.#options
    const share = Math.min(queueSize, Math.max(LEAST_QUEUE, Math.ceil(queueSize / names.length)))
    const opened = names.slice(this.#partitions.length).map((name) => {
      const accept = (delivery: Delivery) => this.#accept(delivery)
      return new PartitionConsumer(this.#cluster, name, { ...this.#options, queueSize: share }, accept, this.#warn)
    })
    this.#partitions.push(...opened)
    await Promise.all(opened.map((partition) => partition.start(this.#ending.signal)))
  }

  #accept(delivery: Delivery): void {
    this.#waiting.push(delivery)
    this.#pump()
  }

  #pump(): void {
    const { handlers } = this.#options
    while (this.#running.size < handlers && this.#first < this.#waiting.length && !this.#ending.signal.aborted) {
      const delivery = this.#waiting[this.#first++] as Delivery
      if (!delivery.partition.begin(delivery)) continue
      void this.#running.start(() => this.#deliver(delivery)).then(() => next(handlers, () => this.#pump()))
    }
    if (this.#first === this.#waiting.length || this.#first > 1000) {
      this.#waiting = this.#waiting.slice(this.#first)
      this.#first = 0
    }
  }

  async #deliver(delivery: Delivery): Promise<void> {
    try {
      await this.#handle(delivery, this.#running.signal)
      delivery.partition.settle(delivery, true)
    } catch (error) {
      // What was cut off by our end is no failure: leaving hands it back.
      if (this.#ending.signal.aborted) return
      this.#warn(`message not handled, again in ${this.#options.redeliveryDelay} ms: ${messageOf(error)}`)
      delivery.partition.settle(delivery, false)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#ending.abort()
    clearInterval(this.#refresh)
    for (const partition of this.#partitions) partition.stop()
    this.#waiting = []
    this.#first = 0
    await this.#running.drain(this.#options.drainTimeout)
    await Promise.all(this.#partitions.map((partition) => partition.close()))
    this.#onEnd()
  }
}
