import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Around } from '../around.ts'
import { EtagError, type StateDelete } from './driver.ts'
import { writeAll } from './list-write.ts'

/** Tries three times, but for what trying cannot cure. */
const thrice: Around = async (_store, _operation, work, signal) => {
  for (let left = 2; ; left--) {
    try {
      return await work(signal)
    } catch (error) {
      if (left === 0 || (error as { permanent?: boolean }).permanent) throw error
    }
  }
}

const failing = (key: string, error: Error = new Error(`${key} failed`)) => Object.assign(error, { key })

/** Writes these keys; `answers` are what the store's calls bring, one after the other, undefined being success. */
async function write(keys: string[], answers: (Error | undefined)[], lists = true) {
  const calls: string[] = []
  let outcome: unknown = 'written'
  const answer = async (what: string) => {
    calls.push(what)
    const error = answers.shift()
    if (error) throw error
  }
  await writeAll<StateDelete>(
    {
      store: 's',
      operation: 'bulkDelete',
      items: keys.map((key) => ({ kind: 'delete', key, metadata: {} })),
      bulk: lists ? (items) => answer(items.map(({ key }) => key).join('')) : undefined,
      single: ({ key }) => answer(key),
      failed: (causes, list) => new Error(`${list ? 'list' : 'one'}: ${causes.map((cause) => (cause as Error).message).join(', ')}`),
    },
    thrice,
    undefined,
  ).catch((error: Error) => {
    outcome = error.message
  })
  return { calls, outcome }
}

test('only the items that failed are tried again', async () => {
  const first = new AggregateError([failing('a'), failing('c')])
  assert.deepEqual(await write(['a', 'b', 'c'], [first, undefined]), { calls: ['abc', 'ac'], outcome: 'written' })
  assert.deepEqual(await write(['a', 'b', 'c'], [first, new AggregateError([failing('c')]), undefined]), {
    calls: ['abc', 'ac', 'c'],
    outcome: 'written',
  })
  assert.deepEqual(await write(['a', 'b'], [failing('a'), failing('b'), undefined, undefined], false), {
    calls: ['a', 'b', 'a', 'b'],
    outcome: 'written',
  })
})

test('a refused ETag is final: it is not tried again, and still is the answer when the others came through', async () => {
  const stale = () => failing('a', new EtagError('mismatch', 'stale'))
  assert.deepEqual(await write(['a', 'b'], [new AggregateError([stale()])]), { calls: ['ab'], outcome: 'list: stale' })
  assert.deepEqual(await write(['a', 'b', 'c'], [new AggregateError([stale(), failing('b')]), undefined]), {
    calls: ['abc', 'b'],
    outcome: 'list: stale',
  })
  const never = [new AggregateError([failing('b'), stale()]), failing('b'), failing('b')]
  assert.deepEqual(await write(['a', 'b', 'c'], never), { calls: ['abc', 'b', 'b'], outcome: 'list: stale, b failed' })
})

test('when nothing is known of single items, all are tried again', async () => {
  assert.deepEqual(await write(['a', 'b'], [new Error('gone'), undefined]), { calls: ['ab', 'ab'], outcome: 'written' })
  const gone = () => new Error('gone')
  assert.deepEqual(await write(['a', 'b'], [gone(), gone(), gone()]), { calls: ['ab', 'ab', 'ab'], outcome: 'list: gone' })
})

test('one item and none', async () => {
  assert.deepEqual(await write(['a'], [new Error('x'), undefined]), { calls: ['a', 'a'], outcome: 'written' })
  assert.deepEqual(await write(['a'], [new EtagError('mismatch', 'stale')]), { calls: ['a'], outcome: 'one: stale' })
  assert.deepEqual(await write([], []), { calls: [], outcome: 'written' })
})
