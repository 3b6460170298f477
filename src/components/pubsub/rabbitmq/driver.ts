import { randomUUID } from 'node:crypto'
import type { ConsumeMessage } from 'amqplib'
import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { ttlOf } from '../../given-ttl.ts'
import { RabbitConnection } from '../../rabbitmq/connection.ts'
import { QueueConsumer } from '../../rabbitmq/consumer.ts'
import { applyGiven, type MessageProperties, priorityOf } from '../../rabbitmq/properties.ts'
import { RabbitPublisher } from '../../rabbitmq/publisher.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'
import { fields } from './fields.ts'
import { type RabbitSettings, readSettings } from './settings.ts'
import { declareExchange, declareSubscription } from './topology.ts'

const PARALLEL = 100
/** RabbitMQ's bound for the name of a consumer. */
const MOST_TAG = 255

/**
 * Dapr's layout: an exchange per topic, a queue per consumerID and topic. Publishing and consuming have a connection
 * each, because a server short of memory stops reading from those that publish, and acknowledgements must go through.
 */
class RabbitPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['MESSAGE_TTL']
  readonly #context: ComponentContext
  readonly #settings: RabbitSettings
  readonly #consumers = new Set<QueueConsumer>()
  readonly #publishing: RabbitConnection
  readonly #publisher: RabbitPublisher
  #consuming: RabbitConnection | undefined
  #openingConsuming: Promise<RabbitConnection> | undefined

  constructor(context: ComponentContext) {
    this.#context = context
    const settings = readSettings(context.properties, context.appId, context.name)
    this.#settings = settings
    this.#publishing = this.#connection()
    this.#publisher = new RabbitPublisher(
      this.#publishing,
      { limit: settings.publishTimeout, confirm: settings.confirm },
      (channel, exchange) => declareExchange(settings, channel, exchange),
    )
  }

  #connection(): RabbitConnection {
    const { broker, clientName, heartbeat, reconnectWait } = this.#settings
    const { name, log } = this.#context
    return new RabbitConnection({ broker, component: `pub/sub component ${name}`, clientName, heartbeat, reconnectWait, log })
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#publishing.open(signal)
  }

  async ping(signal?: AbortSignal): Promise<void> {
    for (const connection of [this.#publishing, this.#consuming]) await connection?.ping(this.#settings.publishTimeout, signal)
  }

  publish(request: PublishRequest, signal?: AbortSignal): Promise<void> {
    const { topic, data, metadata } = request
    return this.#publisher.publish(
      { exchange: topic, routingKey: metadata.routingKey ?? '', properties: this.#properties(topic, metadata), content: data },
      signal,
    )
  }

  #properties(topic: string, metadata: Readonly<Record<string, string>>): MessageProperties {
    const { deliveryMode, ttl } = this.#settings
    const properties: MessageProperties = { contentType: 'text/plain' }
    if (deliveryMode > 0) properties.deliveryMode = deliveryMode
    const expiration = this.#readable(topic, () => ttlOf(metadata)) ?? ttl
    if (expiration !== undefined) properties.expiration = String(expiration)
    const priority = this.#readable(topic, () => priorityOf(metadata))
    if (priority) properties.priority = priority
    return applyGiven(metadata, properties)
  }

  /** Dapr publishes without a setting that cannot be read. */
  #readable(topic: string, read: () => number | undefined): number | undefined {
    try {
      return read()
    } catch (error) {
      this.#context.log.warn(`pub/sub component ${this.#context.name}: topic ${topic}: ${messageOf(error)}; it is ignored`)
      return undefined
    }
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    extra: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return publishEach(entries, ({ data, metadata }) => this.publish({ topic, data, metadata: { ...extra, ...metadata } }, signal))
  }

  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const settings = this.#settings
    const handlers = handlersFor(settings.handlers ?? (settings.prefetchCount || PARALLEL), batch)
    const { propertiesToMetadata } = settings
    const consumer = new QueueConsumer(
      await this.#consumingConnection(),
      {
        subject: `topic ${topic}`,
        declare: (channel) => declareSubscription(settings, channel, topic, metadata),
        tag: (queue) => tagOf(queue),
        prefetch: settings.prefetchCount || Math.min(handlers * 2, 65_535),
        handlers,
        early: settings.autoAck,
        onFailure: settings.onFailure,
        redeliverInterval: settings.redeliverInterval,
        drainTimeout: settings.drainTimeout,
        limit: settings.publishTimeout,
      },
      (message, signal) => handler({ topic, data: message.content, metadata: propertiesToMetadata ? metadataOf(message) : {} }, signal),
      (ended) => this.#consumers.delete(ended),
    )
    this.#consumers.add(consumer)
    try {
      await consumer.start()
    } catch (error) {
      this.#consumers.delete(consumer)
      throw error
    }
    return consumer
  }

  #consumingConnection(): Promise<RabbitConnection> {
    this.#openingConsuming ??= (async () => {
      const connection = this.#connection()
      try {
        await connection.open()
      } catch (error) {
        this.#openingConsuming = undefined
        throw error
      }
      this.#consuming = connection
      return connection
    })()
    return this.#openingConsuming
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    await this.#openingConsuming?.catch(() => undefined)
    await this.#consuming?.[Symbol.asyncDispose]()
    await this.#publisher.settle()
    await this.#publishing[Symbol.asyncDispose]()
  }
}

/** Unique, so that a subscription that is made anew never meets its own old name; cut at the front as daprd does. */
function tagOf(queue: string): string {
  const tag = Buffer.from(`${queue}-${randomUUID()}`)
  return tag.subarray(Math.max(0, tag.length - MOST_TAG)).toString()
}

/** Properties and headers under the names that daprd gives them. */
function metadataOf({ properties }: ConsumeMessage): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries((properties.headers ?? {}) as Record<string, unknown>))
    if (value !== null && value !== undefined)
      metadata[`metadata.${name}`] = Buffer.isBuffer(value) || typeof value !== 'object' ? String(value) : JSON.stringify(value)
  const known = {
    messageid: properties.messageId,
    correlationid: properties.correlationId,
    type: properties.type,
    contenttype: properties.contentType,
  }
  for (const [name, value] of Object.entries(known)) if (value) metadata[`metadata.${name}`] = String(value)
  return metadata
}

export const driver: DriverModule<PubSub> = {
  summary: 'RabbitMQ: an exchange per topic, a queue per app and topic, quorum queues, dead letters and priorities.',
  metadata: fields,
  create: (context) => new RabbitPubSub(context),
}
