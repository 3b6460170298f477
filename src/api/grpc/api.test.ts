import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Publisher } from '../../blocks/pubsub/publish.ts'
import type { StateBlock } from '../../blocks/state/state.ts'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { decodeGrpcMessage, GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { HINT } from '../hint.ts'
import type { GrpcApiOptions, GrpcCallRecord } from './api.ts'
import { serveGrpc, statusOf, stub } from './harness.ts'
import { publishMethods } from './publish.ts'
import { stateMethods } from './state.ts'

const serve = ({ state = {}, pubsub = {}, ...options }: Given) =>
  serveGrpc({ methods: [...stateMethods(stub(state)), ...publishMethods(stub(pubsub))], ...options })

interface Given extends Partial<GrpcApiOptions> {
  state?: Partial<StateBlock>
  pubsub?: Partial<Publisher>
}

function build(write: (writer: ProtoWriter) => void): Buffer {
  const writer = new ProtoWriter()
  write(writer)
  return writer.take()
}

/** Length-delimited fields of a message, by number. */
function fields(message: Buffer): Record<number, Buffer[]> {
  const found: Record<number, Buffer[]> = {}
  const reader = new ProtoReader(message)
  while (reader.next()) {
    if (reader.type === 2) found[reader.field] = [...(found[reader.field] ?? []), reader.bytes()]
    else reader.skip()
  }
  return found
}

test('SaveState hands every field to the block', async () => {
  const saved: unknown[] = []
  await using api = await serve({
    state: {
      save: async (store, items) =>
        void saved.push(
          store,
          items.map((item) => ({ ...item, value: item.value.toString('hex'), metadata: { ...item.metadata } })),
        ),
    },
  })
  const reply = await api.call(
    'SaveState',
    build((writer) => {
      writer.string(1, 'mem')
      for (const [key, etag] of [
        ['a', '7'],
        ['b', undefined],
      ] as const) {
        const item = writer.begin(2)
        writer.string(1, key)
        writer.bytes(2, Buffer.from([0, 255]))
        if (etag) {
          const mark = writer.begin(3)
          writer.string(1, etag)
          writer.end(mark)
        }
        writer.map(4, { ttlInSeconds: '5' })
        const options = writer.begin(5)
        writer.uint(1, 1)
        writer.uint(2, 2)
        writer.end(options)
        writer.end(item)
      }
    }),
  )
  assert.equal(reply.length, 0)
  const common = { value: '00ff', json: false, metadata: { ttlInSeconds: '5' }, concurrency: 'first-write', consistency: 'strong' }
  assert.deepEqual(saved, [
    'mem',
    [
      { key: 'a', etag: '7', ...common },
      { key: 'b', etag: undefined, ...common },
    ],
  ])
})

test('GetState answers data, etag and metadata, and nothing for a missing key', async () => {
  await using api = await serve({
    state: {
      get: async (_, { key, consistency }) =>
        key === 'a' ? { data: Buffer.from(`"${consistency}"`), etag: 'e', metadata: { ttlExpireTime: 't' } } : undefined,
    },
  })
  const request = (key: string) =>
    build((writer) => {
      writer.string(1, 'mem')
      writer.string(2, key)
      writer.uint(3, 2)
    })
  const found = fields(await api.call('GetState', request('a')))
  assert.deepEqual([found[1]?.[0]?.toString(), found[2]?.[0]?.toString()], ['"strong"', 'e'])
  assert.equal((await api.call('GetState', request('b'))).length, 0)
})

test('PublishEvent hands every field to the block', async () => {
  const published: unknown[] = []
  await using api = await serve({
    pubsub: { publish: async (event) => void published.push({ ...event, data: event.data.toString(), metadata: { ...event.metadata } }) },
  })
  await api.call(
    'PublishEvent',
    build((writer) => {
      writer.string(1, 'ps')
      writer.string(2, 'orders')
      writer.bytes(3, Buffer.from('hi'))
      writer.string(4, 'text/plain')
      writer.map(5, { rawPayload: 'true' })
    }),
  )
  assert.deepEqual(published, [
    { pubsubName: 'ps', topic: 'orders', data: 'hi', contentType: 'text/plain', metadata: { rawPayload: 'true' }, wire: 'grpc' },
  ])
})

const refused = new OutriderError({
  code: 'ERR_STATE_STORE_NOT_FOUND',
  http: 400,
  grpc: Code.InvalidArgument,
  message: 'state store no is not found',
  hint: 'use a loaded one, 100% sure',
  details: [errorInfo('DAPR_STATE_NOT_FOUND')],
})
const GET = '/dapr.proto.runtime.v1.Dapr/GetState'
const type = 'type.googleapis.com/google.rpc.ErrorInfo'
const EMPTY = Buffer.alloc(0)

test('errors of a block keep status, message and details, are counted by code and group, and carry their hint', async () => {
  const counted: unknown[] = []
  await using api = await serve({
    state: { get: () => Promise.reject(refused) },
    onError: (error, group, path) => counted.push([error.code, group, path]),
  })
  const { promise, resolve } = Promise.withResolvers<[GrpcStatus | undefined, unknown]>()
  api.client
    .stream(api.address, GET, {}, { onMessage() {}, onClose: (status, trailers) => resolve([status, trailers[HINT]]) })
    .end(frame(EMPTY))
  const [status, hint] = await promise
  assert.deepEqual(
    [status?.code, status?.message, status?.details.map((detail) => detail.typeUrl)],
    [Code.InvalidArgument, 'state store no is not found', [type]],
  )
  assert.equal(decodeGrpcMessage(String(hint)), 'use a loaded one, 100% sure')
  assert.deepEqual(counted, [['ERR_STATE_STORE_NOT_FOUND', 'state', GET]])
})

test('errors without a code of their own are not counted', async () => {
  const counted: unknown[] = []
  await using api = await serve({ state: { get: () => Promise.reject(new Error('oh')) }, onError: (error) => counted.push(error) })
  const status = await statusOf(api.call('GetState', EMPTY))
  assert.deepEqual([status.code, status.message, counted], [Code.Unknown, 'oh', []])
})

test('methods that nobody serves are UNIMPLEMENTED unless the proxy takes them; broken requests are refused', async () => {
  await using api = await serve({
    proxy: (path) => (path === '/own.Service/Echo' ? { kind: 'unary', handle: (request) => request } : undefined),
  })
  assert.equal(String(await api.client.unary(api.address, '/own.Service/Echo', Buffer.from('hi'))), 'hi')
  const unknown = await statusOf(api.call('DoesNotExist', EMPTY))
  assert.deepEqual(
    [unknown.code, unknown.message],
    [Code.Unimplemented, 'unknown method DoesNotExist for service dapr.proto.runtime.v1.Dapr'],
  )
  const other = await statusOf(api.client.unary(api.address, '/own.Other/Echo', EMPTY))
  assert.deepEqual([other.code, other.message], [Code.Unimplemented, 'unknown service own.Other'])
  const broken = await statusOf(api.call('GetState', Buffer.from([10, 200])))
  assert.deepEqual(
    [broken.code, broken.message],
    [Code.Internal, 'grpc: error unmarshalling request: proto:\u00a0cannot parse invalid wire-format data'],
  )
})

/** Status, message and ErrorInfo of a refused call. */
async function refusalOf(call: Promise<unknown>) {
  const status = await statusOf(call)
  const info = fields(status.details[0]?.value ?? EMPTY)
  const metadata = Object.fromEntries(
    (info[3] ?? []).map((entry) => [fields(entry)[1]?.[0]?.toString(), fields(entry)[2]?.[0]?.toString()]),
  )
  return [status.code, status.message, info[1]?.[0]?.toString(), metadata]
}

test('with an API token, calls without it are UNAUTHENTICATED, neither logged nor counted', async () => {
  const heard: unknown[] = []
  await using api = await serve({
    apiToken: 's3cret',
    state: { get: async () => undefined },
    onCall: (call) => heard.push([call.method, call.code]),
    onError: (error) => heard.push(error),
  })
  const answer = (text: string) => [
    Code.Unauthenticated,
    'Unauthorized',
    'Unauthorized',
    { 'http.code': '401', 'http.error_message': text },
  ]
  assert.deepEqual(await refusalOf(api.call('GetState', EMPTY)), answer('missing api token in request metadata'))
  assert.deepEqual(
    await refusalOf(api.call('GetState', EMPTY, { 'dapr-api-token': 'wrong' })),
    answer('authentication error: api token mismatch'),
  )
  assert.equal((await api.call('GetState', EMPTY, { 'dapr-api-token': 's3cret' })).length, 0)
  assert.deepEqual(heard, [[GET, Code.OK]])
})

test('spec.api closes methods to the app, and leaves other services to the proxy', async () => {
  const not = [
    Code.Unimplemented,
    'Not Implemented',
    'Not Implemented',
    { 'http.code': '501', 'http.error_message': 'requested endpoint is not available' },
  ]
  const state = { get: async () => undefined, bulkDelete: async () => {} }
  const grpc = (name: string, version?: string, protocol = 'grpc') => ({ name, version, protocol })
  const echo: GrpcApiOptions['proxy'] = (path) =>
    path === '/own.Service/Echo' ? { kind: 'unary', handle: (request) => request } : undefined
  const cases: [Partial<GrpcApiOptions>, open: boolean][] = [
    [{ denied: [grpc('state', 'v1')] }, false],
    [{ denied: [grpc('state', 'v1', 'http'), grpc('state'), grpc('state', 'v1alpha1')] }, true],
    [{ allowed: [grpc('publish', 'v1')] }, false],
    [{ allowed: [grpc('publish', 'v1'), grpc('state', 'v1')] }, true],
    [{ allowed: [grpc('publish', 'v1', 'http')] }, true],
    [{ allowed: [grpc('state', 'v1')], denied: [grpc('state', 'v1')] }, false],
  ]
  for (const [rules, open] of cases) {
    await using api = await serve({ state, proxy: echo, ...rules })
    if (open) assert.equal((await api.call('GetState', EMPTY)).length, 0, JSON.stringify(rules))
    else assert.deepEqual(await refusalOf(api.call('GetState', EMPTY)), not, JSON.stringify(rules))
    assert.equal(String(await api.client.unary(api.address, '/own.Service/Echo', Buffer.from('hi'))), 'hi')
  }
})

test('each call is told when it is over, with its caller, code and time', async () => {
  const calls: GrpcCallRecord[] = []
  await using api = await serve({ state: { get: () => Promise.reject(refused) }, onCall: (call) => calls.push(call) })
  await statusOf(api.call('GetState', EMPTY, { 'user-agent': 'tester/1' }))
  assert.equal(calls.length, 1)
  const { elapsed, ...rest } = calls[0] as GrpcCallRecord
  assert.deepEqual(rest, { method: GET, useragent: 'tester/1', code: Code.InvalidArgument, received: EMPTY.length, sent: 0 })
  assert.ok(elapsed > 0 && elapsed < 10_000)
})

test('so is one that would be passed on and names no app', async () => {
  const calls: GrpcCallRecord[] = []
  const handle = () => {
    throw new GrpcStatus(Code.Unknown, 'no app')
  }
  await using api = await serve({ proxy: () => ({ kind: 'raw', handle }), onCall: (call) => calls.push(call) })
  await statusOf(api.client.unary(api.address, '/own.Other/Do', EMPTY))
  assert.deepEqual(
    calls.map(({ method, code }) => [method, code]),
    [['/own.Other/Do', Code.Unknown]],
  )
})
