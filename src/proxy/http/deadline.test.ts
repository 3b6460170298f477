import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadline } from './deadline.ts'

test('deadlines come in their order and not before their time; those that are cleared never do', async () => {
  const began = performance.now()
  const come: string[] = []
  const all = Promise.withResolvers<void>()
  const deadline = (name: string, ms: number) =>
    new Deadline(ms, {
      late() {
        come.push(name)
        assert.ok(performance.now() - began >= ms - 1, `${name} came early`)
        if (come.length === 5) all.resolve()
      },
    })
  // The timers of deadlines keep no process alive.
  const awake = setInterval(() => {}, 1000)
  const [first, , middle] = [deadline('1', 20), deadline('2', 20), deadline('3', 20), deadline('4', 20)]
  first.clear()
  middle.clear()
  middle.clear()
  deadline('late', 40)
  deadline('soon', 5)
  // One that is set by another that comes is not lost with its lane.
  new Deadline(20, { late: () => void deadline('next', 20) })
  await all.promise
  clearInterval(awake)
  // Those of other lengths may meet, on a machine that is late.
  assert.deepEqual(come.toSorted(), ['2', '4', 'late', 'next', 'soon'])
  assert.ok(come.indexOf('2') < come.indexOf('4'))
})
