import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProtoWriter, WireError } from '../../transport/grpc/wire.ts'
import { decodeStreamRequest, decodeTopicEventResponse, ListTopicSubscriptionsResponse, TopicEventBulkResponse } from './topic-event.ts'

const initial = () => {
  const writer = new ProtoWriter()
  const mark = writer.begin(1)
  writer.string(1, 'ps')
  writer.string(2, 'orders')
  writer.map(3, { rawPayload: 'true', __proto__x: 'y' })
  writer.string(4, 'dead')
  writer.end(mark)
  return writer.take()
}
const processed = (status: number) => {
  const writer = new ProtoWriter()
  const mark = writer.begin(2)
  writer.string(1, 'e-1')
  const inner = writer.begin(2)
  writer.uint(1, status)
  writer.end(inner)
  writer.end(mark)
  return writer.take()
}

test('both messages of a stream are read, and neither is undefined', () => {
  const found = decodeStreamRequest(initial())
  assert.ok(found?.kind === 'initial')
  assert.deepEqual(
    { ...found, metadata: { ...found.metadata } },
    { kind: 'initial', pubsubName: 'ps', topic: 'orders', metadata: { rawPayload: 'true', __proto__x: 'y' }, deadLetterTopic: 'dead' },
  )
  assert.deepEqual(decodeStreamRequest(processed(2)), { kind: 'processed', id: 'e-1', status: 2 })
  // No status is SUCCESS.
  assert.deepEqual(decodeStreamRequest(Buffer.from([18, 0])), { kind: 'processed', id: '', status: 0 })
  assert.equal(decodeStreamRequest(Buffer.alloc(0)), undefined)
  assert.equal(decodeTopicEventResponse(Buffer.from([8, 2])), 2)
})

test('no cut or changed message makes a reader loop or throw anything but WireError', () => {
  const messages = [
    [initial(), decodeStreamRequest],
    [processed(1), decodeStreamRequest],
    [Buffer.from([8, 1]), decodeTopicEventResponse],
    [TopicEventBulkResponse.encode({ statuses: [{ entryId: 'a', status: 1 }, { entryId: 'b' }] }), TopicEventBulkResponse.decode],
    [
      ListTopicSubscriptionsResponse.encode({
        subscriptions: [{ pubsubName: 'ps', topic: 't', metadata: { k: 'v' }, routes: { rules: [{ match: 'm', path: '/p' }] } }],
      }),
      ListTopicSubscriptionsResponse.decode,
    ],
  ] as const
  let refused = 0
  for (const [message, decode] of messages) {
    for (let at = 0; at < message.length; at++) {
      const variants = [message.subarray(0, at), ...[0, 1, 0x7f, 0x80, 0xff].map((byte) => Buffer.from(message).fill(byte, at, at + 1))]
      for (const variant of variants) {
        try {
          decode(variant)
        } catch (error) {
          assert.ok(error instanceof WireError, `${variant.toString('hex')}: ${String(error)}`)
          refused++
        }
      }
    }
  }
  assert.ok(refused > 0)
})
