import { NO_TRACE, type Trace, toCloudEvent } from '../pubsub/cloud-event.ts'
import { goDecode, goEncode } from '../pubsub/go-json.ts'
import type { StateSet } from '../state/driver.ts'
import { goText } from './go-text.ts'

export interface OutboxEvent {
  /** The marker's key becomes the event's id. */
  marker: string
  /** The upsert that the event tells of. */
  operation: StateSet
  /** What the event carries: the operation itself, or its projection. */
  payload: StateSet
  pubsubName: string
  appId: string
  /** Of the request that runs the transaction. */
  trace?: Trace | undefined
}

/**
 * The CloudEvent of one upsert, as JSON. Every pair of the operation's metadata is a member, over the envelope's own;
 * only `id` and `data` cannot be set. The topic is filled in when it goes to the app's.
 */
export function outboxEvent({ marker, operation, payload, pubsubName, appId, trace = NO_TRACE }: OutboxEvent): Buffer {
  const contentType = payload.contentType ?? payload.metadata.contentType ?? ''
  // An event as data is a string to Dapr here, never passed through.
  const wrapAs = /^\s*application\/cloudevents\+json\s*(;|$)/i.test(contentType) ? '' : contentType
  const envelope = toCloudEvent({
    body: bodyOf(payload, contentType),
    contentType: wrapAs,
    pubsubName,
    topic: '',
    appId,
    trace: NO_TRACE,
    metadata: { 'cloudevent.id': marker },
    expires: false,
  })
  const event = goDecode(envelope.toString(), true) as Record<string, unknown>
  if (contentType) event.datacontenttype = contentType
  // As daprd: the trace stands in `traceid` alone.
  event.traceid = trace.traceparent
  event.tracestate = trace.tracestate
  for (const [name, value] of Object.entries(operation.metadata)) if (name !== 'id' && name !== 'data') event[name] = value
  return Buffer.from(goEncode(event))
}

/** Bytes as they are; a JSON value as JSON when its content type says so, else as text. */
function bodyOf({ value, json }: StateSet, contentType: string): Buffer {
  if (!json || contentType.toLowerCase() === 'application/json') return value
  return Buffer.from(goText(goDecode(value.toString())))
}
