import type { Binding, BindingEvent, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { KafkaClient } from '../../kafka/client.ts'
import { kafkaFields } from '../../kafka/fields.ts'
import { metadataOf, payloadOf } from '../../kafka/message.ts'
import { readSettings } from '../../kafka/settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

const own: readonly MetadataField[] = [
  { name: 'topics', kind: 'string', description: 'Input: topics to read, comma-separated.' },
  { name: 'publishTopic', kind: 'string', description: 'Output: the topic to publish to.' },
]

/** Output: a record of each request. Input: the records of topics, as a member of a consumer group. */
class KafkaBinding implements Binding {
  readonly operations = ['create']
  readonly #client: KafkaClient
  readonly #context: ComponentContext
  readonly #topics: string[]
  readonly #publishTopic: string | undefined

  constructor(context: ComponentContext) {
    const values = parseMetadata(own, context.properties)
    this.#context = context
    this.#topics = ((values.topics as string | undefined) ?? '').split(',').filter(Boolean)
    this.#publishTopic = values.publishTopic as string | undefined
    this.#client = new KafkaClient(context, readSettings(context, false))
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#client.open(signal)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
  }

  async invoke({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse | undefined> {
    if (this.#publishTopic === undefined)
      throw new MetadataError(`binding ${this.#context.name} has no topic to publish to: set the metadata field publishTopic`)
    await this.#client.publish(this.#publishTopic, data, metadata, signal)
    return undefined
  }

  async read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    if (this.#topics.length === 0) {
      this.#context.log.warn(`binding ${this.#context.name}: no topic defined, input is not started: set the metadata field topics`)
      return { [Symbol.asyncDispose]: async () => {} }
    }
    const { consumer, settings } = this.#client
    return consumer.subscribe(this.#topics, {
      flow: { window: settings.concurrency ?? 1 },
      handle: async (record) => {
        await handler({ data: payloadOf(record), metadata: metadataOf(record, settings) })
      },
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close()
  }
}

export const driver: DriverModule<Binding> = {
  summary: 'Publishes to a topic of Apache Kafka, and feeds the app with the records of topics.',
  metadata: [...own, ...kafkaFields(false)],
  create: (context) => new KafkaBinding(context),
}
