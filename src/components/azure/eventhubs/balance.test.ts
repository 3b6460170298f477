import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { balanced } from './balance.ts'
import type { Ownership } from './checkpoint-store.ts'

const EXPIRY = 60_000
const names = (count: number) => Array.from({ length: count }, (_, index) => String(index))
const owned = (partition: string, owner: string, modified = 1000): Ownership => ({ partition, owner, etag: `"${partition}"`, modified })

/** A store of ownerships in memory, in which members take turns. */
class Store {
  readonly partitions: readonly string[]
  readonly #ownerships = new Map<string, Ownership>()
  now = 1000

  constructor(count: number) {
    this.partitions = names(count)
  }

  turn(me: string, step: number): number {
    const wanted = balanced({
      partitions: this.partitions,
      ownerships: [...this.#ownerships.values()],
      me,
      now: this.now,
      expiry: EXPIRY,
      step,
    })
    for (const one of wanted) this.#ownerships.set(one.partition, { ...one, modified: this.now })
    return wanted.length
  }

  counts(): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const { owner } of this.#ownerships.values()) counts[owner] = (counts[owner] ?? 0) + 1
    return counts
  }
}

describe('balancing partitions', () => {
  it('gives a lone member all of them, in one turn or one a turn', () => {
    const greedy = new Store(7)
    assert.equal(greedy.turn('a', Number.POSITIVE_INFINITY), 7)
    const slow = new Store(3)
    assert.deepEqual([slow.turn('a', 1), slow.turn('a', 1), slow.turn('a', 1), slow.turn('a', 1)], [1, 2, 3, 3])
  })

  it('comes to rest with equal shares, whoever comes when', () => {
    for (const step of [1, Number.POSITIVE_INFINITY])
      for (const count of [1, 2, 4, 10, 32]) {
        const store = new Store(count)
        const members = ['a', 'b', 'c']
        for (const [index] of members.entries())
          for (let turns = 0; turns < 2 * count; turns++) for (const member of members.slice(0, index + 1)) store.turn(member, step)
        const before = store.counts()
        const sizes = members.map((member) => before[member] ?? 0)
        assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${count} by ${step}: ${sizes}`)
        for (const member of members) store.turn(member, step)
        assert.deepEqual(store.counts(), before, 'nobody takes from anybody any more')
      }
  })

  it('takes what is free before it takes from others', () => {
    const ownerships = [...names(6).map((name) => owned(name, 'a')), owned('6', '')]
    const wanted = balanced({ partitions: names(8), ownerships, me: 'b', now: 2000, expiry: EXPIRY, step: 2 })
    assert.deepEqual(wanted.map(({ partition }) => partition).sort(), ['6', '7'])
    assert.deepEqual(
      [wanted.find(({ partition }) => partition === '6')?.etag, wanted.find(({ partition }) => partition === '7')?.etag],
      ['"6"', undefined],
    )
    assert.ok(wanted.every(({ owner }) => owner === 'b'))
  })

  it('takes from the member with most, and leaves it its share', () => {
    const ownerships = names(10).map((name) => owned(name, Number(name) < 7 ? 'a' : 'b'))
    const wanted = balanced({ partitions: names(10), ownerships, me: 'c', now: 2000, expiry: EXPIRY, step: 10 })
    assert.equal(wanted.length, 3)
    assert.ok(wanted.every(({ partition }) => Number(partition) < 7))
  })

  it('counts a member that has not renewed for as long as it takes no more', () => {
    const ownerships = names(4).map((name) => owned(name, 'gone'))
    const at = (now: number) => balanced({ partitions: names(4), ownerships, me: 'b', now, expiry: EXPIRY, step: 4 }).length
    assert.equal(at(1000 + EXPIRY), 2)
    assert.equal(at(1001 + EXPIRY), 4)
  })

  it('renews what it has, also when that is too much, and no partition that is not there', () => {
    const ownerships = [...names(4).map((name) => owned(name, 'a')), owned('9', 'a'), owned('10', '')]
    const wanted = balanced({
      partitions: [...names(4), '4'],
      ownerships: [...ownerships, owned('4', 'b')],
      me: 'a',
      now: 2000,
      expiry: EXPIRY,
      step: 9,
    })
    assert.deepEqual(
      wanted.map(({ partition }) => partition),
      names(4),
    )
  })
})
