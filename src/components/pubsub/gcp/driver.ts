import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { Code, messageOf } from '../../../errors.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { GoogleService } from '../../gcp/service.ts'
import { handlersFor } from '../running.ts'
import { Consumer } from './consumer.ts'
import {
  GetSubscriptionRequest,
  GetTopicRequest,
  ListTopicsRequest,
  ListTopicsResponse,
  PublishRequest as PublishMessage,
  PublishResponse,
  Subscription,
  Topic,
} from './messages.ts'
import { fields, type PubSubSettings, readSettings } from './settings.ts'

const MAX_MESSAGE = 64 << 20
/** Messages and bytes of one request: Pub/Sub takes 1,000 and 10 MB. */
const BATCH = 1000
const BATCH_BYTES = 3_000_000
/** Topics that are known to exist; the one that came first goes first, and is asked for again. */
const KNOWN = 10_000

/** Dapr's layout: a topic for each topic, a subscription `<consumerID>-<topic>` for each consumer. */
class GooglePubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = []
  readonly #context: ComponentContext
  readonly #settings: PubSubSettings
  readonly #service: GoogleService
  readonly #topics = new Map<string, Promise<void>>()
  readonly #consumers = new Set<Consumer>()

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = readSettings(context.properties, context.appId)
    const { address, secure, identity } = this.#settings
    this.#service = new GoogleService({ package: 'google.pubsub.v1', address, secure, identity, maxMessage: MAX_MESSAGE })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#service.open(signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    const project = `projects/${this.#settings.project}`
    try {
      const request = { project, pageSize: 1 }
      await this.#service.call('Publisher/ListTopics', `project=${project}`, ListTopicsRequest, ListTopicsResponse, request, signal)
    } catch (error) {
      // The account may have rights for its own topics alone.
      if (!isCode(error, Code.PermissionDenied)) throw error
    }
  }

  async publish({ topic, data, metadata }: PublishRequest, signal?: AbortSignal): Promise<void> {
    await this.#publish(topic, [{ data, orderingKey: this.#keyOf(metadata) }], signal)
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    const failed: { entryId: string; error: Error }[] = []
    for (let at = 0; at < entries.length; ) {
      let [end, bytes] = [at, 0]
      while (end < entries.length && end - at < BATCH && (end === at || bytes + (entries[end]?.data.length ?? 0) < BATCH_BYTES))
        bytes += entries[end++]?.data.length ?? 0
      const batch = entries.slice(at, end)
      at = end
      const messages = batch.map((entry) => ({ data: entry.data, orderingKey: this.#keyOf({ ...metadata, ...entry.metadata }) }))
      try {
        await this.#publish(topic, messages, signal)
      } catch (thrown) {
        const error = thrown instanceof Error ? thrown : new Error(messageOf(thrown))
        failed.push(...batch.map(({ entryId }) => ({ entryId, error })))
      }
    }
    return failed
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { managed, project, consumer, most } = this.#settings
    const id = `${consumer}-${topic}`
    const subscription = `projects/${project}/subscriptions/${id}`
    if (managed) {
      await this.#ensure(topic).catch((error: unknown) => {
        throw new Error(`gcp pubsub error: could not get valid topic - topic:"${topic}", error: ${messageOf(error)}`, { cause: error })
      })
      await this.#subscription(subscription, topic).catch((error: unknown) => {
        const what = `could not get valid subscription - consumerID:"${consumer}"`
        throw new Error(`gcp pubsub error: ${what}, error: ${messageOf(error)}`, { cause: error })
      })
    } else await this.#find(subscription)
    const { name, log } = this.#context
    const label = `pub/sub component ${name}: topic ${topic}`
    const settings = { ...this.#settings, topic, subscription, handlers: handlersFor(most, batch), label, log }
    const reader = new Consumer(this.#service, settings, handler)
    this.#consumers.add(reader)
    return {
      [Symbol.asyncDispose]: async () => {
        await reader[Symbol.asyncDispose]()
        this.#consumers.delete(reader)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((reader) => reader[Symbol.asyncDispose]()))
    await this.#service[Symbol.asyncDispose]()
  }

  #keyOf(metadata: Readonly<Record<string, string>>): string {
    const { ordered, orderingKey } = this.#settings
    return ordered ? metadata.orderingKey || orderingKey : ''
  }

  #nameOf(topic: string): string {
    return `projects/${this.#settings.project}/topics/${topic}`
  }

  async #publish(topic: string, messages: readonly { data: Buffer; orderingKey: string }[], signal?: AbortSignal): Promise<void> {
    for (let again = this.#settings.managed; ; again = false) {
      if (this.#settings.managed)
        await this.#ensure(topic).catch((error: unknown) => {
          throw new Error(`gcp pubsub error: could not get valid topic ${topic}: ${messageOf(error)}`, { cause: error })
        })
      const name = this.#nameOf(topic)
      try {
        const request = { topic: name, messages }
        await this.#service.call('Publisher/Publish', `topic=${name}`, PublishMessage, PublishResponse, request, signal)
        return
      } catch (error) {
        if (!again || !isCode(error, Code.NotFound)) throw error
        // Deleted since it was seen.
        this.#topics.delete(topic)
      }
    }
  }

  /** Makes a topic where it is not there. */
  #ensure(topic: string): Promise<void> {
    const known = this.#topics.get(topic)
    if (known) return known
    const making = this.#make(this.#nameOf(topic))
    this.#topics.set(topic, making)
    making.catch(() => this.#topics.delete(topic))
    if (this.#topics.size > KNOWN) this.#topics.delete(this.#topics.keys().next().value as string)
    return making
  }

  async #make(name: string): Promise<void> {
    try {
      await this.#service.call('Publisher/GetTopic', `topic=${name}`, GetTopicRequest, Topic, { topic: name })
    } catch (error) {
      if (!isCode(error, Code.NotFound)) throw error
      await this.#service.call('Publisher/CreateTopic', `name=${name}`, Topic, Topic, { name }).catch(unlessThere)
    }
  }

  async #find(subscription: string): Promise<void> {
    const route = `subscription=${subscription}`
    await this.#service.call('Subscriber/GetSubscription', route, GetSubscriptionRequest, Subscription, { subscription })
  }

  async #subscription(name: string, topic: string): Promise<void> {
    const { ackDeadline, ordered, deadLetters } = this.#settings
    try {
      return await this.#find(name)
    } catch (error) {
      if (!isCode(error, Code.NotFound)) throw error
    }
    if (deadLetters) await this.#ensure(deadLetters.topic)
    const wanted = {
      name,
      topic: this.#nameOf(topic),
      ackDeadlineSeconds: ackDeadline,
      enableMessageOrdering: ordered,
      deadLetterPolicy: deadLetters && { deadLetterTopic: this.#nameOf(deadLetters.topic), maxDeliveryAttempts: deadLetters.after },
    }
    await this.#service.call('Subscriber/CreateSubscription', `name=${name}`, Subscription, Subscription, wanted).catch(unlessThere)
  }
}

function isCode(error: unknown, code: Code): boolean {
  return error instanceof GrpcStatus && error.code === code
}

/** Another sidecar was faster. */
function unlessThere(error: unknown): void {
  if (!isCode(error, Code.AlreadyExists)) throw error
}

/** pubsub.gcp.pubsub */
export const driver: DriverModule<PubSub> = {
  summary: 'Google Cloud Pub/Sub: a topic for each topic, a subscription of it for each consumer.',
  metadata: fields,
  create: (context) => new GooglePubSub(context),
}
