import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createGrpcChannel } from '../../app/grpc-channel.ts'
import { Code } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createGrpcServer, type GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { type BulkDelivery, type Delivery, DeliveryError } from './event-app.ts'
import { createGrpcEventApp } from './grpc-event-app.ts'
import { event, TestBroker, testBlock } from './harness.ts'
import { ListTopicSubscriptionsResponse, TopicEventBulkResponse } from './topic-event.ts'

const CALLBACK = '/dapr.proto.runtime.v1.AppCallback/'
const ALPHA = '/dapr.proto.runtime.v1.AppCallbackAlpha/'
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

interface Heard {
  path: string
  headers: IncomingHttpHeaders
  fields: Fields
}
/** A message by field numbers: length-delimited fields as bytes, others as numbers. */
type Fields = Record<number, (Buffer | number)[]>

function read(bytes: Buffer): Fields {
  const found: Fields = {}
  const reader = new ProtoReader(bytes)
  while (reader.next()) {
    const value = reader.type === 2 ? reader.bytes() : reader.type === 1 ? reader.double() : reader.uint()
    found[reader.field] = [...(found[reader.field] ?? []), value]
  }
  return found
}
const texts = (fields: Fields, ...numbers: number[]) => numbers.map((number) => String(fields[number]?.[0] ?? ''))
const bytesOf = (fields: Fields, number: number) => fields[number]?.[0] as Buffer

/** google.protobuf.Struct as a plain object. */
function struct(bytes: Buffer): Record<string, unknown> {
  return Object.fromEntries(
    (read(bytes)[1] ?? []).map((entry) => {
      const pair = read(entry as Buffer)
      return [String(pair[1]?.[0]), value(bytesOf(pair, 2))]
    }),
  )
}
function value(bytes: Buffer): unknown {
  const [[number, [found] = []] = []] = Object.entries(read(bytes))
  switch (number) {
    case '1':
      return null
    case '3':
      return String(found)
    case '4':
      return found === 1
    case '5':
      return struct(found as Buffer)
    case '6':
      return (read(found as Buffer)[1] ?? []).map((item) => value(item as Buffer))
    default:
      return found
  }
}

/** An app with these methods by full path; what it hears is kept. */
async function startApp(methods: Record<string, (fields: Fields) => Buffer | Promise<Buffer>>) {
  const heard: Heard[] = []
  const served = Object.entries(methods).map(([path, answer]): [string, GrpcMethod] => [
    path,
    {
      kind: 'unary',
      handle(request, call) {
        const fields = read(request)
        heard.push({ path, headers: call.headers, fields })
        return answer(fields)
      },
    },
  ])
  let refused = 0
  const unknown = () => {
    refused++
    return undefined
  }
  const server = createGrpcServer({ methods: new Map(served), unknown })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const channel = createGrpcChannel({ port })
  return {
    heard,
    /** Calls of methods that the app does not have. */
    refused: () => refused,
    app: createGrpcEventApp(channel, log),
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]()
      await server.close(0)
    },
  }
}

const status = (number: number) => {
  const writer = new ProtoWriter()
  writer.uint(1, number)
  return writer.take()
}
const refuse = (code: Code) => () => {
  throw new GrpcStatus(code, 'so it is')
}
const delivery = (members: Record<string, unknown> = {}, rest: Partial<Delivery> = {}): Delivery => ({
  pubsubName: 'ps',
  topic: 'orders',
  path: '/on/orders',
  event: event(members),
  body: Buffer.alloc(0),
  metadata: { pubsubName: 'ps' },
  ...rest,
})

test('an event arrives field by field, with its metadata and trace', async () => {
  await using given = await startApp({ [`${CALLBACK}OnTopicEvent`]: () => Buffer.alloc(0) })
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const metadata = {
    pubsubName: 'ps',
    Key: 'v',
    'Content-Length': '7',
    'dapr-api-token': 'no',
    connection: 'close',
    'x-bin': 'raw',
    'grpc-timeout': '1n',
    bad: 'ü',
    tracestate: '',
  }
  const extensions = { time: 'now', n: 1.5, on: false, none: null, deep: { list: [1, 'a', {}] } }
  assert.equal(await given.app.deliver(delivery(extensions, { metadata, traceparent }), undefined), 'SUCCESS')
  const [{ headers, fields }] = given.heard as [Heard]
  assert.deepEqual(texts(fields, 1, 2, 3, 4, 5, 6, 7, 8, 9), [
    'e-1',
    's',
    'com.dapr.event.sent',
    '1.0',
    'application/json',
    'orders',
    '{"x":4}',
    'ps',
    '/on/orders',
  ])
  assert.deepEqual(struct(bytesOf(fields, 10)), { topic: 'orders', pubsubname: 'ps', traceid: '', ...extensions })
  const own = [
    'key',
    'pubsubname',
    'traceparent',
    'x-bin',
    'bad',
    'dapr-api-token',
    'content-length',
    'connection',
    'grpc-timeout',
    'tracestate',
  ]
  assert.deepEqual(Object.fromEntries(own.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]]))), {
    key: 'v',
    pubsubname: 'ps',
    traceparent,
    'x-bin': Buffer.from('raw').toString('base64'),
    tracestate: '',
  })
  assert.equal(
    Buffer.from(String(headers['grpc-trace-bin']), 'base64').toString('hex'),
    '00004bf92f3577b34da6a3ce929d0e0e47360100f067aa0ba902b70201',
  )
})

