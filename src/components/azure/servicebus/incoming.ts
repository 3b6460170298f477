import type { AmqpDelivery, AmqpMessage } from '../amqp/types.ts'

/** The content: bytes, or the text that another client sent as a value. */
export function contentOf({ data, value }: AmqpMessage): Buffer {
  if (data) return data
  return Buffer.isBuffer(value) ? value : Buffer.from(typeof value === 'string' ? value : '')
}

/** The lock token of a delivery, in the order of bytes that UUIDs are written in; undefined where the tag is none. */
export function lockToken({ tag }: AmqpDelivery): Buffer | undefined {
  if (tag.length !== 16) return undefined
  const token = Buffer.from(tag)
  token.subarray(0, 4).reverse()
  token.subarray(4, 6).reverse()
  token.subarray(6, 8).reverse()
  return token
}

/** What daprd tells of a message: application properties and those of Service Bus, each with `metadata.` before its name. */
export function metadataOf(delivery: AmqpDelivery): Record<string, string> {
  const { properties = {}, annotations = {}, header, applicationProperties = {} } = delivery.message
  const found: [string, string][] = Object.entries(applicationProperties).map(([name, value]) => [name, shown(value)])
  const add = (name: string, value: string | undefined) => {
    if (value !== undefined && value !== '') found.push([name, value])
  }
  const time = (name: string, value: unknown) => add(name, value instanceof Date ? value.toUTCString() : undefined)
  add('MessageId', properties.messageId)
  if (properties.groupId !== undefined) found.push(['SessionId', properties.groupId])
  add('CorrelationId', properties.correlationId)
  add('Label', properties.subject)
  add('ReplyTo', properties.replyTo)
  add('To', properties.to)
  add('ContentType', properties.contentType)
  add('LockToken', lockToken(delivery)?.toString('base64'))
  add('DeliveryCount', String(header ? (header.deliveryCount ?? 0) + 1 : 0))
  time('EnqueuedTimeUtc', annotations['x-opt-enqueued-time'])
  const sequence = annotations['x-opt-sequence-number']
  add('SequenceNumber', sequence === undefined || sequence === null ? undefined : String(sequence))
  time('ScheduledEnqueueTimeUtc', annotations['x-opt-scheduled-enqueue-time'])
  if (typeof annotations['x-opt-partition-key'] === 'string') found.push(['PartitionKey', annotations['x-opt-partition-key']])
  time('LockedUntilUtc', annotations['x-opt-locked-until'])
  return Object.fromEntries(found.map(([name, value]) => [`metadata.${name}`, value]))
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'object' && !Buffer.isBuffer(value) ? '' : String(value)
}
