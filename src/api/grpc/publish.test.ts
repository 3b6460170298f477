import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BulkPublish, PublishEvent, Publisher } from '../../blocks/pubsub/publish.ts'
import { Code } from '../../errors.ts'
import { serveGrpc } from './harness.ts'
import { publishMethods } from './publish.ts'
import { BulkPublishRequest, BulkPublishResponse } from './publish-messages.ts'

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const BINARY = 'AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE'

const serve = (block: Partial<Publisher>) => {
  const unused = () => assert.fail('not meant here')
  return serveGrpc({ methods: publishMethods({ publish: unused, bulkPublish: unused, ...block }) })
}

test('the trace of a publish comes from grpc-trace-bin, or else from traceparent', async () => {
  const seen: (PublishEvent['trace'] | undefined)[] = []
  await using api = await serve({ publish: async ({ trace }) => void seen.push(trace) })
  const calls: Record<string, string>[] = [
    { traceparent: TRACE, tracestate: 'a=b' },
    { 'grpc-trace-bin': BINARY },
    { 'grpc-trace-bin': BINARY, traceparent: TRACE.replace('4b', '00') },
    { 'grpc-trace-bin': 'AAAA' },
    { traceparent: 'nonsense' },
    {},
  ]
  for (const headers of calls) await api.call('PublishEvent', Buffer.alloc(0), headers)
  const binary = { traceparent: TRACE, tracestate: '' }
  assert.deepEqual(seen, [{ traceparent: TRACE, tracestate: 'a=b' }, binary, binary, undefined, undefined, undefined])
})

test('bulk publishing hands over each entry, under both its names', async () => {
  const seen: BulkPublish[] = []
  await using api = await serve({
    bulkPublish: async (request) => {
      seen.push(request)
      return { failedEntries: [] }
    },
  })
  const request = BulkPublishRequest.encode({
    pubsubName: 'ps',
    topic: 'orders',
    metadata: { ttlInSeconds: '5' },
    entries: [
      { entryId: '1', event: Buffer.from('one'), contentType: 'text/plain' },
      { entryId: '2', event: Buffer.from('{}'), contentType: 'application/json', metadata: { k: 'v' } },
    ],
  })
  for (const name of ['BulkPublishEvent', 'BulkPublishEventAlpha1'])
    assert.deepEqual(BulkPublishResponse.decode(await api.call(name, request)), { failedEntries: [] })
  assert.equal(seen.length, 2)
  const [{ entries, ...target }] = seen as [BulkPublish]
  assert.deepEqual(
    { ...target, metadata: { ...target.metadata } },
    {
      pubsubName: 'ps',
      topic: 'orders',
      metadata: { ttlInSeconds: '5' },
      wire: 'grpc',
      spanName: '/dapr.proto.runtime.v1.Dapr/BulkPublishEvent/',
    },
  )
  assert.deepEqual(
    entries.map(({ entryId, event, contentType, metadata }) => [entryId, String(event), contentType, metadata && { ...metadata }]),
    [
      ['1', 'one', 'text/plain', undefined],
      ['2', '{}', 'application/json', { k: 'v' }],
    ],
  )
})

test('a bulk publish that fails in part fails as a whole', async () => {
  await using api = await serve({
    bulkPublish: async () => ({ failedEntries: [{ entryId: '1', error: 'full' }], error: new Error('the broker is full') }),
  })
  await assert.rejects(api.call('BulkPublishEvent', BulkPublishRequest.encode({ pubsubName: 'ps', topic: 'orders' })), {
    code: Code.Internal,
    message: 'error when publishing to topic orders in pubsub ps: the broker is full',
  })
})
