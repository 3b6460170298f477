import type { Component } from '../../components/component.ts'

export type PubSubFeature = 'MESSAGE_TTL' | 'SUBSCRIBE_WILDCARDS' | 'BULK_PUBSUB' | 'BULK_SUBSCRIBE_IMMEDIATE'

export interface PublishRequest {
  topic: string
  data: Buffer
  contentType?: string | undefined
  metadata: Readonly<Record<string, string>>
}

export interface DeliveredMessage {
  topic: string
  data: Buffer
  contentType?: string | undefined
  metadata: Readonly<Record<string, string>>
}

export interface BulkEntry {
  entryId: string
  data: Buffer
  contentType: string
  metadata: Readonly<Record<string, string>>
}

/**
 * Not handled, and a resiliency policy has given up on it: a broker that keeps nothing lets the message go, as Dapr's does;
 * a durable one gives it back later as after any failure.
 */
export class GivenUpError extends Error {
  override readonly name = 'GivenUpError'
}

/**
 * Handles one message. Resolves: the broker may forget it. Rejects: not handled, the broker gives it back later
 * (with backoff, without blocking other topics). Aborted `signal`: the subscription ends; hand the message back uncounted.
 */
export type MessageHandler = (message: DeliveredMessage, signal: AbortSignal) => Promise<void>

export interface SubscribeOptions {
  /**
   * The handler gathers up to this many messages before it settles any of them: a driver that keeps fewer under way
   * never fills a batch. A driver told to keep the order (one handler) does so also here, and its batches hold one.
   */
  batch?: number | undefined
  /** And how long it gathers them, milliseconds: a driver that keeps an order may hold back that long, and give a whole batch at once. */
  wait?: number | undefined
}

/** One broker. At least once: a message leaves it only when a handler has resolved for it. */
export interface PubSub extends Component {
  readonly features: readonly PubSubFeature[]
  /** Gathers batches itself and gives each whole, in one turn (see `wait`), so that the handler has none to wait for. */
  readonly givesBatches?: boolean
  publish(request: PublishRequest, signal?: AbortSignal): Promise<void>
  /** Entries that failed; empty when all are in. */
  bulkPublish?(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]>
  /** Resolves when messages published from now on will be delivered. Disposing stops intake, waits for running handlers and hands back the rest. */
  subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    options?: SubscribeOptions,
  ): Promise<AsyncDisposable>
}
