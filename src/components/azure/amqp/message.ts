import { Decoder } from './decode.ts'
import { Encoder } from './encode.ts'
import type { AmqpMessage, AmqpProperties, EncodedMessage } from './types.ts'
import { Described, symbol, Typed, uint } from './values.ts'

const HEADER = 0x70
const DELIVERY_ANNOTATIONS = 0x71
const ANNOTATIONS = 0x72
const PROPERTIES = 0x73
const APPLICATION = 0x74
const DATA = 0x75
const SEQUENCE = 0x76
const VALUE = 0x77
/** A message whose data sections are messages, each in its own bytes: of Service Bus and Event Hubs. */
const BATCH = 0x80013700

const NAMES: Readonly<Record<string, number>> = {
  'amqp:header:list': HEADER,
  'amqp:delivery-annotations:map': DELIVERY_ANNOTATIONS,
  'amqp:message-annotations:map': ANNOTATIONS,
  'amqp:properties:list': PROPERTIES,
  'amqp:application-properties:map': APPLICATION,
  'amqp:data:binary': DATA,
  'amqp:amqp-sequence:list': SEQUENCE,
  'amqp:value:*': VALUE,
}

/** https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html#section-message-format */
export function encodeMessage(message: AmqpMessage): EncodedMessage {
  const encoder = new Encoder(256 + (message.data?.length ?? 0))
  envelope(encoder, message)
  if (message.data !== undefined) encoder.described(DATA).binary(message.data)
  else encoder.described(VALUE).value(message.value)
  return { bytes: encoder.bytes(), format: 0 }
}

/** Several messages in one transfer. `message` says what stands around them, e.g. the annotation of a partition; its body is not sent. */
export function encodeBatch(messages: readonly EncodedMessage[], message: AmqpMessage = {}): EncodedMessage {
  const encoder = new Encoder(256 + messages.reduce((sum, { bytes }) => sum + bytes.length + 8, 0))
  envelope(encoder, message)
  for (const { bytes } of messages) encoder.described(DATA).binary(bytes)
  return { bytes: encoder.bytes(), format: BATCH }
}

function envelope(encoder: Encoder, message: AmqpMessage): void {
  const { header, deliveryAnnotations, annotations, properties, applicationProperties } = message
  if (header) {
    const { durable, ttl } = header
    encoder.described(HEADER).list([durable, undefined, ttl === undefined ? undefined : uint(ttl)])
  }
  if (deliveryAnnotations) encoder.described(DELIVERY_ANNOTATIONS).value(new Typed('symbolic-map', deliveryAnnotations))
  if (annotations) encoder.described(ANNOTATIONS).value(new Typed('symbolic-map', annotations))
  if (properties) encoder.described(PROPERTIES).list(propertyList(properties))
  if (applicationProperties) encoder.described(APPLICATION).value(applicationProperties)
}

function propertyList(properties: AmqpProperties): unknown[] {
  const { messageId, to, subject, replyTo, correlationId, contentType, contentEncoding } = properties
  return [
    messageId,
    undefined,
    to,
    subject,
    replyTo,
    correlationId,
    contentType === undefined ? undefined : symbol(contentType),
    contentEncoding === undefined ? undefined : symbol(contentEncoding),
    properties.absoluteExpiryTime,
    properties.creationTime,
    properties.groupId,
    undefined,
    properties.replyToGroupId,
  ]
}

/** Throws what `Decoder` does. */
export function decodeMessage(bytes: Buffer): AmqpMessage {
  const decoder = new Decoder(bytes)
  const message: AmqpMessage = {}
  const data: Buffer[] = []
  while (!decoder.done) {
    const section = decoder.value()
    if (!(section instanceof Described)) throw new TypeError('an AMQP message has a part that is no section')
    const { descriptor, value } = section
    switch (typeof descriptor === 'string' ? NAMES[descriptor] : Number(descriptor)) {
      case HEADER: {
        const [durable, , ttl, , count] = value as unknown[]
        message.header = { durable: durable === true, ttl: given(ttl) as number | undefined, deliveryCount: Number(count ?? 0) }
        break
      }
      case DELIVERY_ANNOTATIONS:
        message.deliveryAnnotations = value as Record<string, unknown>
        break
      case ANNOTATIONS:
        message.annotations = value as Record<string, unknown>
        break
      case PROPERTIES:
        message.properties = readProperties(value as unknown[])
        break
      case APPLICATION:
        message.applicationProperties = value as Record<string, unknown>
        break
      case DATA:
        data.push(value as Buffer)
        break
      case SEQUENCE:
        message.value = [...((message.value as unknown[] | undefined) ?? []), ...(value as unknown[])]
        break
      case VALUE:
        message.value = value
        break
    }
  }
  if (data.length > 0) message.data = data.length === 1 ? data[0] : Buffer.concat(data)
  return message
}

function readProperties(list: readonly unknown[]): AmqpProperties {
  const [messageId, , to, subject, replyTo, correlationId, contentType, contentEncoding, expiry, creation, groupId, , replyToGroupId] = list
  const found: AmqpProperties = {
    messageId: text(messageId),
    to: text(to),
    subject: text(subject),
    replyTo: text(replyTo),
    correlationId: text(correlationId),
    contentType: text(contentType),
    contentEncoding: text(contentEncoding),
    absoluteExpiryTime: expiry instanceof Date ? expiry : undefined,
    creationTime: creation instanceof Date ? creation : undefined,
    groupId: text(groupId),
    replyToGroupId: text(replyToGroupId),
  }
  return found
}

function text(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined
  return Buffer.isBuffer(value) ? value.toString('hex') : String(value)
}

function given(value: unknown): unknown {
  return value === null ? undefined : value
}
