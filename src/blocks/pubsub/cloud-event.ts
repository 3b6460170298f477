import { randomUUID } from 'node:crypto'
import { parseDuration } from '../../components/metadata.ts'
import { goDecode, goEncode, goString } from './go-json.ts'

/** The W3C trace of the publishing request; empty strings when there is none. */
export interface Trace {
  traceparent: string
  tracestate: string
}
export const NO_TRACE: Trace = { traceparent: '', tracestate: '' }

/** What an event is made of. */
export interface Envelope {
  body: Buffer
  contentType: string
  pubsubName: string
  /** Without the namespace prefix. */
  topic: string
  /** The publishing app. */
  appId: string
  trace: Trace
  metadata: Readonly<Record<string, string>>
  /** Whether a TTL becomes the member `expiration`: the broker cannot expire messages itself. */
  expires: boolean
}

/** A message as CloudEvents 1.0 JSON: an event given as such keeps its members, anything else is wrapped. Throws GoSyntaxError. */
export function toCloudEvent(envelope: Envelope): Buffer {
  return Buffer.from(mediaType(envelope.contentType) === 'application/cloudevents+json' ? passThrough(envelope) : wrap(envelope))
}

/** `application/JSON; charset=utf-8` as `application/json`. */
export function mediaType(contentType: string): string {
  if (contentType === 'application/json') return contentType
  const semicolon = contentType.indexOf(';')
  return (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase()
}

/** Written member by member, in the alphabetical order of a Go map. */
function wrap(envelope: Envelope): string {
  const over = overrides(envelope.metadata)
  const expiration = envelope.expires ? expirationOf(envelope.metadata) : undefined
  const trace = over.traceparent || over.traceid || envelope.trace.traceparent
  return `{${dataMember(envelope)},"datacontenttype":${goString(envelope.contentType || 'text/plain')}${
    expiration === undefined ? '' : `,"expiration":"${expiration}"`
  },"id":${goString(over.id || randomUUID())},"pubsubname":${goString(envelope.pubsubName)},"source":${goString(over.source || envelope.appId || 'Dapr')},"specversion":"1.0"${
    over.subject ? `,"subject":${goString(over.subject)}` : ''
  },"time":"${localNow()}","topic":${goString(envelope.topic)},"traceid":${goString(trace)},"traceparent":${goString(trace)},"tracestate":${goString(over.tracestate || envelope.trace.tracestate)},"type":${goString(over.type || 'com.dapr.event.sent')}}`
}

function dataMember({ body, contentType }: Envelope): string {
  switch (mediaType(contentType)) {
    case 'application/json':
      try {
        return `"data":${goEncode(goDecode(body.toString(), true))}`
      } catch {
        break // Not JSON after all, or nested past the stack: it travels as the text it is.
      }
    case 'application/octet-stream':
    case 'application/cloudevents+protobuf':
      return `"data_base64":"${body.toString('base64')}"`
    case 'application/x-protobuf':
      if (isProtobuf(body)) return `"data_base64":"${body.toString('base64')}"`
  }
  return `"data":${goString(body.toString())}`
}

function passThrough(envelope: Envelope): string {
  const event = goDecode(envelope.body.toString(), true)
  if (typeof event !== 'object' || event === null || Array.isArray(event)) {
    throw new Error(
      `json: cannot unmarshal ${event === null ? 'null' : Array.isArray(event) ? 'array' : typeof event} into Go value of type map[string]interface {}`,
    )
  }
  const members = event as Record<string, unknown>
  members.topic = envelope.topic
  members.pubsubname = envelope.pubsubName
  if (members.time === undefined) members.time = localNow()
  if (members.traceid === undefined) members.traceid = members.traceparent = envelope.trace.traceparent
  if (members.tracestate === undefined) members.tracestate = envelope.trace.tracestate
  members.source ??= 'Dapr'
  members.type ??= 'com.dapr.event.sent'
  members.specversion ??= '1.0'
  const expiration = envelope.expires ? expirationOf(envelope.metadata) : undefined
  if (expiration !== undefined) members.expiration = expiration
  return goEncode(members)
}

const OVERRIDES = ['id', 'source', 'type', 'subject', 'traceid', 'traceparent', 'tracestate'] as const

function overrides(metadata: Readonly<Record<string, string>>): Partial<Record<(typeof OVERRIDES)[number], string>> {
  const found: Partial<Record<string, string>> = {}
  for (const [name, value] of Object.entries(metadata)) {
    const key = name.toLowerCase()
    if (key.startsWith('cloudevent.')) found[key.slice('cloudevent.'.length)] = value
  }
  return found
}

/** When a message with this metadata expires, RFC 3339 in UTC; undefined without a readable TTL. */
export function expirationOf(metadata: Readonly<Record<string, string>>): string | undefined {
  const named = (wanted: string) => Object.entries(metadata).find(([name, value]) => name.toLowerCase() === wanted && value !== '')?.[1]
  const text = named('ttl') ?? named('ttlinseconds')
  if (text === undefined) return undefined
  const whole = /^[+-]?\d+$/.test(text)
  if (!whole && /^[+-]?\d+(\.\d+)?$/.test(text)) return undefined
  const duration = parseDuration(text)
  if (duration === undefined || (whole && duration <= 0)) return undefined
  const at = new Date(Date.now() + Math.max(0, duration))
  return Number.isNaN(at.getTime()) || at.getUTCFullYear() > 9999 ? undefined : at.toISOString().replace(/\.\d+Z$/, 'Z')
}

let clock = { second: 0, text: '' }

/** The time as events carry it; made once a second. */
function localNow(): string {
  const now = Date.now()
  const second = Math.floor(now / 1000)
  if (second !== clock.second) clock = { second, text: localTime(new Date(now)) }
  return clock.text
}

/** RFC 3339 with whole seconds, in the local zone. */
function localTime(date: Date): string {
  const offset = -date.getTimezoneOffset()
  const wall = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19)
  if (offset === 0) return `${wall}Z`
  const two = (value: number) => String(value).padStart(2, '0')
  return `${wall}${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`
}

/** Whether bytes are a well-formed protobuf message. */
function isProtobuf(bytes: Buffer): boolean {
  let at = 0
  const varint = () => {
    for (let value = 0, factor = 1; at < bytes.length && factor <= 2 ** 63; factor *= 128) {
      const byte = bytes[at++] as number
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
    return -1
  }
  while (at < bytes.length) {
    const tag = varint()
    if (tag < 8) return false
    const wire = tag % 8
    if (wire === 0) {
      if (varint() < 0) return false
    } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4
    else if (wire === 2) {
      const length = varint()
      if (length < 0) return false
      at += length
    } else return false
    if (at > bytes.length) return false
  }
  return true
}
