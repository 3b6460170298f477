import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allocated, collector } from './outside-heap.ts'

const MIB = 2 ** 20
const outside = () => process.memoryUsage().arrayBuffers / MIB

test('what becomes garbage within one turn of the event loop is collected within it', () => {
  collector()()
  const before = outside()
  let most = 0
  for (let piece = 0; piece < 4000; piece++) {
    const { length } = Buffer.alloc(65_536)
    allocated(length)
    most = Math.max(most, outside())
  }
  assert.ok(most - before < 40, `${most - before} MiB of 250 stood at once`)
})
