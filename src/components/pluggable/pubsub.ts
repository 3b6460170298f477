import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../blocks/pubsub/driver.ts'
import { Code, messageOf } from '../../errors.ts'
import type { ComponentContext } from '../component.ts'
import { type MetadataField, parseMetadata } from '../metadata.ts'
import { Nothing } from './common-messages.ts'
import { ComponentCallError, Connection } from './connection.ts'
import { LastingStream } from './lasting-stream.ts'
import * as messages from './pubsub-messages.ts'

const SERVICE = 'PubSub'
const PAUSE_TIMEOUT = 2000

/** Read beside what the component itself reads. */
export const pubsubMetadata: readonly MetadataField[] = [
  {
    name: 'drainTimeout',
    kind: 'duration',
    default: '60s',
    description: 'How long running handlers may take to finish when a subscription ends.',
  },
]

/** A broker behind a socket. Each subscription is a stream of its own, whose messages are handled one after the other. */
export class PluggablePubSub implements PubSub {
  features: readonly PubSubFeature[] = []
  bulkPublish?: PubSub['bulkPublish']
  readonly #context: ComponentContext
  readonly #connection: Connection
  readonly #active = new Set<LastingStream>()
  readonly #drain: number
  #paused: Promise<void> | undefined

  constructor(socket: string, context: ComponentContext) {
    this.#context = context
    this.#drain = parseMetadata(pubsubMetadata, context.properties).drainTimeout as number
    this.#connection = new Connection({
      socket,
      instance: context.name,
      start: async (connection, signal) => {
        await connection.init(SERVICE, context.properties, signal)
        this.features = (await connection.features(SERVICE, signal)) as PubSubFeature[]
        if (this.features.includes('BULK_PUBSUB')) this.bulkPublish = this.#bulkPublish
        else delete this.bulkPublish
      },
    })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#connection.ready(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#connection.ping(SERVICE, signal)
  }

  async publish({ topic, data, contentType, metadata }: PublishRequest, signal?: AbortSignal): Promise<void> {
    const request = { data, pubsubName: this.#context.name, topic, metadata, contentType }
    await this.#connection.call(`${SERVICE}/Publish`, messages.PublishRequest, Nothing, request, signal)
  }

  async #bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    const request = {
      entries: entries.map((entry) => ({ ...entry, event: entry.data })),
      pubsubName: this.#context.name,
      topic,
      metadata,
    }
    const reply = await this.#connection.call(
      `${SERVICE}/BulkPublish`,
      messages.BulkPublishRequest,
      messages.BulkPublishResponse,
      request,
      signal,
    )
    return reply.failedEntries.map(({ entryId, error }) => ({ entryId, error: new Error(error) }))
  }

  /** `batch`: how many messages the handler gathers before it settles one; without it they are handled one after the other. */
  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    if (this.#paused) await this.#resume()
    const { log, name } = this.#context
    const stream = new LastingStream({
      connection: this.#connection,
      method: `${SERVICE}/PullMessages`,
      title: `topic ${topic} of pub/sub component ${name}`,
      first: messages.PullMessagesRequest.encode({ topic: { name: topic, metadata } }),
      // A broker whose messages must not wait for others gets each delivered as it comes.
      concurrency: this.features.includes('BULK_SUBSCRIBE_IMMEDIATE') ? 1 : Math.max(1, batch ?? 1),
      drainTimeout: this.#drain,
      log,
      async handle(bytes, signal, ending) {
        const { id, topicName, data, contentType, metadata } = messages.PullMessagesResponse.decode(bytes)
        try {
          await handler({ topic: topicName || topic, data, contentType: contentType || undefined, metadata }, signal)
        } catch (error) {
          // An end is no failure of the message: without an answer the component keeps it.
          if (ending()) return undefined
          log.warn(`topic ${topic}: message ${id} not handled, it goes back to the component: ${messageOf(error)}`)
          return messages.PullMessagesRequest.encode({ ackMessageId: id, ackError: { message: messageOf(error) } })
        }
        return messages.PullMessagesRequest.encode({ ackMessageId: id })
      },
    })
    await stream.open()
    this.#active.add(stream)
    return {
      [Symbol.asyncDispose]: async () => {
        stream.rest()
        this.#active.delete(stream)
        // Subscriptions that end together are the end of intake as a whole, which the component is told first.
        await Promise.resolve()
        if (this.#active.size === 0) await this.#pause()
        await stream[Symbol.asyncDispose]()
      },
    }
  }

  #pause(): Promise<void> {
    this.#paused ??= this.#optional('Pause')
    return this.#paused
  }

  async #resume(): Promise<void> {
    this.#paused = undefined
    await this.#optional('Resume')
  }

  /** Pause and Resume are calls that a component need not have. */
  async #optional(method: string): Promise<void> {
    try {
      await this.#connection.call(`${SERVICE}/${method}`, Nothing, Nothing, {}, AbortSignal.timeout(PAUSE_TIMEOUT))
    } catch (error) {
      if (error instanceof ComponentCallError && error.status.code === Code.Unimplemented) return
      this.#context.log.debug(`${method} failed: ${messageOf(error)}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#active].map((stream) => stream[Symbol.asyncDispose]()))
    this.#active.clear()
    await this.#connection[Symbol.asyncDispose]()
  }
}
