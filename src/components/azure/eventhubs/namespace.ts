import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { orAborted, pause } from '../../../waiting.ts'
import { AmqpClient } from '../amqp/client.ts'
import { AmqpError, UnreachableError } from '../amqp/errors.ts'
import { encodeBatch, encodeMessage } from '../amqp/message.ts'
import type { AmqpMessage, AmqpReceiver, AmqpRequests, AmqpSender, EncodedMessage, ReceiverOptions } from '../amqp/types.ts'
import type { Checkpoint } from './checkpoint-store.ts'
import type { HubSettings } from './settings.ts'

/** Hubs with an open sender; the one that came first is closed for another. */
const SENDERS = 1000
/** What a hub takes where it does not say, bytes. */
const MOST = 1 << 20
/** Bytes around a message in a batch, and around the batch, at most. */
const AROUND = 8
const ENVELOPE = 1024
/** Limits for questions to a hub, and for the acknowledgement of what is sent, milliseconds. */
const LIMIT = 30_000
const PATIENCE = 15_000

/** Milliseconds before what did not pass is sent again. */
const AGAIN = [200, 1000, 3000]
const PASSING = new Set([
  'com.microsoft:server-busy',
  'com.microsoft:timeout',
  'com.microsoft:operation-cancelled',
  'amqp:link:detach-forced',
  'amqp:connection:forced',
  'amqp:internal-error',
  'amqp:released',
])
const NEVER = new AbortController().signal

/** Messages that go out together: to one partition. */
export interface Outgoing {
  key: string | undefined
  /** Not empty. */
  messages: readonly AmqpMessage[]
  /** Bytes of one request, when less than the hub takes. */
  most: number | undefined
}

/** One namespace of Event Hubs over one connection: sends to its hubs, asks about them, opens receivers. */
export class Namespace implements AsyncDisposable {
  readonly settings: HubSettings
  readonly #client: AmqpClient
  readonly #senders = new Map<string, Promise<AmqpSender>>()

  constructor(settings: HubSettings, label: string, log: Logger) {
    this.settings = settings
    const { host, port, tls, tokens } = settings
    this.#client = new AmqpClient({ host, port, tls, tokens, label, log })
  }

  open(signal: AbortSignal): Promise<void> {
    return this.#client.open(signal)
  }

  /** Throws for a hub that the connection string is not for. */
  check(hub: string): void {
    const { hub: only } = this.settings
    if (only !== undefined && only !== hub)
      throw new Error(`the requested topic '${hub}' does not match the Event Hub name in the connection string`)
  }

  /** Sends all or, where they do not fit into one request, batch after batch. Gives how many are in, and why not all. */
  async send(hub: string, { key, messages, most }: Outgoing, signal?: AbortSignal): Promise<{ sent: number; error?: Error }> {
    let sent = 0
    try {
      const { maxMessageSize } = await this.#sender(hub, signal)
      for (const { message, count } of batchesOf(messages, key, limitOf(maxMessageSize, most))) {
        await this.#transfer(hub, message, signal)
        sent += count
      }
      return { sent }
    } catch (error) {
      return { sent, error: error instanceof Error ? error : new Error(messageOf(error)) }
    }
  }

  /** Ids of a hub's partitions. */
  async partitions(hub: string, signal: AbortSignal): Promise<string[]> {
    const found = await this.#read(hub, [{ type: 'com.microsoft:eventhub' }], signal)
    const ids = found[0]?.partition_ids
    if (!Array.isArray(ids) || ids.length === 0) throw new Error(`event hub ${hub}: the answer names no partitions`)
    return ids.map(String)
  }

  /** The last event of each partition. */
  async ends(hub: string, partitions: readonly string[], signal: AbortSignal): Promise<Checkpoint[]> {
    const questions = partitions.map((partition) => ({ type: 'com.microsoft:partition', partition }))
    const found = await this.#read(hub, questions, signal)
    return partitions.map((partition, index) => {
      const { last_enqueued_sequence_number: sequence, last_enqueued_offset: offset } = found[index] ?? {}
      if (!Number.isSafeInteger(Number(sequence)))
        throw new Error(`event hub ${hub}: the answer does not say where partition ${partition} ends`)
      return { partition, sequence: Number(sequence), offset: offset === undefined ? undefined : String(offset) }
    })
  }

  receiver(address: string, options: ReceiverOptions, signal: AbortSignal): Promise<AmqpReceiver> {
    return this.#client.receiver(address, options, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
    await this.settings.entra?.[Symbol.asyncDispose]()
  }

