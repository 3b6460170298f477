import type { InputOf } from '../../transport/grpc/message.ts'
import { backoff } from '../pubsub/running.ts'
import type { Cluster } from './cluster.ts'
import { type Schema, Type } from './commands.ts'
import { type Compression, compress, numberOf } from './compression.ts'
import type { Connection } from './connection.ts'
import { isPassing, type PulsarError, UnreachableError } from './errors.ts'
import { batchPayload, type OutMessage, sendFrame } from './hot.ts'

export interface ProducerOptions {
  /** Messages that wait for the same answer go out in one entry. */
  batching: boolean
  /** Most messages of a batch, and most bytes. */
  batchMessages: number
  batchBytes: number
  compression: Compression
  /** zlib's or zstd's level; undefined: its own default. */
  level: number | undefined
  schema: InputOf<typeof Schema> | undefined
  /** Limit from publish to receipt, milliseconds. */
  timeout: number
}

/** A message and who waits for its receipt. */
export interface Item {
  message: OutMessage
  size: number
  /** Milliseconds since 1970. */
  until: number
  resolve(): void
  reject(error: unknown): void
  settled: boolean
}

interface Sent {
  sequenceId: number
  items: readonly Item[]
}

const RETRY = 50
const MOST_RETRY = 1000
/** Entries under way. What is published meanwhile gathers for the next one: few and large ones cost the broker the least. */
const UNDER_WAY = 8
const UNDER_WAY_ALONE = 1000
/** What an entry may have beside its payload. */
const MARGIN = 10 * 1024

/**
 * Publishes to one partition: idle → connecting → ready → connecting … → closed. Receipts come in the order of the entries;
 * what has none when a connection is lost goes out again over the next one, in the same order and under the same numbers.
 */
export class PartitionProducer {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #options: ProducerOptions
  readonly #id: number
  #connection: Connection | undefined
  #connecting = false
  #name = ''
  #epoch = 0
  #sequence = -1
  #schemaVersion: Buffer | undefined
  #waiting: Item[] = []
  #sent: Sent[] = []
  #scheduled = false
  #failures = 0
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(cluster: Cluster, topic: string, options: ProducerOptions) {
    this.#cluster = cluster
    this.#topic = topic
    this.#options = options
    this.#id = cluster.nextId()
  }

  /** Whether nothing waits here. */
  get idle(): boolean {
    return this.#waiting.length === 0 && this.#sent.length === 0
  }

