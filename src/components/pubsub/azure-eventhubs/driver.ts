import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { HubClient } from '../../azure/eventhubs/client.ts'
import { dataOf, metadataOf, outgoing } from '../../azure/eventhubs/event.ts'
import { hubFields, readHubSettings } from '../../azure/eventhubs/settings.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { isTruthy } from '../../metadata.ts'
import type { Flow } from '../../partitions/claim.ts'
import { Gate } from '../../partitions/gate.ts'
import { handlersFor } from '../running.ts'

type Failed = { entryId: string; error: Error }[]

/** Handlers of a partition at once, where no order is kept. */
const AT_ONCE = 100

/** Azure Event Hubs: a topic is an event hub; one member of one consumer group for each subscription. */
class EventHubsPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['BULK_PUBSUB']
  readonly givesBatches: boolean
  readonly #client: HubClient

  constructor(context: ComponentContext) {
    const settings = readHubSettings(context.properties, false, context.appId)
    this.#client = new HubClient(context, settings, `pub/sub component ${context.name}`)
    this.givesBatches = settings.inOrder
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#client.open(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#client.open(signal)
  }

  async publish({ topic, data, contentType, metadata }: PublishRequest, signal?: AbortSignal): Promise<void> {
    if (topic === '') throw new Error("parameter 'topic' is required")
    const key = metadata.partitionKey || undefined
    const messages = [outgoing(data, contentType, key)]
    const { error } = await this.#client.namespace.send(topic, { key, messages, most: undefined }, signal)
    if (error) throw error
  }

  /** Entries of one partition key go together, in their order. */
  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<Failed> {
    if (topic === '') throw new Error("parameter 'topic' is required")
    const given = Number(metadata.maxBulkPubBytes)
    const most = Number.isSafeInteger(given) && given > 0 ? given : undefined
    const groups = Map.groupBy(entries, (entry) => entry.metadata.partitionKey || undefined)
    const failed = await Promise.all(
      [...groups].map(async ([key, group]): Promise<Failed> => {
        const messages = group.map(({ data, contentType }) => outgoing(data, contentType, key))
        const { sent, error } = await this.#client.namespace.send(topic, { key, messages, most }, signal)
        return error ? group.slice(sent).map(({ entryId }) => ({ entryId, error })) : []
      }),
    )
    return failed.flat()
  }

  subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    options: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { allProperties, inOrder } = this.#client.settings
    const all = isTruthy(metadata.requireAllProperties) || allProperties
    return this.#client.read(topic, {
      flow: flowOf(inOrder, options),
      every: everyOf(metadata.checkPointFrequencyPerPartition),
      handle: (event, signal) => handler({ topic, data: dataOf(event), metadata: metadataOf(event, all) }, signal),
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}

/** In order one message, or one batch, of a partition at a time. */
function flowOf(inOrder: boolean, { batch, wait = 0 }: SubscribeOptions): Flow {
  if (!inOrder) return { window: handlersFor(AT_ONCE, batch) }
  if (batch === undefined) return { window: 1 }
  return { window: batch, group: { size: batch, wait, gate: new Gate() } }
}

/** Default 1, also for what is no number; 0: no checkpoints. */
function everyOf(text: string | undefined): number {
  const every = Number(text || 1)
  return Number.isSafeInteger(every) ? Math.max(0, every) : 1
}

/** pubsub.azure.eventhubs */
export const driver: DriverModule<PubSub> = {
  summary: 'Azure Event Hubs, at least once, with consumer groups whose checkpoints are kept on Blob Storage; a topic is an event hub.',
  metadata: hubFields,
  create: (context) => new EventHubsPubSub(context),
}