  /** What a busy hub refuses, or the end of a link cuts off, is sent again: it may be there twice. */
  async #transfer(hub: string, message: EncodedMessage, given: AbortSignal = NEVER): Promise<void> {
    for (const wait of [...AGAIN, undefined]) {
      const late = AbortSignal.timeout(PATIENCE)
      const signal = AbortSignal.any([given, late])
      const sender = await this.#sender(hub, signal)
      try {
        return await sender.send(message, signal)
      } catch (error) {
        if (given.aborted) throw error
        const why = late.aborted ? `${this.settings.host} has not acknowledged it within ${PATIENCE / 1000} s` : messageOf(error)
        if (late.aborted || wait === undefined || !passes(error)) throw new Error(`error publishing batch: ${why}`, { cause: error })
        await pause(wait, given)
      }
    }
  }

  async #sender(hub: string, signal: AbortSignal = NEVER): Promise<AmqpSender> {
    try {
      this.check(hub)
      return await orAborted(this.#senders.get(hub) ?? this.#open(hub), signal)
    } catch (error) {
      signal.throwIfAborted()
      throw new Error(`error trying to establish a connection: ${messageOf(error)}`, { cause: error })
    }
  }

  /** One link for all who send to a hub, until it ends. */
  #open(hub: string): Promise<AmqpSender> {
    const opening = this.#client.sender(hub, {}, AbortSignal.timeout(LIMIT))
    this.#senders.set(hub, opening)
    const forget = () => {
      if (this.#senders.get(hub) === opening) this.#senders.delete(hub)
    }
    opening.then((sender) => sender.closed.then(forget), forget)
    if (this.#senders.size > SENDERS) {
      const [first, oldest] = this.#senders.entries().next().value as [string, Promise<AmqpSender>]
      this.#senders.delete(first)
      oldest.then((sender) => sender[Symbol.asyncDispose]()).catch(() => {})
    }
    return opening
  }

  async #read(hub: string, questions: readonly Record<string, string>[], signal: AbortSignal): Promise<Record<string, unknown>[]> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(LIMIT)])
    const { tokens, host } = this.settings
    const audience = `sb://${host}/${hub}`
    let requests: AmqpRequests | undefined
    try {
      requests = await this.#client.requests(`${hub}/$management`, { audience }, limit)
      const { token } = await tokens(audience, limit)
      const about = { operation: 'READ', name: hub, security_token: token }
      const open = requests
      const replies = await Promise.all(questions.map((one) => open.call({ applicationProperties: { ...about, ...one } }, limit)))
      return replies.map(({ message }) => (message.value ?? {}) as Record<string, unknown>)
    } catch (error) {
      throw new Error(`event hub ${hub}: ${messageOf(error)}`, { cause: error })
    } finally {
      await requests?.[Symbol.asyncDispose]()
    }
  }
}

function passes(error: unknown): boolean {
  return error instanceof UnreachableError || (error instanceof AmqpError && PASSING.has(error.condition))
}

function limitOf(taken: number | undefined, most: number | undefined): number {
  const largest = taken ?? MOST
  if (most === undefined || most <= largest) return most ?? largest
  throw new Error(
    `error creating event batch: maximum message size for batch was set to ${most} bytes, which is larger than the maximum size allowed by link (${largest})`,
  )
}

/** Transfers of at most so many bytes; one message alone goes as it is. Throws at a message that does not fit. */
function* batchesOf(
  messages: readonly AmqpMessage[],
  key: string | undefined,
  most: number,
): Generator<{ message: EncodedMessage; count: number }> {
  const around: AmqpMessage = key === undefined ? {} : { annotations: { 'x-opt-partition-key': key } }
  let held: EncodedMessage[] = []
  let size = ENVELOPE
  const whole = () => ({ message: held.length === 1 ? (held[0] as EncodedMessage) : encodeBatch(held, around), count: held.length })
  for (const message of messages) {
    const encoded = encodeMessage(message)
    if (encoded.bytes.length > most)
      throw new Error('error adding messages to batch: the EventData could not be added because it is too large for the batch')
    if (held.length > 0 && size + encoded.bytes.length + AROUND > most) {
      yield whole()
      held = []
      size = ENVELOPE
    }
    held.push(encoded)
    size += encoded.bytes.length + AROUND
  }
  if (held.length > 0) yield whole()
}
