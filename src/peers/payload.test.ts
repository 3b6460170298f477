import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeRequestStream } from './messages.ts'
import { encodePayload } from './payload.ts'

test('what is encoded is decoded: bodies and numbers of all lengths', () => {
  for (const length of [0, 1, 5, 119, 120, 127, 128, 2048, 16_383, 16_384, 65_536, 1_000_000])
    for (const seq of [0, 1, 127, 128, 2 ** 31, 2 ** 40]) {
      const data = Buffer.alloc(length, 'abc')
      const framed = encodePayload(data, seq)
      assert.equal(framed[0], 0)
      assert.equal(framed.readUInt32BE(1), framed.length - 5)
      const { head, payload } = decodeRequestStream(framed.subarray(5))
      assert.equal(head, undefined)
      assert.equal(payload?.seq, seq)
      assert.ok(payload.data.equals(data), `${length} bytes, number ${seq}`)
    }
})

test('a body is one field, as protobuf writes it', () => {
  assert.equal(encodePayload(Buffer.from('hi'), 3).toString('hex'), '0000000008' + '1206' + '0a026869' + '1003')
  assert.equal(encodePayload(Buffer.alloc(0), 0).toString('hex'), '0000000002' + '1200')
})
