import { bool, enumeration, int32, type MessageOf, map, message, nested, repeated, string } from '../../transport/grpc/message.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { mediaType } from './cloud-event.ts'
import type { BulkDelivery, BulkDeliveryEntry, Delivery } from './event-app.ts'
import { goEncode } from './go-json.ts'

/** The messages of AppCallback that carry events. One event a call is the hot path, so they are written by hand. */

type Event = Readonly<Record<string, unknown>>

const writer = new ProtoWriter()
const NONE = Buffer.alloc(0)
/** Members that have fields of their own; all others are extensions. */
const OWN = new Set(['id', 'source', 'type', 'specversion', 'datacontenttype', 'data', 'data_base64'])
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** TopicEventRequest, with `prefix` bytes left free in front. Throws when the event's data is not what its type says. */
export function encodeTopicEvent({ event, topic, pubsubName, path }: Delivery, prefix = 0): Buffer {
  writeTopicEvent(writer.reset(), event, topic, pubsubName, path)
  return writer.take(prefix)
}

/** SubscribeTopicEventsResponseAlpha1 with `event_message`, with `prefix` bytes left free in front. Throws as above. */
export function encodeStreamedEvent({ event, topic, pubsubName, path }: Delivery, prefix = 0): Buffer {
  const mark = writer.reset().begin(2)
  writeTopicEvent(writer, event, topic, pubsubName, path)
  writer.end(mark)
  return writer.take(prefix)
}

function writeTopicEvent(to: ProtoWriter, event: Event, topic: string, pubsubName: string, path: string): void {
  const data = dataOf(event)
  writeAttributes(to, event)
  to.string(6, topic)
  to.bytes(7, data)
  to.string(8, pubsubName)
  to.string(9, path)
  writeExtensions(to, 10, event)
}

/** TopicEventBulkRequest of these entries. Each must have passed `checkEntry`. */
export function encodeBulkRequest(delivery: BulkDelivery, entries: readonly BulkDeliveryEntry[]): Buffer {
  writer.reset()
  writer.string(1, delivery.id)
  for (const entry of entries) {
    const mark = writer.begin(2)
    writer.string(1, entry.entryId)
    if (entry.raw) writer.bytes(2, entry.data, true)
    else {
      const event = writer.begin(3)
      writeAttributes(writer, entry.event)
      writer.bytes(6, dataOf(entry.event))
      writeExtensions(writer, 7, entry.event)
      writer.end(event)
    }
    writer.string(4, entry.contentType)
    writer.map(5, entry.metadata)
    writer.end(mark)
  }
  writer.map(3, delivery.metadata)
  writer.string(4, delivery.topic)
  writer.string(5, delivery.pubsubName)
  writer.string(6, 'com.dapr.event.sent.bulk')
  writer.string(7, delivery.path)
  return writer.take()
}

/** Throws when an entry cannot be written: its neighbours must not suffer for it. */
export function checkEntry(entry: BulkDeliveryEntry): void {
  if (!entry.raw) dataOf(entry.event)
}