test('data is decoded, text, JSON or nothing, as the content type says', async () => {
  await using given = await startApp({ [`${CALLBACK}OnTopicEvent`]: () => Buffer.alloc(0) })
  const cases: [Record<string, unknown>, string][] = [
    [{ data: undefined, data_base64: 'AAEC', datacontenttype: 'application/octet-stream' }, '\0\u0001\u0002'],
    [{ data: 'hi', datacontenttype: 'TEXT/plain; charset=utf-8' }, 'hi'],
    [{ data: '<a/>', datacontenttype: 'application/xml' }, '<a/>'],
    [{ data: { b: 1, a: '<' }, datacontenttype: 'application/json' }, '{"a":"\\u003c","b":1}'],
    [{ data: { z: 1 }, datacontenttype: 'application/cloudevents+json' }, '{"z":1}'],
    [{ data: 'hi', datacontenttype: 'foo/bar' }, ''],
    [{ data: { z: 1 }, datacontenttype: undefined }, ''],
    [{ data: null }, ''],
    [{ data: Buffer.from('raw'), datacontenttype: 'application/octet-stream' }, 'raw'],
  ]
  for (const [members, expected] of cases) {
    await given.app.deliver(delivery(members), undefined)
    assert.equal(texts((given.heard.at(-1) as Heard).fields, 7)[0], expected, JSON.stringify(members))
  }
  for (const members of [{ data_base64: 'no base64!' }, { data_base64: 1 }, { data: { z: 1 }, datacontenttype: 'text/plain' }])
    await assert.rejects(given.app.deliver(delivery(members), undefined), DeliveryError, JSON.stringify(members))
  assert.equal(given.heard.length, cases.length)
})

test('verdicts on one event', async () => {
  let answer: () => Buffer = () => status(2)
  await using given = await startApp({ [`${CALLBACK}OnTopicEvent`]: () => answer() })
  assert.equal(await given.app.deliver(delivery(), undefined), 'DROP')
  answer = () => status(1)
  await assert.rejects(given.app.deliver(delivery(), undefined), { message: /^RETRY status returned/, status: undefined })
  answer = () => status(9)
  await assert.rejects(given.app.deliver(delivery(), undefined), /unknown status.*9/)
  answer = refuse(Code.Unimplemented)
  assert.equal(await given.app.deliver(delivery(), undefined), 'SUCCESS')
  answer = refuse(Code.Unavailable)
  await assert.rejects(given.app.deliver(delivery(), undefined), { status: Code.Unavailable, unreachable: false })
  const nowhere = createGrpcChannel({ port: 1 })
  await assert.rejects(createGrpcEventApp(nowhere, log).deliver(delivery(), undefined), { status: Code.Unavailable, unreachable: true })
  await nowhere[Symbol.asyncDispose]()
})

const bulk = (entries: BulkDelivery['entries']): BulkDelivery => ({
  id: 'b-1',
  pubsubName: 'ps',
  topic: 'orders',
  path: '/bulk',
  metadata: { pubsubName: 'ps' },
  entries,
})
const entry = (entryId: string, rest: Partial<BulkDelivery['entries'][number]> = {}) => ({
  entryId,
  data: Buffer.from(entryId),
  raw: false,
  contentType: 'application/cloudevents+json',
  event: event(),
  metadata: {},
  ...rest,
})

test('a batch arrives entry by entry, and each gets its own verdict', async () => {
  await using given = await startApp({
    [`${CALLBACK}OnBulkTopicEvent`]: () =>
      TopicEventBulkResponse.encode({
        statuses: [
          { entryId: 'good' },
          { entryId: 'again', status: 1 },
          { entryId: 'drop', status: 2 },
          { entryId: 'odd', status: 7 },
          { entryId: 'stranger' },
        ],
      }),
  })
  const names = ['good', 'again', 'drop', 'odd', 'silent']
  const verdicts = await given.app.deliverBulk(
    bulk([
      ...names.map((name) => entry(name)),
      entry('broken', { event: event({ data: 1, datacontenttype: 'text/plain' }) }),
      entry('raw', { raw: true, metadata: { k: 'v' }, contentType: 'application/octet-stream' }),
    ]),
    undefined,
  )
  const [{ fields }] = given.heard as [Heard]
  assert.deepEqual(texts(fields, 1, 4, 5, 6, 7), ['b-1', 'orders', 'ps', 'com.dapr.event.sent.bulk', '/bulk'])
  const entries = (fields[2] as Buffer[]).map(read)
  assert.deepEqual(
    entries.map((fields) => texts(fields, 1)[0]),
    [...names, 'raw'],
  )
  const cloudEvent = read(bytesOf(entries[0] as Fields, 3))
  assert.deepEqual(texts(cloudEvent, 1, 2, 3, 4, 5, 6), ['e-1', 's', 'com.dapr.event.sent', '1.0', 'application/json', '{"x":4}'])
  assert.deepEqual(struct(bytesOf(cloudEvent, 7)), { topic: 'orders', pubsubname: 'ps', traceid: '' })
  assert.deepEqual(texts(entries.at(-1) as Fields, 2, 4), ['raw', 'application/octet-stream'])
  assert.deepEqual([verdicts.get('good'), verdicts.get('drop'), verdicts.has('stranger')], ['SUCCESS', 'DROP', false])
  for (const [name, expected] of [
    ['again', /^RETRY/],
    ['odd', /unknown status 7/],
    ['silent', /missing in the answer/],
    ['broken', /cannot be sent.*not text/],
    ['raw', /missing in the answer/],
  ] as const) {
    const verdict = verdicts.get(name)
    assert.ok(verdict instanceof DeliveryError, name)
    assert.match(verdict.message, expected)
  }
})

