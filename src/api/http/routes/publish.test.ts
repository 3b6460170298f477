import assert from 'node:assert/strict'
import { test } from 'node:test'
import { event, TestBroker, testBlock } from '../../../blocks/pubsub/harness.ts'
import { BodyBudget } from '../../../transport/body-budget.ts'
import { HttpApi } from '../server.ts'
import { publishRoutes } from './publish.ts'

async function serve(broker: TestBroker, properties: Record<string, string> = {}, maxBodySize = 0, bodies?: BodyBudget) {
  const routes = publishRoutes(testBlock(broker, {}, properties))
  const api = new HttpApi({ routes, maxBodySize, bodies, readBufferSize: 4096, h2c: false })
  const port = await api.listen({ port: 0, host: '127.0.0.1' })
  return {
    async post(path: string, body: unknown, headers: Record<string, string> = { 'content-type': 'application/json' }) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers,
        body: Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body),
      })
      const text = await response.text()
      return {
        status: response.status,
        headers: response.headers,
        body: (text === '' ? undefined : JSON.parse(text)) as {
          errorCode: string
          message: string
          details?: { reason?: string }[]
          failedEntries?: unknown
        },
      }
    },
    [Symbol.asyncDispose]: () => api.close(0),
  }
}

const events = (broker: TestBroker) => broker.published.map(({ data }) => JSON.parse(data.toString()) as Record<string, unknown>)

test('publishes what it is given, to topics with slashes, with the trace of the caller', async () => {
  const broker = new TestBroker()
  await using api = await serve(broker)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  assert.equal(
    (
      await api.post(
        '/v1.0/publish/ps/a/b%2Fc?metadata.cloudevent.id=my&metadata.own=1',
        { id: 1 },
        { 'content-type': 'application/json', traceparent, tracestate: 'k=v' },
      )
    ).status,
    204,
  )
  const [made] = events(broker)
  assert.deepEqual(
    { ...made, time: '' },
    {
      data: { id: 1 },
      datacontenttype: 'application/json',
      id: 'my',
      pubsubname: 'ps',
      source: 'myapp',
      specversion: '1.0',
      time: '',
      topic: 'a/b/c',
      traceid: traceparent,
      traceparent,
      tracestate: 'k=v',
      type: 'com.dapr.event.sent',
    },
  )
  assert.deepEqual([broker.published[0]?.topic, broker.published[0]?.metadata], ['a/b/c', { 'cloudevent.id': 'my', own: '1' }])
  await api.post('/v1.0/publish/ps/t?metadata.rawPayload=true', Buffer.from([1, 255]))
  assert.deepEqual(broker.published[1]?.data, Buffer.from([1, 255]))
})

const refused: [string, string, unknown, Record<string, string>, number, string, string, string | undefined][] = [
  ['unknown component', '/v1.0/publish/no/t', {}, {}, 404, 'ERR_PUBSUB_NOT_FOUND', 'pubsub no is not found', 'DAPR_PUBSUB_NOT_FOUND'],
  [
    'no topic',
    '/v1.0/publish/ps/',
    {},
    {},
    404,
    'ERR_DIRECT_INVOKE',
    'failed getting app id either from the URL path or the header dapr-app-id',
    undefined,
  ],
  [
    'bad rawPayload',
    '/v1.0/publish/ps/t?metadata.rawPayload=maybe',
    {},
    {},
    400,
    'ERR_PUBSUB_REQUEST_METADATA',
    "failed deserializing metadata. Error: rawPayload value must be a valid boolean: actual is 'maybe'",
    'DAPR_PUBSUB_METADATA_DESERIALIZATION',
  ],
  [
    'broken event',
    '/v1.0/publish/ps/t',
    '{',
    { 'content-type': 'application/cloudevents+json' },
    500,
    'ERR_PUBSUB_CLOUD_EVENTS_SER',
    'cannot create cloudevent',
    'DAPR_PUBSUB_CLOUD_EVENT_CREATION',
  ],
  [
    'forbidden topic',
    '/v1.0/publish/ps/secret',
    {},
    {},
    403,
    'ERR_PUBSUB_FORBIDDEN',
    'topic secret is not allowed for app id myapp',
    'DAPR_PUBSUB_FORBIDDEN',
  ],
  [
    'refusing broker',
    '/v1.0/publish/ps/full',
    {},
    {},
    500,
    'ERR_PUBSUB_PUBLISH_MESSAGE',
    'error when publishing to topic full in pubsub ps: no room',
    'DAPR_PUBSUB_PUBLISH_MESSAGE',
  ],
  [
    'bulk: broken body',
    '/v1.0/publish/bulk/ps/t',
    '[',
    {},
    400,
    'ERR_PUBSUB_EVENTS_SER',
    'error when unmarshaling the request for topic t pubsub ps: unexpected EOF',
    'DAPR_PUBSUB_UNMARSHAL_EVENTS',
  ],
  [
    'bulk: no list',
    '/v1.0/publish/bulk/ps/t',
    {},
    {},
    400,
    'ERR_PUBSUB_EVENTS_SER',
    'error when unmarshaling the request for topic t pubsub ps: json: cannot unmarshal object into Go value of type []http.bulkPublishMessageEntry',
    'DAPR_PUBSUB_UNMARSHAL_EVENTS',
  ],
  [
    'bulk: same id twice',
    '/v1.0/publish/bulk/ps/t',
    ['1', '1'].map((entryId) => ({ entryId, event: 'a', contentType: 'text/plain' })),
    {},
    400,
    'ERR_PUBSUB_EVENTS_SER',
    'error marshaling events to bytes for topic t pubsub ps. error: entryId is duplicated or not present for entry',
    'DAPR_PUBSUB_MARSHAL_EVENTS',
  ],
  [
    'bulk: event of the wrong kind',
    '/v1.0/publish/bulk/ps/t',
    [{ entryId: '1', event: {}, contentType: 'text/plain' }],
    {},
    400,
    'ERR_PUBSUB_EVENTS_SER',
    'error when marshalling cloud event envelope for topic t pubsub ps: error: mismatch between contentType and event',
    'DAPR_PUBSUB_MARSHAL_ENVELOPE',
  ],
]
for (const [name, path, body, headers, status, code, message, reason] of refused) {
  test(`refuses ${name}`, async () => {
    const broker = new TestBroker()
    broker.refusal = ({ topic }) => (topic === 'full' ? new Error('no room') : undefined)
    await using api = await serve(broker, { publishingscopes: 'myapp=t,full' })
    const reply = await api.post(path, body, headers)
    assert.deepEqual(
      [reply.status, reply.body.errorCode, reply.body.message, reply.body.details?.at(-1)?.reason],
      [status, code, message, reason],
    )
    assert.equal(broker.published.length, 0)
  })
}

