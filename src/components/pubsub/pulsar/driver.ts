import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { PulsarClient } from '../../pulsar/client.ts'
import { TopicConsumer } from '../../pulsar/consumer.ts'
import { fields } from '../../pulsar/fields.ts'
import { ownMode, ownType, readSettings } from '../../pulsar/settings.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'

/** Pulsar: a message an event, metadata as properties; one subscription, named by the consumerID, for each topic. */
class PulsarPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['BULK_SUBSCRIBE_IMMEDIATE']
  readonly #context: ComponentContext
  readonly #client: PulsarClient
  readonly #consumers = new Set<TopicConsumer>()

  constructor(context: ComponentContext) {
    this.#context = context
    this.#client = new PulsarClient(context, readSettings(context))
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#client.open(signal)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
  }

  async publish({ topic, data, metadata }: PublishRequest, signal?: AbortSignal): Promise<void> {
    await this.#client.publish(topic, data, metadata, signal)
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    extra: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return publishEach(entries, ({ data, metadata }) => this.#client.publish(topic, data, { ...extra, ...metadata }, signal))
  }

  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { settings } = this.#client
    const schema = settings.schemas.get(topic)
    const options = {
      subscription: settings.consumerId,
      type: metadata.subscribeType === undefined ? settings.subscribeType : ownType(metadata.subscribeType),
      durable: settings.durable,
      earliest: settings.earliest,
      replicateState: settings.replicateState,
      schema: schema?.registration,
      queueSize: settings.queueSize,
      redeliveryDelay: settings.redeliveryDelay,
      timeout: settings.timeout,
      handlers: this.#modeFor(topic, metadata) === 'sync' ? 1 : handlersFor(settings.handlers, batch),
      drainTimeout: settings.drainTimeout,
    }
    const consumer = new TopicConsumer(
      this.#client.cluster,
      this.#client.nameOf(topic),
      options,
      ({ payload, properties }, signal) => {
        const data = schema ? schema.decode(payload) : payload
        return handler({ topic, data, metadata: properties }, signal)
      },
      (text) => this.#context.log.warn(`pub/sub component ${this.#context.name}: topic ${topic}: ${text}`),
      (ended) => this.#consumers.delete(ended),
    )
    this.#consumers.add(consumer)
    try {
      await consumer.start()
    } catch (error) {
      await consumer[Symbol.asyncDispose]()
      throw this.#client.explain(`cannot subscribe to topic ${topic}`, error)
    }
    return consumer
  }

  #modeFor(topic: string, { processMode }: Readonly<Record<string, string>>): 'sync' | 'async' {
    const { settings } = this.#client
    if (processMode === undefined) return settings.processMode
    const own = ownMode(processMode)
    if (own !== undefined) return own
    const { log, name } = this.#context
    log.warn(
      `pub/sub component ${name}: invalid process mode "${processMode}" in the subscription to topic ${topic}; the component's, ${settings.processMode}, is used`,
    )
    return settings.processMode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    await this.#client.close()
  }
}

export const driver: DriverModule<PubSub> = {
  summary:
    'Apache Pulsar 2.8 and later, at least once: exclusive, shared, failover and key_shared subscriptions, partitioned topics, delayed delivery, Avro and JSON schemas.',
  metadata: fields,
  create: (context) => new PulsarPubSub(context),
}
