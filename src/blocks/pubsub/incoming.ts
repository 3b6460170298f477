import { randomUUID } from 'node:crypto'
import { passTraceparent } from '../../telemetry/trace-context.ts'
import { mediaType } from './cloud-event.ts'
import type { DeliveredMessage } from './driver.ts'
import { goDecode, goEncode } from './go-json.ts'

/** A broker's message, read. */
export interface Incoming {
  /** The CloudEvent that rules and gRPC fields see. */
  event: Readonly<Record<string, unknown>>
  /** What an HTTP app gets: the payload untouched, or the envelope made around a raw one. */
  body: Buffer
  traceparent: string | undefined
}

/** Reads a message as its subscription says. Throws when the payload is not a CloudEvent and no raw one is expected. */
export function readMessage(message: DeliveredMessage, pubsubName: string, topic: string, raw: boolean): Incoming {
  if (raw) return readRaw(message, pubsubName, topic)
  const contentType = message.contentType ?? lookup(message.metadata, 'content-type') ?? lookup(message.metadata, 'contenttype') ?? ''
  const binary = mediaType(contentType) === 'application/octet-stream'
  const event = binary ? readBinary(message, contentType) : readJson(message.data)
  if (!binary) addTrace(event, message.metadata)
  return { event, body: message.data, traceparent: traceOf(event, message.metadata) }
}

/** Whether the event's time is over; an unreadable `expiration` never is. */
export function isExpired(event: Readonly<Record<string, unknown>>): boolean {
  if (typeof event.expiration !== 'string' || !/^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(event.expiration))
    return false
  return Date.parse(event.expiration) < Date.now()
}

function readRaw(message: DeliveredMessage, pubsubName: string, topic: string): Incoming {
  const event: Record<string, unknown> = {
    data_base64: message.data.toString('base64'),
    datacontenttype: 'application/octet-stream',
    id: randomUUID(),
    pubsubname: pubsubName,
    source: 'Dapr',
    specversion: '1.0',
    topic,
    type: 'com.dapr.event.sent',
  }
  addTrace(event, message.metadata)
  return { event, body: Buffer.from(goEncode(event)), traceparent: traceOf(event, message.metadata) }
}

/** What the event does not say of its trace, the message's metadata may. */
function addTrace(event: Record<string, unknown>, metadata: Readonly<Record<string, string>>): void {
  for (const name of ['traceid', 'traceparent', 'tracestate']) {
    if (event[name] !== undefined) continue
    const value = lookup(metadata, name)
    if (value === undefined) continue
    event[name] = value
    // The newer name wins over the older one.
    if (name === 'traceparent') event.traceid = value
  }
}

/** CloudEvents' binary mode: members in metadata as `ce_*`, the payload as data. */
function readBinary(message: DeliveredMessage, contentType: string): Record<string, unknown> {
  const event: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(message.metadata)) if (/^ce_/i.test(name)) event[name.slice(3).toLowerCase()] = value
  event.data = message.data
  event.datacontenttype = contentType
  return event
}

function readJson(payload: Buffer): Record<string, unknown> {
  const event = goDecode(payload.toString())
  if (typeof event !== 'object' || event === null || Array.isArray(event)) throw new Error('the payload is JSON, but not an object')
  return event as Record<string, unknown>
}

/** The trace of the call to the app: the event's, all zeros where the event's is empty, none where it has none. */
function traceOf(event: Readonly<Record<string, unknown>>, metadata: Readonly<Record<string, string>>): string | undefined {
  const given = [event.traceid, event.traceparent, lookup(metadata, 'traceid'), lookup(metadata, 'traceparent')].filter(
    (value) => typeof value === 'string',
  )
  if (given.length === 0) return undefined
  return passTraceparent(given.find((value) => /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value)))
}

function lookup(metadata: Readonly<Record<string, string>>, wanted: string): string | undefined {
  return metadata[wanted] ?? Object.entries(metadata).find(([name]) => name.toLowerCase() === wanted)?.[1]
}
