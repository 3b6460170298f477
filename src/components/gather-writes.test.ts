import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { gatherWrites } from './gather-writes.ts'

/** A stream that notes what each system call would have carried. */
function recorder(): { stream: Duplex; calls: string[] } {
  const calls: string[] = []
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      calls.push(chunk.toString())
      done()
    },
    writev(chunks, done) {
      calls.push(chunks.map(({ chunk }) => String(chunk)).join(''))
      done()
    },
  })
  gatherWrites(stream)
  return { stream, calls }
}

test('what several callbacks of one turn write goes out together, the next turn’s by itself', async () => {
  const { stream, calls } = recorder()
  stream.write('a')
  await Promise.resolve()
  process.nextTick(() => stream.write('b'))
  await new Promise<void>((resolve) => process.nextTick(resolve))
  stream.write('c', 'latin1')
  assert.deepEqual(calls, [])
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(calls, ['abc'])
  stream.write('d')
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(calls, ['abc', 'd'])
})

test('the end of the stream waits for no turn', async () => {
  const { stream, calls } = recorder()
  stream.write('a')
  stream.end('b')
  await once(stream, 'finish')
  assert.equal(calls.join(''), 'ab')
})

test('a destroyed stream stays quiet', async () => {
  const { stream, calls } = recorder()
  stream.on('error', () => {})
  stream.write('a')
  stream.destroy()
  stream.write('b')
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(calls, [])
})
