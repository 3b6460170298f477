import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bodyLength } from './headers.ts'

test('the length of a body: as HTTP callers tell it, not as gRPC clients count their frames', () => {
  assert.equal(bodyLength(['x', 'content-length', 'Content-Length', '12']), 12)
  assert.equal(bodyLength(['content-length', '12', 'content-type', 'text/plain']), 12)
  assert.equal(bodyLength(['content-type', 'application/grpc', 'content-length', '43']), undefined)
  assert.equal(bodyLength(['content-length', '43', 'content-type', 'application/grpc+proto', 'Content-Length', '2']), 2)
  assert.equal(bodyLength(['Content-Length', '0x10']), undefined)
  assert.equal(bodyLength(['content-type', 'text/plain']), undefined)
})
