import { Reader, Writer } from './wire.ts'

/** What a member tells the group: which topics it wants, and (sticky) which partitions it had. */
export interface MemberWish {
  id: string
  topics: string[]
  had: Map<string, number[]>
}

export type Assignment = Map<string, number[]>

export const STRATEGIES = ['range', 'sticky', 'roundrobin'] as const
export type Strategy = (typeof STRATEGIES)[number]

/** Consumer protocol, version 0: topics and the strategy's own bytes; those of sticky are what Java's and Go's clients write. */
export function encodeWish(topics: readonly string[], strategy: Strategy, had: Assignment, generation: number): Buffer {
  const writer = new Writer()
  writer.int16(0).array(topics, (topic) => writer.string(topic))
  if (strategy !== 'sticky') return writer.bytes(null).bytesWritten()
  const own = new Writer()
  writePartitions(own, had)
  own.int32(generation)
  return writer.bytes(own.bytesWritten()).bytesWritten()
}

export function decodeWish(id: string, bytes: Buffer): MemberWish {
  const reader = new Reader(bytes)
  reader.int16()
  const topics = reader.array(() => reader.text())
  let had: Assignment = new Map()
  try {
    const own = reader.bytes()
    if (own && own.length > 0) had = readPartitions(new Reader(own))
  } catch {
    // What another client keeps there need not be in a form that we know.
  }
  return { id, topics, had }
}

export function encodeAssignment(assignment: Assignment): Buffer {
  const writer = new Writer()
  writer.int16(0)
  writePartitions(writer, assignment)
  return writer.bytes(null).bytesWritten()
}

/** A member that gets nothing may get no bytes at all. */
export function decodeAssignment(bytes: Buffer): Assignment {
  if (bytes.length === 0) return new Map()
  const reader = new Reader(bytes)
  reader.int16()
  return readPartitions(reader)
}

function writePartitions(writer: Writer, assignment: Assignment): void {
  writer.array([...assignment], ([topic, partitions]) => {
    writer.string(topic)
    writer.array(partitions, (partition) => writer.int32(partition))
  })
}

function readPartitions(reader: Reader): Assignment {
  return new Map(reader.array(() => [reader.text(), reader.array(() => reader.int32())] as const))
}

/** Shares out the partitions (`counts` by topic) among the members. Every partition that a member wants goes to exactly one. */
export function assign(strategy: Strategy, members: readonly MemberWish[], counts: ReadonlyMap<string, number>): Map<string, Assignment> {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1))
  const result = new Map<string, Assignment>(sorted.map(({ id }) => [id, new Map()]))
  const give = (id: string, topic: string, partition: number) => {
    const own = result.get(id) as Assignment
    const list = own.get(topic)
    if (list) list.push(partition)
    else own.set(topic, [partition])
  }
  const load = new Map<string, number>(sorted.map(({ id }) => [id, 0]))
  const topics = [...counts.keys()].sort()
  let turn = 0
  for (const topic of topics) {
    const count = counts.get(topic) as number
    const wanting = sorted.filter((member) => member.topics.includes(topic))
    if (wanting.length === 0) continue
    if (strategy === 'range') {
      for (let partition = 0; partition < count; partition++) {
        give((wanting[Math.floor((partition * wanting.length) / count)] as MemberWish).id, topic, partition)
      }
    } else if (strategy === 'roundrobin') {
      for (let partition = 0; partition < count; partition++) {
        while (!sorted[turn % sorted.length]?.topics.includes(topic)) turn++
        give((sorted[turn++ % sorted.length] as MemberWish).id, topic, partition)
      }
    } else sticky(topic, count, wanting, load, give)
  }
  return result
}

/** Each keeps what it had, up to its fair share of the topic; the rest goes to whoever has least. */
function sticky(
  topic: string,
  count: number,
  wanting: readonly MemberWish[],
  load: Map<string, number>,
  give: (id: string, topic: string, partition: number) => void,
): void {
  const share = Math.ceil(count / wanting.length)
  const taken = new Set<number>()
  const own = new Map<string, number>()
  const take = (id: string, partition: number) => {
    taken.add(partition)
    own.set(id, (own.get(id) ?? 0) + 1)
    load.set(id, (load.get(id) ?? 0) + 1)
    give(id, topic, partition)
  }
  for (const { id, had } of wanting) {
    for (const partition of had.get(topic) ?? []) {
      if (partition < count && !taken.has(partition) && (own.get(id) ?? 0) < share) take(id, partition)
    }
  }
  for (let partition = 0; partition < count; partition++) {
    if (taken.has(partition)) continue
    const free = wanting.filter(({ id }) => (own.get(id) ?? 0) < share)
    const least = free.reduce((best, member) => ((load.get(member.id) ?? 0) < (load.get(best.id) ?? 0) ? member : best))
    take(least.id, partition)
  }
}
