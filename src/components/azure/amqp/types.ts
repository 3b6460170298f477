/** A message as applications see it. What is absent is not sent; what a peer did not send is absent. */
export interface AmqpMessage {
  /** The bytes of the data sections, joined: what Service Bus and Event Hubs carry. */
  data?: Buffer | undefined
  /** In place of data: a value section, or the items of sequences, as other clients may write them. Whole numbers beyond 2^53 are bigints. */
  value?: unknown
  header?: { ttl?: number | undefined; durable?: boolean | undefined; deliveryCount?: number | undefined } | undefined
  properties?: AmqpProperties | undefined
  /** Message annotations, e.g. `x-opt-enqueued-time`; Date is a timestamp, see `values.ts` for other types. */
  annotations?: Readonly<Record<string, unknown>> | undefined
  deliveryAnnotations?: Readonly<Record<string, unknown>> | undefined
  applicationProperties?: Readonly<Record<string, unknown>> | undefined
}

export interface AmqpProperties {
  /** As text also where the sender wrote a number, UUID or bytes (hexadecimal). */
  messageId?: string | undefined
  correlationId?: string | undefined
  to?: string | undefined
  subject?: string | undefined
  replyTo?: string | undefined
  contentType?: string | undefined
  contentEncoding?: string | undefined
  /** Of Service Bus: the session. */
  groupId?: string | undefined
  replyToGroupId?: string | undefined
  absoluteExpiryTime?: Date | undefined
  creationTime?: Date | undefined
}

/** A message in AMQP's bytes; `format` 0 is one message, see `encodeBatch` for others. */
export interface EncodedMessage {
  bytes: Buffer
  format: number
}

/** One token for `$cbs`. */
export interface CbsToken {
  type: 'servicebus.windows.net:sastoken' | 'jwt'
  token: string
  /** Milliseconds since 1970. */
  expires: number
}

/** Gives a fresh token for an audience (`sb://host/entity`); rejects with words that hold no secret. */
export type TokenSource = (audience: string, signal: AbortSignal) => Promise<CbsToken>

export interface SenderOptions {
  /** Messages without an outcome yet; those beyond wait in order. Default 512, at most 2000. */
  inFlight?: number
  /** What the token is for. Default `sb://<host>/<address>`. */
  audience?: string
  /** Properties of the link, e.g. `com.microsoft:timeout`. */
  properties?: Readonly<Record<string, unknown>>
}

/** A link that sends. When it ends (`closed`) what is under way rejects and it is of no use any more: open another. */
export interface AmqpSender extends AsyncDisposable {
  readonly address: string
  /** What the peer takes, bytes; undefined when it does not say. */
  readonly maxMessageSize: number | undefined
  readonly usable: boolean
  /** Resolves with the reason when the link has ended, also by our own doing. Never rejects. */
  readonly closed: Promise<Error>
  /**
   * Resolves when the peer has accepted the message. Rejects with AmqpError (its condition; `amqp:released` and
   * `amqp:modified` for these outcomes), with UnreachableError when the connection is lost before the outcome, or with the
   * signal's reason: then the outcome is unknown.
   */
  send(message: AmqpMessage | EncodedMessage, signal?: AbortSignal): Promise<void>
}

export interface ReceiverOptions {
  /** Messages that may come before any `grant`; 0 is allowed. */
  credit: number
  /** `second` (default): an outcome counts when the peer confirms it. `first`: our word is the last. */
  settle?: 'first' | 'second'
  /** The peer settles what it sends; outcomes mean nothing. Default false. */
  presettled?: boolean
  /** Filters of the source by name; values as `described` in values.ts makes them, or plain. */
  filters?: Readonly<Record<string, unknown>>
  /** Properties of the link, e.g. `com.microsoft:epoch`. */
  properties?: Readonly<Record<string, unknown>>
  /** e.g. `com.microsoft:enable-receiver-runtime-metric`. */
  desiredCapabilities?: readonly string[]
  audience?: string
  /** One call for each message, in their order; it must not throw, and returns at once. */
  onMessage(delivery: AmqpDelivery): void
}

/** A link that receives. Each message uses up one credit; whoever wants more grants more. */
export interface AmqpReceiver extends AsyncDisposable {
  /** Of the link, for requests to `$management` that concern it. */
  readonly name: string
  readonly address: string
  readonly usable: boolean
  readonly closed: Promise<Error>
  /** What the peer says of the source's filters and the link's properties when it attaches; plain values. */
  readonly remoteFilters: Readonly<Record<string, unknown>>
  readonly remoteProperties: Readonly<Record<string, unknown>>
  /** Credit without a message yet. */
  readonly credit: number
  grant(count: number): void
  /** Takes all credit back; resolves when nothing comes any more (also when the link has ended). Rejects with the signal's reason. */
  drain(signal: AbortSignal): Promise<void>
}

export interface AmqpDelivery {
  readonly message: AmqpMessage
  /** Of Service Bus: the lock token, a UUID in .NET's order of bytes. */
  readonly tag: Buffer
  readonly receiver: AmqpReceiver
  /** These resolve when the peer has confirmed; reject with AmqpError (e.g. the lock is lost), UnreachableError or the signal's reason. */
  accept(signal?: AbortSignal): Promise<void>
  release(signal?: AbortSignal): Promise<void>
  reject(error: { condition: string; description?: string; info?: Readonly<Record<string, unknown>> }, signal?: AbortSignal): Promise<void>
  modify(
    change: { deliveryFailed?: boolean; undeliverableHere?: boolean; annotations?: Readonly<Record<string, unknown>> },
    signal?: AbortSignal,
  ): Promise<void>
}

export interface AmqpReply {
  /** As HTTP's: 200 to 299. */
  status: number
  description: string
  message: AmqpMessage
}

/** Requests and their answers over a pair of links, e.g. to `<entity>/$management`. */
export interface AmqpRequests extends AsyncDisposable {
  readonly usable: boolean
  readonly closed: Promise<Error>
  /**
   * The operation stands in `applicationProperties`; message id and reply address are added. Rejects with AmqpError for a
   * status of 300 and more: `status`, `condition` (the peer's `errorCondition`, or `amqp:status-<n>`).
   */
  call(message: AmqpMessage, signal: AbortSignal): Promise<AmqpReply>
}