test('a body past the limit is a failed publish', async () => {
  await using api = await serve(new TestBroker(), {}, 10)
  const reply = await api.post('/v1.0/publish/ps/t', 'x'.repeat(20))
  assert.deepEqual([reply.status, reply.body.errorCode], [413, 'ERR_PUBSUB_PUBLISH_MESSAGE'])
})

test('an event for which there is no memory is refused as such, to be published again', async () => {
  const bodies = new BodyBudget(10_000)
  bodies.take(10_000)
  await using api = await serve(new TestBroker(), {}, 0, bodies)
  for (const path of ['/v1.0/publish/ps/t', '/v1.0/publish/bulk/ps/t']) {
    const { status, headers, body } = await api.post(path, 'x'.repeat(20_000))
    assert.deepEqual([status, headers.get('retry-after'), body.errorCode], [429, '1', 'ERR_MEMORY_LIMIT'])
  }
})

test('bulk: each entry is an event of its own', async () => {
  const broker = new TestBroker(['MESSAGE_TTL'])
  await using api = await serve(broker)
  const entries = [
    { entryId: '1', event: 'one', contentType: 'text/plain' },
    { entryId: '2', event: { two: 2.0 }, contentType: 'application/json', metadata: { own: 'entry', 'cloudevent.type': 't' } },
    { entryId: '3', event: 'AQI=', contentType: 'application/octet-stream' },
    { entryID: '4', Event: event(), ContentType: 'application/cloudevents+json' },
  ]
  for (const path of ['/v1.0/publish/bulk/ps/t', '/v1.0-alpha1/publish/bulk/ps/t'])
    assert.equal((await api.post(`${path}?metadata.own=request&metadata.cloudevent.source=me`, entries)).status, 204)
  const made = events(broker).slice(0, 4)
  assert.deepEqual(
    made.map(({ data, data_base64, type, source }) => [data ?? data_base64, type, source]),
    [
      ['one', 'com.dapr.event.sent', 'myapp'],
      [{ two: 2 }, 't', 'me'],
      ['AQI=', 'com.dapr.event.sent', 'myapp'],
      [{ x: 4 }, 'com.dapr.event.sent', 's'],
    ],
  )
  assert.equal(broker.published[1]?.metadata.own, 'entry')
  assert.equal((await api.post('/v1.0/publish/bulk/ps/t', [])).status, 204)
  assert.equal(broker.published.length, 8)
})

test('bulk: says which entries the broker refused', async () => {
  const broker = new TestBroker()
  broker.refusal = ({ data }) => (data.includes('two') ? new Error('no röom') : undefined)
  await using api = await serve(broker)
  const reply = await api.post(
    '/v1.0/publish/bulk/ps/t',
    ['one', 'two', 'three'].map((text) => ({ entryId: text, event: text, contentType: 'text/plain' })),
  )
  assert.deepEqual(
    [reply.status, reply.body],
    [500, { failedEntries: [{ entryId: 'two', error: 'no röom' }], errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE' }],
  )
  assert.equal(reply.headers.get('metadata.error'), 'no r?om')
  assert.equal(broker.published.length, 2)
})
