import { ttlOf } from '../../given-ttl.ts'
import type { AmqpMessage, AmqpProperties } from '../amqp/types.ts'

/** Most that a header can say, milliseconds. */
const LONGEST = 2 ** 32 - 1

const IDS: Readonly<Record<string, 'messageId' | 'correlationId'>> = {
  MessageId: 'messageId',
  id: 'messageId',
  CorrelationId: 'correlationId',
  correlationID: 'correlationId',
}

const TEXTS: Readonly<Record<string, keyof AmqpProperties>> = {
  SessionId: 'groupId',
  Label: 'subject',
  ReplyTo: 'replyTo',
  To: 'to',
  ContentType: 'contentType',
}

/** A message as daprd makes it: known metadata are properties of Service Bus, others the application's. Throws what is wrong with them. */
export function messageFrom(data: Buffer, metadata: Readonly<Record<string, string>>, contentType?: string): AmqpMessage {
  const properties: { -readonly [name in keyof AmqpProperties]?: string } = contentType === undefined ? {} : { contentType }
  const annotations: Record<string, unknown> = {}
  const application: [string, string][] = []
  let ttl: number | undefined
  for (const [key, value] of Object.entries(metadata)) {
    if (value === '' && key !== 'SessionId') continue
    const id = IDS[key]
    const text = TEXTS[key]
    if (key === 'ttl' || key === 'ttlInSeconds') ttl = acceptable(metadata)
    else if (id) properties[id] ??= value
    else if (text) properties[text as 'to'] = value
    else if (key === 'PartitionKey') annotations['x-opt-partition-key'] = value
    else if (key === 'ScheduledEnqueueTimeUtc') annotations['x-opt-scheduled-enqueue-time'] = timeOf(key, value)
    else application.push([key, value])
  }
  const partition = annotations['x-opt-partition-key']
  if (partition !== undefined && properties.groupId !== undefined && partition !== properties.groupId)
    throw new Error(`session id ${properties.groupId} and partition key ${partition} should be equal when both present`)
  return {
    data,
    header: ttl === undefined ? undefined : { ttl: Math.min(LONGEST, ttl) },
    properties: properties as AmqpProperties,
    annotations,
    applicationProperties: application.length > 0 ? Object.fromEntries(application) : undefined,
  }
}

/** As daprd: one that cannot be read counts as none. */
function acceptable(metadata: Readonly<Record<string, string>>): number | undefined {
  try {
    return ttlOf(metadata)
  } catch {
    return undefined
  }
}

const HTTP_TIME = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} GMT$/
const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

function timeOf(key: string, text: string): Date {
  const time = HTTP_TIME.test(text) || RFC3339.test(text) ? new Date(text) : undefined
  if (!time || Number.isNaN(time.getTime())) throw new Error(`invalid time format for ${key}; expected HTTP time format or RFC3339`)
  return time
}
