import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { NextTry } from './next-try.ts'

describe('NextTry', () => {
  it('waits as long as it is told, and much less when somebody asks', async () => {
    using next = new NextTry()
    const began = performance.now()
    const tried = new Promise<void>((resolve) => next.after(60_000, resolve))
    for (let asked = 0; asked < 100; asked++) next.hurry()
    await tried
    // Asking often does not make it come at once.
    assert.ok(performance.now() - began >= 95)
  })

  it('does not make a short wait longer, and tries nothing that is not due or not wanted any more', async () => {
    const next = new NextTry()
    let tries = 0
    next.hurry()
    const tried = new Promise<void>((resolve) => next.after(1, resolve))
    next.hurry()
    await tried
    next.after(5, () => tries++)
    next[Symbol.dispose]()
    next.hurry()
    await new Promise((resolve) => setTimeout(resolve, 150))
    assert.equal(tries, 0)
  })
})
