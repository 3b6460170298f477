import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { Consumer } from '../../azure/servicebus/consumer.ts'
import { contentOf, metadataOf } from '../../azure/servicebus/incoming.ts'
import { Namespace } from '../../azure/servicebus/namespace.ts'
import { messageFrom } from '../../azure/servicebus/outgoing.ts'
import { Sessions } from '../../azure/servicebus/sessions.ts'
import { queueFields, readSettings, topicFields } from '../../azure/servicebus/settings.ts'
import type { Handle } from '../../azure/servicebus/worker.ts'
import type { ComponentContext } from '../../component.ts'
import { isTruthy } from '../../metadata.ts'
import { handlersFor } from '../running.ts'

/** Sessions at once, and seconds after which an idle one is left, unless the subscription says otherwise. */
const SESSIONS = 8
const IDLE = 60

/** A topic is a topic with a subscription for each consumer, or a queue that consumers share. */
export class ServiceBusPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['MESSAGE_TTL', 'BULK_PUBSUB']
  readonly #context: ComponentContext
  readonly #kind: 'topics' | 'queues'
  readonly #namespace: Namespace
  readonly #consumers = new Set<AsyncDisposable>()

  constructor(context: ComponentContext, kind: 'topics' | 'queues') {
    this.#context = context
    this.#kind = kind
    const settings = readSettings(kind === 'topics' ? topicFields : queueFields, context.properties, context.appId)
    this.#namespace = new Namespace(context, settings, `pub/sub component ${context.name}`)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#namespace.client.open(signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#namespace.client.open(signal)
  }

  async publish({ topic, data, metadata }: PublishRequest, signal?: AbortSignal): Promise<void> {
    await this.#namespace.publisher.send(topic, messageFrom(data, metadata), () => this.#ensure(topic), signal)
  }

  bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return this.#namespace.publisher.sendAll(topic, entries, metadata, () => this.#ensure(topic), signal)
  }

  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { consumer: name, maxActive, maxHandlers } = this.#namespace.settings
    const topics = this.#kind === 'topics'
    const sessions = topics && isTruthy(metadata.requireSessions)
    if (topics) await this.#namespace.admin.subscription(name, topic, sessions)
    else await this.#namespace.admin.queue(topic)
    const handle: Handle = (delivery, signal) =>
      handler({ topic, data: contentOf(delivery.message), metadata: metadataOf(delivery) }, signal)
    const entity = topics ? `${topic}/Subscriptions/${name}` : topic
    const options = { entity, handle, label: `pub/sub component ${this.#context.name}: topic ${topic}`, log: this.#context.log }
    const consumer = sessions
      ? new Sessions(this.#namespace, {
          ...options,
          sessions: atLeast(1, metadata.maxConcurrentSessions, SESSIONS),
          idle: atLeast(0, metadata.sessionIdleTimeoutInSec, IDLE) * 1000,
          batch: Math.min(batch ?? 1, maxActive),
        })
      : new Consumer(this.#namespace, { ...options, handlers: maxHandlers > 0 ? handlersFor(maxHandlers, batch) : maxActive })
    this.#consumers.add(consumer)
    if (consumer instanceof Consumer) await consumer.opened
    return {
      [Symbol.asyncDispose]: async () => {
        await consumer[Symbol.asyncDispose]()
        this.#consumers.delete(consumer)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    await this.#namespace[Symbol.asyncDispose]()
  }

  #ensure(topic: string): Promise<void> {
    const { admin } = this.#namespace
    return this.#kind === 'topics' ? admin.topic(topic) : admin.queue(topic)
  }
}

/** A whole number of a subscription's metadata; the default when it is none. */
function atLeast(least: number, text: string | undefined, otherwise: number): number {
  const value = text === undefined || text.trim() === '' ? Number.NaN : Number(text)
  return Number.isInteger(value) && value >= least ? value : otherwise
}
