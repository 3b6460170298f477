import { randomUUID } from 'node:crypto'
import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import type { Argument, RedisClient } from '../../redis/client.ts'
import { redisFields } from '../../redis/fields.ts'
import { type OpenOptions, openRedis } from '../../redis/open.ts'
import { handlersFor } from '../running.ts'
import { consumerName, Leases } from './leases.ts'
import { StreamConsumer } from './stream-consumer.ts'
import { BLOCK } from './stream-reader.ts'

const metadata: readonly MetadataField[] = [
  ...redisFields,
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Consumer group; members of a group share its messages, every group gets all. Default: the app id.',
  },
  {
    name: 'processingTimeout',
    kind: 'duration',
    unit: 1,
    default: '60s',
    min: 0,
    description: 'How long a message may be pending at another consumer before it is taken over; 0 never. A bare number is milliseconds.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    unit: 1,
    default: '15s',
    min: 0,
    description:
      'Time between two looks for such messages, and the longest wait before a rejected message comes again; 0 never looks. A bare number is milliseconds.',
  },
  {
    name: 'queueDepth',
    kind: 'int',
    default: '100',
    min: 1,
    description: 'Messages that one topic may hold in memory; at least as many as it has handlers.',
  },
  {
    name: 'concurrency',
    kind: 'int',
    default: '10',
    min: 1,
    max: 10_000,
    description:
      'Handlers that may run at once per topic; those of a bulk subscription are at least twice its maxMessagesCount, unless this is 1.',
  },
  {
    name: 'maxLenApprox',
    kind: 'int',
    default: '0',
    min: 0,
    description: 'Approximate length to which a stream is trimmed at each publish; 0 keeps all.',
  },
  {
    name: 'streamTTL',
    kind: 'duration',
    unit: 1,
    default: '0',
    description: 'Age above which messages are trimmed (approximately) at each publish; 0 keeps all. Not together with maxLenApprox.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    unit: 1,
    default: '5s',
    description: 'How long running handlers may take to finish when a subscription ends.',
  },
]

/** Between two tries to reach a server that subscriptions wait for, milliseconds at most. */
const EAGER = 200

/** Redis streams in Dapr's layout: one stream per topic, fields `data` and `metadata`, one consumer group per consumerID. */
class RedisPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = []
  readonly #context: ComponentContext
  readonly #settings: ReturnType<typeof parseMetadata>
  readonly #consumers = new Set<StreamConsumer>()
  readonly #group: string
  readonly #name: string
  #commands: RedisClient | undefined
  #leases: Leases | undefined
  #timer: NodeJS.Timeout | undefined
  #held = false
  #subscriptions = 0

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = parseMetadata(metadata, context.properties)
    this.#group = (this.#settings.consumerID as string | undefined) ?? context.appId
    this.#name = consumerName(this.#group, randomUUID())
  }

  async init(signal: AbortSignal): Promise<void> {
    if (this.#commands !== undefined) return
    const commands = await this.#open({
      signal,
      // It looks often while somebody is subscribed, and the many reading connections follow it.
      longestWait: () => (this.#consumers.size > 0 ? EAGER : Number.POSITIVE_INFINITY),
      onReconnect: () => {
        for (const consumer of this.#consumers) consumer.hurry()
      },
    })
    this.#commands = commands
    this.#leases = new Leases(commands, this.#name)
  }

  #open(options: Partial<OpenOptions>): Promise<RedisClient> {
    const { name, log } = this.#context
    return openRedis(this.#settings, { name, onError: (error) => log.debug(`${name}: ${error.message}`), ...options })
  }

  async ping(): Promise<void> {
    await this.#opened().call('PING')
  }

  async publish(request: PublishRequest, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    await this.#opened().callBuffer(
      'XADD',
      request.topic,
      ...this.#trim(),
      '*',
      'data',
      request.data,
      'metadata',
      JSON.stringify(request.metadata),
    )
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    extra: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    signal?.throwIfAborted()
    const results = await Promise.allSettled(
      entries.map((entry) =>
        this.publish({ topic, data: entry.data, contentType: entry.contentType, metadata: { ...extra, ...entry.metadata } }),
      ),
    )
    return results.flatMap((result, index) =>
      result.status === 'rejected'
        ? [
            {
              entryId: (entries[index] as BulkEntry).entryId,
              error: result.reason instanceof Error ? result.reason : new Error(messageOf(result.reason)),
            },
          ]
        : [],
    )
  }

  #trim(): Argument[] {
    if (this.#settings.maxLenApprox) return ['MAXLEN', '~', this.#settings.maxLenApprox as number]
    if (this.#settings.streamTTL) return ['MINID', '~', `${Math.floor(Date.now() - (this.#settings.streamTTL as number))}-1`]
    return []
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const handlers = handlersFor(this.#settings.concurrency as number, batch)
    const commands = this.#opened()
    const leases = this.#leases as Leases
    if (!this.#held) {
      await leases.refresh()
      this.#held = true
      const interval = (this.#settings.redeliverInterval as number) || Leases.interval
      this.#timer = setInterval(() => void this.#beat(), Math.max(100, Math.min(interval, Leases.interval)))
      this.#timer.unref()
    }
    let consumer: StreamConsumer | undefined
    const onReconnect = () => {
      commands.hurry()
      consumer?.connected()
    }
    const reader = await this.#open({ blocking: BLOCK, onReconnect })
    consumer = new StreamConsumer(
      {
        topic,
        group: this.#group,
        name: `${this.#name}#${++this.#subscriptions}`,
        concurrency: handlers,
        queueDepth: Math.max(this.#settings.queueDepth as number, handlers),
        processingTimeout: this.#settings.processingTimeout as number,
        redeliverInterval: this.#settings.redeliverInterval as number,
        drainTimeout: this.#settings.drainTimeout as number,
      },
      handler,
      { commands, reader, leases, log: this.#context.log, onEnd: (ended) => this.#consumers.delete(ended) },
    )
    try {
      await consumer.start()
    } catch (error) {
      reader.disconnect()
      throw error
    }
    this.#consumers.add(consumer)
    return {
      [Symbol.asyncDispose]: async () => {
        await consumer[Symbol.asyncDispose]()
        // What it left is for the others of the topic, and not only at their next look.
        for (const other of this.#consumers) if (other.topic === topic) await this.#recover(other)
      },
    }
  }

  async #recover(consumer: StreamConsumer): Promise<void> {
    await consumer.recover().catch((error: unknown) => this.#context.log.warn(`${this.#context.name}: ${messageOf(error)}`))
  }

  async #beat(): Promise<void> {
    try {
      await this.#leases?.refresh()
      for (const consumer of this.#consumers) await consumer.recover()
    } catch (error) {
      this.#context.log.warn(`${this.#context.name}: ${messageOf(error)}`)
    }
  }

  #opened(): RedisClient {
    if (this.#commands === undefined) throw new Error(`pub/sub component ${this.#context.name} is not open`)
    return this.#commands
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const commands = this.#commands
    if (commands === undefined) return
    clearInterval(this.#timer)
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    if (this.#held) await this.#leases?.release().catch(() => undefined)
    this.#commands = undefined
    await commands.close()
  }
}

export const driver: DriverModule<PubSub> = {
  summary: 'Redis streams, at least once, with consumer groups.',
  metadata,
  create: (context) => new RedisPubSub(context),
}
