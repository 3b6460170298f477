import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { connectionOf } from '../../nats/fields.ts'
import { NatsLink } from '../../nats/link.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'
import { StreamConsumer } from './consumer.ts'
import { StreamPublisher } from './publisher.ts'
import { fields, type JetStreamSettings, readSettings } from './settings.ts'

/** A topic is a subject of a stream that exists; a subscription is a push consumer on it. */
class JetStreamPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = []
  readonly #settings: JetStreamSettings
  readonly #link: NatsLink
  readonly #publisher: StreamPublisher
  readonly #consumers = new Set<StreamConsumer>()
  #manager: JetStreamManager | undefined

  constructor(context: ComponentContext) {
    const settings = readSettings(context.properties)
    this.#settings = settings
    const { options, address } = connectionOf(settings.values)
    this.#link = new NatsLink({ options, address, component: `pub/sub component ${context.name}`, log: context.log })
    this.#publisher = new StreamPublisher(this.#link, settings.values.publishTimeout as number)
  }

  async init(signal: AbortSignal): Promise<void> {
    const connection = await this.#link.open(signal)
    const { domain, apiPrefix, publishTimeout } = this.#settings.values
    this.#manager = await jetstreamManager(connection, {
      checkAPI: false,
      timeout: publishTimeout as number,
      ...(domain ? { domain: domain as string } : {}),
      ...(apiPrefix ? { apiPrefix: apiPrefix as string } : {}),
    })
  }

  async ping(): Promise<void> {
    await this.#link.ping(this.#settings.values.publishTimeout as number)
  }

  publish({ topic, data }: PublishRequest, signal?: AbortSignal): Promise<void> {
    return this.#publisher.publish(topic, data, eventId(data), signal)
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    _metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return publishEach(entries, ({ data }) => this.#publisher.publish(topic, data, eventId(data), signal))
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { values, handlers, delay } = this.#settings
    const { component, address } = this.#link.settings
    const manager = this.#manager
    if (manager === undefined) throw new Error(`${component} is not open`)
    let consumer: StreamConsumer | undefined
    try {
      const stream = (values.streamName as string | undefined) ?? (await manager.streams.find(topic))
      consumer = new StreamConsumer(
        this.#link,
        manager,
        {
          topic,
          stream,
          config: this.#settings.consumer(topic),
          handlers: handlersFor(handlers, batch),
          delay,
          redeliverInterval: values.redeliverInterval as number,
          drainTimeout: values.drainTimeout as number,
        },
        ({ data, subject }, signal) => handler({ topic, data: bufferOf(data), metadata: { Topic: subject } }, signal),
        (ended) => this.#consumers.delete(ended),
      )
      await consumer.start()
    } catch (error) {
      await consumer?.[Symbol.asyncDispose]()
      const text = messageOf(error)
      const why = /no stream matches subject/.test(text)
        ? `no JetStream stream of NATS at ${address} has it: create one that does, or set streamName`
        : (this.#link.obstacle ?? text)
      throw new Error(`${component}: topic ${topic}: ${why}`, { cause: error })
    }
    this.#consumers.add(consumer)
    return consumer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    await this.#publisher.settle()
    await this.#link[Symbol.asyncDispose]()
  }
}

function bufferOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

/** By the id of a CloudEvent the stream knows one that it already has. Other JSON may have ids that mean something else. */
function eventId(data: Buffer): string | undefined {
  if (data[0] !== 0x7b) return undefined
  try {
    const { id, specversion } = JSON.parse(data.toString()) as { id?: unknown; specversion?: unknown }
    return typeof id === 'string' && id !== '' && typeof specversion === 'string' ? id : undefined
  } catch {
    return undefined
  }
}

export const driver: DriverModule<PubSub> = {
  summary: 'NATS JetStream: subjects of existing streams, push consumers, durable ones shared by queue groups.',
  metadata: fields,
  create: (context) => new JetStreamPubSub(context),
}
