import { mediaType, type Trace } from '../../../blocks/pubsub/cloud-event.ts'
import { badEntries, badEntry, badEntryId, publishFailed } from '../../../blocks/pubsub/errors.ts'
import { goDecode, goEncode } from '../../../blocks/pubsub/go-json.ts'
import type { PublishEntry, Publisher } from '../../../blocks/pubsub/publish.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import { type Call, noContent, type Reply, type Route } from '../route.ts'

const POST = ['POST', 'PUT']

/** `/v1.0/publish/{pubsub}/{topic…}` and its bulk forms. */
export function publishRoutes(block: Publisher): Route[] {
  const bulk = (call: Call) => bulkPublish(block, call)
  return [
    {
      methods: POST,
      path: '/v1.0/publish/:pubsubName/*',
      group: 'publish',
      version: 'v1',
      name: 'PublishEvent',
      handler: (call) => publish(block, call),
    },
    { methods: POST, path: '/v1.0/publish/bulk/:pubsubName/*', group: 'publish', version: 'v1', name: 'BulkPublishEvent', handler: bulk },
    {
      methods: POST,
      path: '/v1.0-alpha1/publish/bulk/:pubsubName/*',
      group: 'publish',
      version: 'v1alpha1',
      name: 'BulkPublishEvent',
      handler: bulk,
    },
  ]
}

async function publish(block: Publisher, call: Call): Promise<Reply> {
  const target = targetOf(call)
  block.check(target)
  const data = await bodyOf(call, target)
  await block.publish({ ...target, data, contentType: call.headers['content-type'] }, call.signal)
  return noContent
}

async function bulkPublish(block: Publisher, call: Call): Promise<Reply> {
  const target = targetOf(call)
  block.check(target)
  const entries = entriesOf((await bodyOf(call, target)).toString(), target.pubsubName, target.topic, block.appId)
  const { failedEntries, error } = await block.bulkPublish({ ...target, entries, spanName: call.path }, call.signal)
  if (!error) return noContent
  const failed = JSON.stringify({
    failedEntries: failedEntries.map((entry) => (entry.error ? entry : { entryId: entry.entryId })),
    errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE',
  })
  return {
    status: 500,
    headers: { 'metadata.responseData': headerValue(failed), 'metadata.error': headerValue(messageOf(error)) },
    body: failed,
  }
}

function targetOf(call: Call) {
  const topic = call.params['*'] ?? ''
  // daprd has no such route, so that its invocation answers.
  if (topic === '') {
    throw new OutriderError({
      code: 'ERR_DIRECT_INVOKE',
      http: 404,
      grpc: Code.NotFound,
      message: 'failed getting app id either from the URL path or the header dapr-app-id',
      hint: 'Name the topic after the component: /v1.0/publish/PUBSUB/TOPIC.',
    })
  }
  return { pubsubName: call.params.pubsubName ?? '', topic, metadata: call.metadata(), trace: traceOf(call), wire: 'http' as const }
}

async function bodyOf(call: Call, { pubsubName, topic }: { pubsubName: string; topic: string }): Promise<Buffer> {
  try {
    return await call.body()
  } catch (error) {
    // Nothing was read, and the same again may well be taken.
    if (error instanceof OutriderError && error.http === 429) throw error
    throw publishFailed(pubsubName, topic, messageOf(error), error, error instanceof OutriderError ? error.hint : undefined)
  }
}

/** The caller's trace lands in the event as it is. */
export function traceOf(call: Call): Trace {
  const { traceparent, tracestate } = call.headers
  if (typeof traceparent !== 'string' || !/^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent))
    return { traceparent: '', tracestate: '' }
  return { traceparent, tracestate: typeof tracestate === 'string' ? tracestate : '' }
}

function entriesOf(text: string, pubsubName: string, topic: string, appId: string): PublishEntry[] {
  let body: unknown
  try {
    body = goDecode(text, true)
    if (body === null) return []
    if (!Array.isArray(body)) throw new Error(`json: cannot unmarshal ${typeof body} into Go value of type []http.bulkPublishMessageEntry`)
  } catch (error) {
    throw badEntries(pubsubName, topic, appId, messageOf(error))
  }
  const seen = new Set<string>()
  return body.map((item: unknown): PublishEntry => {
    const fields = new Map(Object.entries((item ?? {}) as Record<string, unknown>).map(([name, value]) => [name.toLowerCase(), value]))
    const string = (name: string): string => {
      const value = fields.get(name.toLowerCase()) ?? ''
      if (typeof value !== 'string')
        throw badEntries(
          pubsubName,
          topic,
          appId,
          `json: cannot unmarshal ${typeof value} into Go struct field bulkPublishMessageEntry.${name} of type string`,
        )
      return value
    }
    const entryId = string('entryId')
    const contentType = string('contentType')
    const event = eventBytes(fields.get('event'), contentType)
    if (!event) throw badEntry(pubsubName, topic, appId, 'error: mismatch between contentType and event')
    if (entryId === '' || seen.has(entryId)) throw badEntryId(pubsubName, topic, appId)
    seen.add(entryId)
    return { entryId, contentType, event, metadata: stringMap(fields.get('metadata')) }
  })
}

/** The payload of an entry; undefined when event and content type do not fit. */
function eventBytes(event: unknown, contentType: string): Buffer | undefined {
  const type = mediaType(contentType)
  if (type === 'application/json' || type === 'application/cloudevents+json') return Buffer.from(goEncode(event ?? null))
  if (typeof event !== 'string') return undefined
  if (type.startsWith('text/') || type === 'application/xml') return Buffer.from(event)
  if (type !== 'application/octet-stream' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(event))
    return undefined
  return Buffer.from(event, 'base64')
}

function stringMap(value: unknown): Record<string, string> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]))
}

/** As much of a text as a header can carry. */
function headerValue(text: string): string {
  return text.replace(/[^\t\x20-\x7e]/g, '?')
}
