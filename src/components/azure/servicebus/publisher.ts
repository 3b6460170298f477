import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { BulkEntry } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { AmqpClient } from '../amqp/client.ts'
import { AmqpError, UnreachableError } from '../amqp/errors.ts'
import { encodeBatch, encodeMessage } from '../amqp/message.ts'
import type { AmqpMessage, AmqpSender, EncodedMessage } from '../amqp/types.ts'
import { messageFrom } from './outgoing.ts'
import type { ServiceBusSettings } from './settings.ts'

/** What another try may cure on the same link. */
const PASSING = new Set([
  'amqp:internal-error',
  'amqp:illegal-state',
  'com.microsoft:message-lock-lost',
  'com.microsoft:session-cannot-be-locked',
  'com.microsoft:timeout',
  'com.microsoft:session-lock-lost',
  'com.microsoft:store-lock-lost',
  'com.microsoft:server-busy',
])
/** What ends a link and says nothing against the next one. */
const LINK_LOST = new Set(['amqp:link:detached', 'amqp:link:detach-forced', 'amqp:session:ended', 'amqp:connection:forced'])
/** Bytes of one batch, unless the request's metadata says otherwise. */
const BATCH = 128 << 10
/** What a batch needs besides its messages. */
const ENVELOPE = 1024
/** Links at once; the one that came first goes first. */
const MOST_SENDERS = 1000
/** The pause between two tries grows by half, up to this many milliseconds, and each is a half more or less. */
const LONGEST_PAUSE = 60_000

/** Sends to entities over one link each, again where that may help. */
export class Publisher {
  readonly #client: AmqpClient
  readonly #settings: ServiceBusSettings
  readonly #label: string
  readonly #log: Logger
  readonly #senders = new Map<string, Promise<AmqpSender>>()

  constructor(client: AmqpClient, settings: ServiceBusSettings, label: string, log: Logger) {
    this.#client = client
    this.#settings = settings
    this.#label = label
    this.#log = log
  }

  /** `ensure` comes before each link. Rejects with what the last try said. */
  async send(entity: string, message: AmqpMessage | EncodedMessage, ensure: () => Promise<void>, given?: AbortSignal): Promise<void> {
    const { publishRetries, publishPause, timeout } = this.#settings
    for (let attempt = 0; ; attempt++) {
      const late = AbortSignal.timeout(timeout)
      const signal = given ? AbortSignal.any([given, late]) : late
      try {
        const sender = await this.#sender(entity, ensure, signal)
        await sender.send(message, signal)
        if (attempt > 0) this.#log.info(`${this.#label}: sent to ${entity} after ${attempt} failed tries`)
        return
      } catch (thrown) {
        if (given?.aborted) throw thrown
        const error =
          late.aborted && thrown === late.reason ? new UnreachableError(`${entity} did not answer within ${timeout} ms`) : thrown
        const lost = error instanceof UnreachableError || (error instanceof AmqpError && LINK_LOST.has(error.condition))
        if (lost) this.#forget(entity)
        const again = lost || (error instanceof AmqpError && PASSING.has(error.condition))
        if (!again || attempt >= publishRetries) throw error
        const wait = Math.min(LONGEST_PAUSE, publishPause * 1.5 ** attempt) * (0.5 + Math.random())
        this.#log.warn(`${this.#label}: not sent to ${entity}, again in ${Math.round(wait)} ms: ${messageOf(error)}`)
        await pause(wait, undefined, given ? { signal: given } : {})
      }
    }
  }

  /** In batches, those of one session or partition key each. The entries that failed. */
  async sendAll(
    entity: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    ensure: () => Promise<void>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    const failed: { entryId: string; error: Error }[] = []
    const fail = (ids: readonly string[], thrown: unknown) => {
      const error = thrown instanceof Error ? thrown : new Error(messageOf(thrown))
      failed.push(...ids.map((entryId) => ({ entryId, error })))
    }
    const groups = new Map<string, { entryId: string; message: AmqpMessage; encoded: EncodedMessage }[]>()
    for (const { entryId, data, contentType, metadata: own } of entries) {
      try {
        const made = messageFrom(data, { ...metadata, ...own }, contentType)
        // As daprd: those of a batch have an id each.
        const message = { ...made, properties: { messageId: randomUUID(), ...made.properties } }
        const key = String(message.properties?.groupId ?? message.annotations?.['x-opt-partition-key'] ?? '')
        const group = groups.get(key) ?? []
        groups.set(key, group)
        group.push({ entryId, message, encoded: encodeMessage(message) })
      } catch (error) {
        fail([entryId], error)
      }
    }
    const limit = Number(metadata.maxBulkPubBytes) > 0 ? Number(metadata.maxBulkPubBytes) : BATCH
    for (const group of groups.values()) {
      for (let at = 0; at < group.length; ) {
        let [end, bytes] = [at, ENVELOPE]
        while (end < group.length && (end === at || bytes + (group[end]?.encoded.bytes.length ?? 0) < limit))
          bytes += (group[end++]?.encoded.bytes.length ?? 0) + 8
        const batch = group.slice(at, end)
        at = end
        const [first] = batch
        if (!first) break
        const whole =
          batch.length === 1
            ? first.encoded
            : encodeBatch(
                batch.map(({ encoded }) => encoded),
                first.message,
              )
        await this.send(entity, whole, ensure, signal).catch((error: unknown) =>
          fail(
            batch.map(({ entryId }) => entryId),
            error,
          ),
        )
      }
    }
    return failed
  }

  async #sender(entity: string, ensure: () => Promise<void>, signal: AbortSignal): Promise<AmqpSender> {
    const known = this.#senders.get(entity)
    if (known) {
      const sender = await known
      if (sender.usable) return sender
      if (this.#senders.get(entity) === known) this.#senders.delete(entity)
      return this.#sender(entity, ensure, signal)
    }
    // Not with the signal of the one who came first: others wait for the same link.
    const opening = (async () => {
      await ensure()
      return this.#client.sender(entity, {}, AbortSignal.timeout(this.#settings.timeout))
    })()
    this.#senders.set(entity, opening)
    opening.catch(() => {
      if (this.#senders.get(entity) === opening) this.#senders.delete(entity)
    })
    if (this.#senders.size > MOST_SENDERS) {
      const oldest = this.#senders.keys().next().value as string
      void this.#senders
        .get(oldest)
        ?.then((sender) => sender[Symbol.asyncDispose]())
        .catch(() => {})
      this.#senders.delete(oldest)
    }
    signal.throwIfAborted()
    return opening
  }

  #forget(entity: string): void {
    this.#senders.delete(entity)
  }
}
