import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { serveGrpc } from './harness.ts'
import { metadataMethods } from './metadata.ts'
import { publishMethods } from './publish.ts'
import { stateMethods } from './state.ts'

const unused = () => assert.fail('this block is not meant here')

interface Given {
  state?: Parameters<typeof stateMethods>[0]
  pubsub?: Partial<Parameters<typeof publishMethods>[0]>
  metadata?: Parameters<typeof metadataMethods>[0]
  apiToken?: string
}

const serve = ({ state, pubsub, metadata, apiToken }: Given) =>
  serveGrpc({
    methods: [
      ...stateMethods(state ?? { get: unused, save: unused }),
      ...publishMethods({ bulkPublish: unused, publish: unused, ...pubsub }),
      ...metadataMethods(metadata ?? { get: unused }),
    ],
    apiToken,
  })

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
      get: unused,
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
      save: unused,
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

test('GetMetadata says what the block says', async () => {
  await using api = await serve({
    metadata: {
      get: () => ({
        id: 'golden',
        runtimeVersion: '1',
        enabledFeatures: ['HotReload'],
        components: [{ name: 'mem', type: 'state.in-memory', version: 'v1', capabilities: ['ETAG'] }],
        extended: { k: 'v' },
        subscriptions: [{ pubsubname: 'ps', topic: 't', rules: [{ path: '/p' }], deadLetterTopic: '', type: 'PROGRAMMATIC' }],
        actorRuntime: { runtimeStatus: 'DISABLED', hostReady: false, placement: 'p' },
      }),
    },
  })
  const reply = fields(await api.call('GetMetadata', Buffer.alloc(0)))
  assert.equal(reply[1]?.[0]?.toString(), 'golden')
  assert.deepEqual(
    Object.values(fields(reply[3]?.[0] as Buffer))
      .flat()
      .map(String),
    ['mem', 'state.in-memory', 'v1', 'ETAG'],
  )
  assert.deepEqual(fields(reply[5]?.[0] as Buffer)[2]?.map(String), ['t'])
  assert.equal(reply[8]?.[0]?.toString(), '1')
})

test('errors of a block keep status, message and details', async () => {
  const error = new OutriderError({
    code: 'ERR_STATE_STORE_NOT_FOUND',
    http: 400,
    grpc: Code.InvalidArgument,
    message: 'state store no is not found',
    details: [errorInfo('DAPR_STATE_NOT_FOUND')],
  })
  await using api = await serve({ state: { save: unused, get: () => Promise.reject(error) } })
  const status = await api.call('GetState', Buffer.alloc(0)).then(
    () => assert.fail('must not succeed'),
    (thrown: GrpcStatus) => thrown,
  )
  assert.deepEqual(
    [status.code, status.message, status.details.map((detail) => detail.typeUrl)],
    [Code.InvalidArgument, 'state store no is not found', ['type.googleapis.com/google.rpc.ErrorInfo']],
  )
})

test('methods not served yet are UNIMPLEMENTED and name those that are; broken requests are refused', async () => {
  await using api = await serve({})
  await assert.rejects(api.call('DoesNotExist', Buffer.alloc(0)), { code: Code.Unimplemented, message: /DoesNotExist.*GetState/ })
  await assert.rejects(api.call('GetState', Buffer.from([10, 200])), { code: Code.Internal, message: /unexpected EOF/ })
})

test('with an API token, calls without it are UNAUTHENTICATED', async () => {
  await using api = await serve({ apiToken: 's3cret', state: { save: unused, get: async () => undefined } })
  await assert.rejects(api.call('GetState', Buffer.alloc(0)), { code: Code.Unauthenticated })
  await assert.rejects(api.call('GetState', Buffer.alloc(0), { 'dapr-api-token': 'wrong' }), { code: Code.Unauthenticated })
  assert.equal((await api.call('GetState', Buffer.alloc(0), { 'dapr-api-token': 's3cret' })).length, 0)
})
