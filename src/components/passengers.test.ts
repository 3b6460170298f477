import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Passengers } from './passengers.ts'

describe('Passengers', () => {
  it('lets what waits go with others, in its order, and alone when nobody comes', async () => {
    using passengers = new Passengers()
    const gone: number[] = []
    passengers.add(() => gone.push(1))
    passengers.add(() => gone.push(2))
    assert.deepEqual(gone, [])
    passengers.board()
    passengers.board()
    assert.deepEqual(gone, [1, 2])
    await new Promise<void>((resolve) => passengers.add(resolve))
  })

  it('takes what is added on the way with the next', () => {
    const passengers = new Passengers()
    const gone: string[] = []
    passengers.add(() => {
      gone.push('first')
      passengers.add(() => gone.push('second'))
    })
    passengers.board()
    assert.deepEqual(gone, ['first'])
    passengers.board()
    assert.deepEqual(gone, ['first', 'second'])
    passengers.add(() => gone.push('never'))
    passengers[Symbol.dispose]()
    passengers.board()
    assert.deepEqual(gone, ['first', 'second'])
  })
})
