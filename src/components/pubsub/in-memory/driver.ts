import type {
  BulkEntry,
  DeliveredMessage,
  MessageHandler,
  PublishRequest,
  PubSub,
  PubSubFeature,
  SubscribeOptions,
} from '../../../blocks/pubsub/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'
import { Subscription } from './subscription.ts'

const metadata: readonly MetadataField[] = [
  {
    name: 'concurrency',
    kind: 'int',
    default: '1',
    min: 1,
    max: 10_000,
    description:
      'Handlers that may run at once for one subscription; 1 keeps the order, and bulk subscriptions get their messages one by one. Else those of a bulk subscription are at least twice its maxMessagesCount.',
  },
  {
    name: 'queueDepth',
    kind: 'int',
    default: '10000',
    min: 1,
    description: 'Messages that may wait for one subscription; at the bound a publish waits up to publishTimeout for room.',
  },
  {
    name: 'publishTimeout',
    kind: 'duration',
    default: '5s',
    description: 'How long a publish waits when the queue of a subscriber is full before it fails.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    default: '500ms',
    description: 'Wait before a rejected message comes again; doubles each time.',
  },
  { name: 'maxRedeliverInterval', kind: 'duration', default: '30s', description: 'Longest wait between two tries.' },
  {
    name: 'drainTimeout',
    kind: 'duration',
    default: '5s',
    description: 'How long running handlers may take to finish when a subscription ends.',
  },
]

/**
 * Messages in the memory of one sidecar, gone with it. Every subscription gets every message published while it
 * stands; a topic that ends in `*` matches by prefix. A message without a subscriber is dropped.
 */
class InMemoryPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['SUBSCRIBE_WILDCARDS']
  readonly #context: ComponentContext
  readonly #settings: ReturnType<typeof parseMetadata>
  readonly #exact = new Map<string, Set<Subscription>>()
  readonly #prefixes = new Map<string, Set<Subscription>>()

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = parseMetadata(metadata, context.properties)
  }

  async init(): Promise<void> {}

  async publish(request: PublishRequest, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const message: DeliveredMessage = {
      topic: request.topic,
      data: request.data,
      contentType: request.contentType,
      metadata: request.metadata,
    }
    // Room is asked of all before any gets the message, so that a retried publish repeats it for nobody.
    const subscribers = this.#subscribers(request.topic)
    for (const subscriber of subscribers) if (subscriber.full) await subscriber.room(this.#settings.publishTimeout as number, signal)
    for (const subscriber of subscribers) subscriber.push(message)
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    extra: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return publishEach(
      entries,
      ({ data, contentType, metadata }) => this.publish({ topic, data, contentType, metadata: { ...extra, ...metadata } }, signal),
      true,
    )
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const wildcard = topic.endsWith('*')
    const table = wildcard ? this.#prefixes : this.#exact
    const key = wildcard ? topic.slice(0, -1) : topic
    const handlers = handlersFor(this.#settings.concurrency as number, batch)
    const subscription = new Subscription({
      handler,
      log: this.#context.log,
      topic,
      concurrency: handlers,
      queueDepth: this.#settings.queueDepth as number,
      redeliverInterval: this.#settings.redeliverInterval as number,
      maxRedeliverInterval: this.#settings.maxRedeliverInterval as number,
      drainTimeout: this.#settings.drainTimeout as number,
      onEnd: () => {
        const set = table.get(key)
        set?.delete(subscription)
        if (set?.size === 0) table.delete(key)
      },
    })
    let set = table.get(key)
    if (set === undefined) {
      set = new Set()
      table.set(key, set)
    }
    set.add(subscription)
    return subscription
  }

  #subscribers(topic: string): Subscription[] {
    const found = [...(this.#exact.get(topic) ?? [])]
    for (const [prefix, set] of this.#prefixes) if (topic.length > prefix.length && topic.startsWith(prefix)) found.push(...set)
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#exact.values(), ...this.#prefixes.values()].flatMap((set) => [...set])
    await Promise.all(all.map((subscription) => subscription[Symbol.asyncDispose]()))
  }
}

export const driver: DriverModule<PubSub> = {
  summary: 'Messages in the memory of one sidecar, for development and tests; lost when it stops.',
  metadata,
  create: (context) => new InMemoryPubSub(context),
}
