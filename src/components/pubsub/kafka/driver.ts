import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { KafkaClient } from '../../kafka/client.ts'
import { kafkaFields } from '../../kafka/fields.ts'
import { metadataOf, saysAvro } from '../../kafka/message.ts'
import { readSettings } from '../../kafka/settings.ts'
import type { Flow } from '../../partitions/claim.ts'
import { Gate } from '../../partitions/gate.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'

/** Kafka: one record a message, metadata as headers; one member of one consumer group for all topics of the component. */
class KafkaPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['BULK_PUBSUB']
  readonly givesBatches: boolean
  readonly #client: KafkaClient

  constructor(context: ComponentContext) {
    this.#client = new KafkaClient(context, readSettings(context, true))
    this.givesBatches = this.#client.settings.concurrency === undefined
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
    return publishEach(entries, ({ data, metadata }) => this.#client.publish(topic, data, { ...metadata, ...extra }, signal))
  }

  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    options: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const avro = saysAvro(metadata)
    const { settings, consumer } = this.#client
    return consumer.subscribe([topic], {
      flow: flowOf(settings.concurrency, options),
      handle: async (record, signal) => {
        const value = this.#client.valueOf(record, avro)
        const data = value instanceof Promise ? await value : value
        await handler({ topic, data, metadata: metadataOf(record, settings) }, signal)
      },
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close()
  }
}

/** The order of a partition is kept, one message or one batch at a time, unless the component says how many may run at once. */
function flowOf(concurrency: number | undefined, { batch, wait }: SubscribeOptions): Flow {
  if (concurrency !== undefined) return { window: handlersFor(concurrency, batch) }
  if (batch === undefined) return { window: 1 }
  return { window: batch, group: { size: batch, wait: wait ?? 0, gate: new Gate() } }
}

export const driver: DriverModule<PubSub> = {
  summary:
    'Apache Kafka 2.0 and later (and what speaks its protocol), at least once, with consumer groups; the order of a partition is kept.',
  metadata: kafkaFields(true),
  create: (context) => new KafkaPubSub(context),
}
