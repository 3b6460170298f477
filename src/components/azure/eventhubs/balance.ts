import type { Ownership } from './checkpoint-store.ts'

export interface Balance {
  /** All that the hub has. */
  partitions: readonly string[]
  ownerships: readonly Ownership[]
  me: string
  /** By the clock that the ownerships were written by, milliseconds. */
  now: number
  /** An ownership that was not renewed for so long counts no more, milliseconds. */
  expiry: number
  /** How many partitions may be taken in one go: 1 is what Azure's SDKs call balanced, all of its share greedy. */
  step: number
}

/**
 * What this member should own: what it has, and what it takes to come to its share. Free partitions go first (never owned,
 * given back, expired), then those of members that have more than their share, of the one with most. A member with too many
 * keeps them until others take them. The shares are those of Azure's SDKs, so that members of all of them come to rest.
 */
export function balanced({ partitions, ownerships, me, now, expiry, step }: Balance): Ownership[] {
  const known = new Map(ownerships.map((one) => [one.partition, one]))
  const members = new Map<string, Ownership[]>([[me, []]])
  const free: Ownership[] = []
  for (const partition of partitions) {
    const one = known.get(partition)
    if (!one) free.push({ partition, owner: me, etag: undefined, modified: 0 })
    else if (one.owner === '' || now - one.modified > expiry) free.push(one)
    else {
      const theirs = members.get(one.owner)
      if (theirs) theirs.push(one)
      else members.set(one.owner, [one])
    }
  }
  const mine = members.get(me) ?? []
  const share = Math.floor(partitions.length / members.size)
  // Only who has its share may have one of those that do not divide.
  const most = share + (partitions.length % members.size > 0 && mine.length >= share ? 1 : 0)
  const taken: Ownership[] = []
  for (const others = [...members].filter(([owner]) => owner !== me); taken.length < step && mine.length + taken.length < most; ) {
    const from = free.length > 0 ? free : richest(others.map(([, theirs]) => theirs))
    if (from === undefined || (from !== free && from.length <= most)) break
    // Anyone, or all members would go for the same.
    const [one] = from.splice(Math.floor(Math.random() * from.length), 1)
    if (one) taken.push(one)
  }
  return [...mine, ...taken].map((one) => ({ ...one, owner: me }))
}

function richest(theirs: Ownership[][]): Ownership[] | undefined {
  return theirs.reduce<Ownership[] | undefined>((most, one) => (most && most.length >= one.length ? most : one), undefined)
}