/** Attributes that are not text stay empty. */
function writeAttributes(to: ProtoWriter, event: Event): void {
  to.string(1, text(event.id))
  to.string(2, text(event.source))
  to.string(3, text(event.type))
  to.string(4, text(event.specversion))
  to.string(5, text(event.datacontenttype))
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Data as bytes: decoded, as the text it is, or as JSON again; a plain value of any other content type has none. */
function dataOf(event: Event): Uint8Array {
  const encoded = event.data_base64
  if (encoded !== undefined && encoded !== null) {
    if (typeof encoded !== 'string' || !BASE64.test(encoded)) throw new Error('data_base64 of the event is not Base64')
    return Buffer.from(encoded, 'base64')
  }
  const { data } = event
  if (data === undefined || data === null) return NONE
  if (Buffer.isBuffer(data)) return data
  const contentType = text(event.datacontenttype)
  const type = mediaType(contentType)
  if (type.startsWith('text/') || type === 'application/xml') {
    if (typeof data !== 'string') throw new Error(`data of the event is not text, as its content type ${contentType} says`)
    return Buffer.from(data)
  }
  return type === 'application/json' || type === 'application/cloudevents+json' ? Buffer.from(goEncode(data)) : NONE
}

function writeExtensions(to: ProtoWriter, field: number, event: Event): void {
  const mark = to.begin(field)
  for (const name in event) if (!OWN.has(name)) writeMember(to, name, event[name])
  to.end(mark)
}

/** One entry of google.protobuf.Struct. */
function writeMember(to: ProtoWriter, name: string, value: unknown): void {
  const entry = to.begin(1)
  to.string(1, name)
  const mark = to.begin(2)
  writeValue(to, value)
  to.end(mark)
  to.end(entry)
}

/** The content of google.protobuf.Value: one field of a oneof, so zero values are written too. */
function writeValue(to: ProtoWriter, value: unknown): void {
  if (typeof value === 'string') return to.string(3, value, true)
  if (typeof value === 'number') return to.double(2, value, true)
  if (typeof value === 'boolean') return to.uint(4, value ? 1 : 0, true)
  if (typeof value !== 'object' || value === null) return to.uint(1, 0, true)
  const mark = to.begin(Array.isArray(value) ? 6 : 5)
  if (Array.isArray(value)) {
    for (const item of value) {
      const element = to.begin(1)
      writeValue(to, item)
      to.end(element)
    }
  } else for (const [name, member] of Object.entries(value)) writeMember(to, name, member)
  to.end(mark)
}

/** TopicEventResponse as its status: 0 SUCCESS, 1 RETRY, 2 DROP, others unknown. */
export function decodeTopicEventResponse(bytes: Buffer): number {
  return readStatus(new ProtoReader(bytes))
}

function readStatus(reader: ProtoReader): number {
  let status = 0
  while (reader.next()) {
    if (reader.field === 1 && reader.type === 0) status = reader.int32()
    else reader.skip()
  }
  return status
}

/** What a stream's app sends: its wish at first, then one answer for each event. */
export type StreamRequest =
  | { kind: 'initial'; pubsubName: string; topic: string; metadata: Record<string, string>; deadLetterTopic: string }
  | { kind: 'processed'; id: string; status: number }

/** SubscribeTopicEventsRequestAlpha1; undefined: neither of the two. */
export function decodeStreamRequest(bytes: Buffer): StreamRequest | undefined {
  const reader = new ProtoReader(bytes)
  let found: StreamRequest | undefined
  while (reader.next()) {
    if (reader.field === 1) {
      const { pubsubName, topic, metadata, deadLetterTopic } = InitialRequest.read(reader.message())
      found = { kind: 'initial', pubsubName, topic, metadata, deadLetterTopic }
    } else if (reader.field === 2) {
      const processed = reader.message()
      found = { kind: 'processed', id: '', status: 0 }
      while (processed.next()) {
        if (processed.field === 1) found.id = processed.string()
        else if (processed.field === 2) found.status = readStatus(processed.message())
        else processed.skip()
      }
    } else reader.skip()
  }
  return found
}

const P = 'dapr.proto.runtime.v1.'

const InitialRequest = message(`${P}SubscribeTopicEventsRequestInitialAlpha1`, {
  pubsubName: string(1),
  topic: string(2),
  metadata: map(3),
  deadLetterTopic: string(4),
})

const TopicRule = message(`${P}TopicRule`, { match: string(1), path: string(2) })
const TopicRoutes = message(`${P}TopicRoutes`, { rules: repeated(nested(1, TopicRule)), default: string(2) })
const BulkSubscribeConfig = message(`${P}BulkSubscribeConfig`, {
  enabled: bool(1),
  maxMessagesCount: int32(2),
  maxAwaitDurationMs: int32(3),
})
const TopicSubscription = message(`${P}TopicSubscription`, {
  pubsubName: string(1),
  topic: string(2),
  metadata: map(3),
  routes: nested(5, TopicRoutes),
  deadLetterTopic: string(6),
  bulkSubscribe: nested(7, BulkSubscribeConfig),
})

/** What the app subscribes to. */
export const ListTopicSubscriptionsResponse = message(`${P}ListTopicSubscriptionsResponse`, {
  subscriptions: repeated(nested(1, TopicSubscription)),
})
export type ListTopicSubscriptionsResponse = MessageOf<typeof ListTopicSubscriptionsResponse>

const TopicEventBulkResponseEntry = message(`${P}TopicEventBulkResponseEntry`, {
  entryId: string(1),
  status: enumeration(2, {
    fullName: `${P}TopicEventResponse.TopicEventResponseStatus`,
    values: { 0: 'SUCCESS', 1: 'RETRY', 2: 'DROP' },
  }),
})

/** One status for each entry. */
export const TopicEventBulkResponse = message(`${P}TopicEventBulkResponse`, { statuses: repeated(nested(1, TopicEventBulkResponseEntry)) })
