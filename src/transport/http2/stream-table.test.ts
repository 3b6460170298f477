import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { StreamTable } from './stream-table.ts'

test('holds what a Map would, through any order of openings and ends', () => {
  const random = new Random(7)
  const table = new StreamTable<string>()
  const model = new Map<number, string>()
  let id = -1
  for (let step = 0; step < 50_000; step++) {
    // Tides, so that it grows and shrinks.
    const filling = Math.floor(step / 2500) % 2 === 0
    if (random.int(10) < (filling ? 7 : 3)) {
      // Now and then numbers are left out, which a client may.
      id += random.int(20) === 0 ? 2 * (1 + random.int(500)) : 2
      table.set(id, `${id}`)
      model.set(id, `${id}`)
    } else {
      const known = [...model.keys()]
      const gone = random.int(10) === 0 || known.length === 0 ? id + 2 : (known[random.int(known.length)] as number)
      assert.equal(table.delete(gone), model.delete(gone))
    }
    assert.equal(table.size, model.size)
    if (step % 500 === 0) {
      assert.deepEqual(table.values(), [...model.values()])
      for (const [key, value] of model) assert.equal(table.get(key), value)
      assert.equal(table.get(id + 2), undefined)
    }
  }
  for (const key of model.keys()) assert.equal(table.delete(key), true)
  assert.deepEqual([table.size, table.values(), table.get(1), table.delete(1), table.delete(0)], [0, [], undefined, false, false])
})

test('a number given anew has the new stream', () => {
  const table = new StreamTable<string>()
  table.set(1, 'a')
  table.set(1, 'b')
  assert.deepEqual([table.size, table.get(1)], [1, 'b'])
})
