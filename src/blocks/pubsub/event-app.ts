/** What the app made of an event. RETRY and everything unknown are DeliveryErrors. */
export type Verdict = 'SUCCESS' | 'DROP'

/** The app has not handled an event, and may when asked again. */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError'
  /** HTTP status or gRPC code that a policy may match on. */
  readonly status: number | undefined
  /** Whether the app was not reached at all. */
  readonly unreachable: boolean
  constructor(message: string, options: { status?: number; unreachable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.status = options.status
    this.unreachable = options.unreachable ?? false
  }
}

export interface Delivery {
  pubsubName: string
  topic: string
  path: string
  /** The parsed CloudEvent. */
  event: Readonly<Record<string, unknown>>
  /** What an HTTP app gets as body. */
  body: Buffer
  /** The broker's metadata, with `pubsubName`. */
  metadata: Readonly<Record<string, string>>
  /** W3C trace for the call; undefined when the event carries none. */
  traceparent?: string | undefined
}

export interface BulkDeliveryEntry {
  entryId: string
  /** CloudEvent JSON, or the untouched payload when `raw`. */
  data: Buffer
  raw: boolean
  contentType: string
  event: Readonly<Record<string, unknown>>
  metadata: Readonly<Record<string, string>>
}

export interface BulkDelivery {
  id: string
  pubsubName: string
  topic: string
  path: string
  metadata: Readonly<Record<string, string>>
  /** W3C trace for the call: that of the first entry that carries one. */
  traceparent?: string | undefined
  entries: readonly BulkDeliveryEntry[]
}

/** `GONE`: the app has no such route; dropped without dead letter. */
export type BulkVerdict = Verdict | 'GONE' | DeliveryError

/** The app as pub/sub sees it, over either wire. */
export interface EventApp {
  /** What the app subscribes to by itself, parsed but unchecked; undefined: it does not say. Rejects when it cannot be asked. */
  subscriptions(signal: AbortSignal): Promise<unknown>
  /** Rejects with DeliveryError. */
  deliver(delivery: Delivery, signal: AbortSignal | undefined): Promise<Verdict>
  /** A verdict for each entry, by entry id. */
  deliverBulk(delivery: BulkDelivery, signal: AbortSignal | undefined): Promise<Map<string, BulkVerdict>>
}