test('an app that only knows the alpha method gets its batches there; one that knows none has them acknowledged', async () => {
  await using old = await startApp({
    [`${ALPHA}OnBulkTopicEventAlpha1`]: () => TopicEventBulkResponse.encode({ statuses: [{ entryId: 'a' }] }),
  })
  for (const _ of [1, 2]) assert.deepEqual([...(await old.app.deliverBulk(bulk([entry('a')]), undefined))], [['a', 'SUCCESS']])
  assert.equal(old.refused(), 1)
  await using none = await startApp({})
  assert.deepEqual([...(await none.app.deliverBulk(bulk([entry('a')]), undefined))], [['a', 'GONE']])
  await using broken = await startApp({ [`${CALLBACK}OnBulkTopicEvent`]: refuse(Code.Internal) })
  const verdict = (await broken.app.deliverBulk(bulk([entry('a')]), undefined)).get('a')
  assert.equal(verdict instanceof DeliveryError && verdict.status, Code.Internal)
})

test('an app that answers HTTP 404 for what it has no handler for is not asked in vain', async () => {
  const paths: string[] = []
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    paths.push(String(headers[':path']))
    stream.respond({ ':status': 404 }, { endStream: true })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const channel = createGrpcChannel({ port: (server.address() as AddressInfo).port })
  const app = createGrpcEventApp(channel, log)
  assert.deepEqual([...(await app.deliverBulk(bulk([entry('a')]), undefined))], [['a', 'GONE']])
  assert.equal(await app.subscriptions(new AbortController().signal), undefined)
  assert.deepEqual(paths, [`${CALLBACK}OnBulkTopicEvent`, `${ALPHA}OnBulkTopicEventAlpha1`, `${CALLBACK}ListTopicSubscriptions`])
  await channel[Symbol.asyncDispose]()
  server.close()
})

test('what the app lists is subscribed to: rules, default, bulk, and no route at all', async () => {
  await using given = await startApp({
    [`${CALLBACK}ListTopicSubscriptions`]: () =>
      ListTopicSubscriptionsResponse.encode({
        subscriptions: [
          { pubsubName: 'ps', topic: 'bare', metadata: { k: 'v' }, deadLetterTopic: 'dead' },
          { pubsubName: 'ps', topic: 'empty', routes: {} },
          { pubsubName: 'ps', topic: 'ruled', routes: { rules: [{ match: 'event.type == "a"', path: '/a' }], default: '/d' } },
          { pubsubName: 'ps', topic: 'bulk', routes: { default: '/b' }, bulkSubscribe: { enabled: true, maxMessagesCount: 5 } },
        ],
      }),
    [`${CALLBACK}OnTopicEvent`]: () => status(0),
    [`${CALLBACK}OnBulkTopicEvent`]: (fields) =>
      TopicEventBulkResponse.encode({
        statuses: (fields[2] as Buffer[]).map((bytes) => ({ entryId: texts(read(bytes), 1)[0] as string })),
      }),
  })
  const broker = new TestBroker(['BULK_SUBSCRIBE_IMMEDIATE'])
  await using block = testBlock(broker, { eventApp: given.app })
  await block.start()
  assert.deepEqual(broker.subscribed.map(({ topic }) => topic).sort(), ['bare', 'bulk', 'empty', 'ruled'])
  for (const [topic, type, path] of [
    ['bare', 'x', ''],
    ['empty', 'x', ''],
    ['ruled', 'a', '/a'],
    ['ruled', 'x', '/d'],
  ] as const) {
    await broker.deliver(topic, event({ type }))
    assert.deepEqual(texts((given.heard.at(-1) as Heard).fields, 3, 9), [type, path])
  }
  await Promise.all([broker.deliver('bulk', event()), broker.deliver('bulk', event())])
  const last = given.heard.at(-1) as Heard
  assert.deepEqual([last.path, (last.fields[2] as Buffer[]).length], [`${CALLBACK}OnBulkTopicEvent`, 2])
  assert.deepEqual(block.list()[0], {
    pubsubname: 'ps',
    topic: 'bare',
    deadLetterTopic: 'dead',
    type: 'PROGRAMMATIC',
    metadata: { k: 'v' },
    rules: [{}],
  })
})
