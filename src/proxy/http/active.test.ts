import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Active } from './active.ts'

test('what leaves is gone, whoever came before or after it', () => {
  const active = new Active<{ name: string; place: number }>()
  const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ name, place: -1 })) as [never, never, never]
  const names = () => active.snapshot().map(({ name }) => name)
  for (const one of [a, b, c]) active.add(one)
  active.delete(a)
  assert.deepEqual(names().sort(), ['b', 'c'])
  active.delete(a)
  assert.equal(active.size, 2)
  active.delete(c)
  active.add(a)
  assert.deepEqual(names().sort(), ['a', 'b'])
  for (const one of active.snapshot()) active.delete(one as never)
  assert.equal(active.size, 0)
})
