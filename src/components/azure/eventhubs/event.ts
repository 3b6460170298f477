import { randomUUID } from 'node:crypto'
import type { LogRecord } from '../../partitions/claim.ts'
import type { AmqpMessage } from '../amqp/types.ts'

/** An event as a partition has it. */
export interface HubEvent extends LogRecord {
  message: AmqpMessage
  /** Where it lies in the partition; `offset` here is its sequence number. */
  place: string
}

const KEY = 'x-opt-partition-key'
const SEQUENCE = 'x-opt-sequence-number'
const OFFSET = 'x-opt-offset'
const TIME = 'x-opt-enqueued-time'
/** Of events that came by IoT Hub. */
const IOT = [
  'iothub-connection-device-id',
  'iothub-connection-auth-generation-id',
  'iothub-connection-auth-method',
  'iothub-connection-module-id',
  'iothub-enqueuedtime',
]
/** Bytes of what comes with a body, roughly. */
const OVERHEAD = 300

/** An event to send; its id is made here, as Azure's SDK does it. */
export function outgoing(data: Buffer, contentType: string | undefined, key: string | undefined): AmqpMessage {
  return {
    data,
    properties: { messageId: randomUUID(), contentType: contentType || undefined },
    annotations: key ? { [KEY]: key } : undefined,
  }
}

/** undefined: it has no sequence number or offset, as all have that Event Hubs gives out. */
export function incoming(message: AmqpMessage): HubEvent | undefined {
  const offset = Number(message.annotations?.[SEQUENCE])
  const place = message.annotations?.[OFFSET]
  if (!Number.isSafeInteger(offset) || (typeof place !== 'string' && typeof place !== 'number')) return undefined
  return { message, offset, place: String(place), size: (message.data?.length ?? 0) + OVERHEAD }
}

/** What the app gets: the bytes, or the text of a value as other clients may write it. */
export function dataOf({ message: { data, value } }: HubEvent): Buffer {
  if (data) return data
  return Buffer.isBuffer(value) ? value : Buffer.from(textOf(value) ?? '')
}

/** Metadata by daprd's names; `all`: with the application properties. */
export function metadataOf({ message, offset, place }: HubEvent, all: boolean): Record<string, string> {
  const { annotations = {}, applicationProperties = {}, properties } = message
  const metadata: Record<string, string> = { [SEQUENCE]: String(offset), [OFFSET]: place }
  const add = (name: string, value: unknown) => {
    const text = textOf(value)
    if (text !== undefined) metadata[name] = text
  }
  for (const name of [TIME, KEY, ...IOT]) if (annotations[name] !== undefined) add(name, annotations[name])
  if (properties?.messageId) metadata['message-id'] = properties.messageId
  if (all) for (const [name, value] of Object.entries(applicationProperties)) add(name, value)
  return metadata
}

/** As Go's casts write it; undefined for what they do not take. */
function textOf(value: unknown): string | undefined {
  if (value === null) return ''
  if (value instanceof Date) return `${value.toISOString().slice(0, 19)}Z`
  if (Buffer.isBuffer(value)) return value.toString()
  return ['string', 'number', 'bigint', 'boolean'].includes(typeof value) ? String(value) : undefined
}