  add(item: Item): void {
    this.#waiting.push(item)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#drain()
    })
  }

  /** Why nothing goes out at present. */
  problem: unknown

  #drain(): void {
    const connection = this.#connection
    if (connection === undefined) {
      if (this.#waiting.length > 0) void this.#connect()
      return
    }
    const most = this.#options.batching ? UNDER_WAY : UNDER_WAY_ALONE
    while (this.#sent.length < most) {
      const items = this.#take()
      if (items === undefined) return
      const sent = { sequenceId: ++this.#sequence, items }
      this.#sent.push(sent)
      this.#send(connection, sent)
    }
  }

  /** What goes out in the next entry: neighbours of the same key, so that a key's messages stay together. */
  #take(): readonly Item[] | undefined {
    const { batching, batchMessages, batchBytes } = this.#options
    let first = 0
    while (this.#waiting[first]?.settled) first++
    if (first > 0) this.#waiting.splice(0, first)
    const head = this.#waiting[0]
    if (head === undefined) return undefined
    let count = 1
    if (batching && head.message.deliverAt === 0)
      for (let bytes = head.size; count < batchMessages && count < this.#waiting.length; count++) {
        const { message, size, settled } = this.#waiting[count] as Item
        bytes += size
        if (settled || message.deliverAt !== 0 || message.key !== head.message.key || bytes > batchBytes) break
      }
    return this.#waiting.splice(0, count)
  }

  #send(connection: Connection, { sequenceId, items }: Sent): void {
    const messages = items.map(({ message }) => message)
    const { compression, level } = this.#options
    const plain = messages.length === 1 ? (messages[0] as OutMessage).payload : batchPayload(messages)
    const payload = compression === 'none' ? plain : compress(compression, plain, level)
    const options = {
      producerId: this.#id,
      producerName: this.#name,
      sequenceId,
      schemaVersion: this.#schemaVersion,
      compression: numberOf(compression),
      size: plain.length,
    }
    connection.write(sendFrame(options, messages, payload))
  }

  async #connect(): Promise<void> {
    if (this.#connecting || this.#closed || this.#retry !== undefined) return
    this.#connecting = true
    try {
      const connection = await this.#cluster.serving(this.#topic)
      // Before the broker answers: a connection that is lost right after must be heard of.
      connection.producers.set(this.#id, this)
      this.#renameIfFree()
      const { schema } = this.#options
      try {
        const { producerSuccess } = await connection.ask((requestId) => ({
          type: Type.producer,
          producer: {
            topic: this.#topic,
            producerId: this.#id,
            requestId,
            epoch: this.#epoch,
            namedByUser: false,
            ...(this.#name ? { name: this.#name } : {}),
            ...(schema ? { schema } : {}),
          },
        }))
        if (!connection.usable) throw new UnreachableError(`the connection to ${connection.address} is lost`)
        this.#name = producerSuccess?.name ?? ''
        this.#schemaVersion = producerSuccess?.schemaVersion?.length ? Buffer.from(producerSuccess.schemaVersion) : undefined
        if (this.#sequence === -1) this.#sequence = Math.max(-1, producerSuccess?.lastSequenceId ?? -1)
      } catch (error) {
        connection.producers.delete(this.#id)
        throw error
      }
      this.#epoch++
      this.#connection = connection
      this.#connecting = false
      this.#failures = 0
      this.problem = undefined
      if (this.#closed) return this.close()
      this.#refuseLarge(connection.mostMessage)
      this.#sent = this.#sent.filter(({ items }) => items.some((item) => !item.settled))
      for (const sent of this.#sent) this.#send(connection, sent)
      this.#drain()
    } catch (error) {
      this.#connecting = false
      this.problem = error
      if (!isPassing(error)) this.#refuse(error)
      this.#again()
    }
  }

  /**
   * By name and number brokers know what they got before. When nobody waits for anything sent under them, new ones are better: for
   * a name that it knows a broker first asks, for 5 s, whether the connection of before still lives.
   */
  #renameIfFree(): void {
    if (this.#sent.some(({ items }) => items.some((item) => !item.settled))) return
    this.#sent = []
    this.#name = ''
    this.#sequence = -1
    this.#epoch = 0
  }

  #again(): void {
    if (this.#closed) return
    this.#sent = this.#sent.filter(({ items }) => items.some((item) => !item.settled))
    this.#waiting = this.#waiting.filter((item) => !item.settled)
    if (this.idle) return
    this.#retry ??= setTimeout(
      () => {
        this.#retry = undefined
        void this.#connect()
      },
      backoff(++this.#failures, RETRY, MOST_RETRY),
    )
  }

  #refuseLarge(most: number): void {
    for (const item of this.#waiting) {
      const problem = tooLarge(item, most)
      if (problem) item.reject(problem)
    }
  }

  #refuse(error: unknown): void {
    for (const item of [...this.#sent.flatMap(({ items }) => items), ...this.#waiting]) item.reject(error)
    this.#sent = []
    this.#waiting = []
  }

  /** An error when the broker takes no message of this size; undefined also while there is no broker to ask. */
  tooLarge(item: Item): Error | undefined {
    return this.#connection && tooLarge(item, this.#connection.mostMessage)
  }

  receipt(sequenceId: number): void {
    const first = this.#sent[0]
    // One that was given up, or answered before.
    if (first === undefined || sequenceId < first.sequenceId) return
    if (sequenceId > first.sequenceId) {
      this.#connection?.end(new UnreachableError(`${this.#connection.address} answers what was not asked`))
      return
    }
    this.#sent.shift()
    for (const item of first.items) item.resolve()
    this.#drain()
  }

  sendError(sequenceId: number, error: PulsarError): void {
    if (error.passing) {
      // What follows must not overtake it: all goes out again over a new connection.
      this.problem = error
      this.#connection?.end(new UnreachableError(error.message))
      return
    }
    const at = this.#sent.findIndex((sent) => sent.sequenceId === sequenceId)
    if (at < 0) return
    const [sent] = this.#sent.splice(at, 1)
    for (const item of sent?.items ?? []) item.reject(error)
    this.#drain()
  }

  lost(error: Error): void {
    // While it connects, whoever asks is told.
    if (this.#connection === undefined) return
    this.#connection = undefined
    this.problem ??= error
    if (!this.idle) void this.#connect()
  }

  /** What has no receipt yet is refused. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#retry)
    this.#refuse(new UnreachableError('the Pulsar component is closed'))
    const connection = this.#connection
    this.#connection = undefined
    if (connection === undefined) return
    connection.producers.delete(this.#id)
    connection.ask((requestId) => ({ type: Type.closeProducer, closeProducer: { id: this.#id, requestId } }), 1000).catch(() => {})
  }
}

function tooLarge({ size }: Item, most: number): Error | undefined {
  if (size <= most - MARGIN) return undefined
  return new Error(
    `a message of ${size} bytes is larger than Pulsar takes (${most} bytes): raise maxMessageSize of its brokers and bookies`,
  )
}
