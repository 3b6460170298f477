import type { Topic } from './cluster.ts'
import { partitionOf } from './partitioner.ts'
import type { OutRecord } from './records.ts'

/** A record on its way to a broker. */
export interface Item {
  topic: string
  /** -1 until the number of partitions is known. */
  partition: number
  record: OutRecord
  size: number
  until: number
  tries: number
  problem: unknown
  resolve(): void
  reject(error: unknown): void
}

export interface BatchRules {
  /** What is known of a topic. */
  topic(name: string): Topic | undefined
  /** Brokers that have a request under way. */
  busy: ReadonlySet<number>
  /** Bytes of the records of one request, unless one record alone is larger. */
  most: number
  /** Epoch milliseconds; topics looked at before are `aged`. */
  agedBefore: number
}

export interface NextBatches {
  /** Brokers with what goes to them now, one list a partition. */
  batches: [leader: number, parts: Item[][]][]
  /** What stays, in its order. */
  left: Item[]
  /** Topics of which nobody knows who leads them. */
  unknown: ReadonlySet<string>
  aged: ReadonlySet<string>
}

/** What goes out with the next requests, one to each broker that has none under way. Rejects items of partitions that are not there. */
export function nextBatches(waiting: readonly Item[], { topic: topicOf, busy, most, agedBefore }: BatchRules): NextBatches {
  const batches = new Map<number, { parts: Map<string, Item[]>; size: number }>()
  const full = new Set<number>()
  const unknown = new Set<string>()
  const aged = new Set<string>()
  const left: Item[] = []
  for (const item of waiting) {
    const topic = topicOf(item.topic)
    if (topic === undefined) {
      unknown.add(item.topic)
      left.push(item)
      continue
    }
    if (topic.at < agedBefore) aged.add(item.topic)
    const { leaders } = topic
    if (item.partition < 0) item.partition = partitionOf(item.record.key, leaders.length)
    const leader = leaders[item.partition]
    if (leader === undefined) {
      item.reject(new Error(`partition number ${item.partition} is out of range, topic has ${leaders.length} partitions`))
      continue
    }
    if (leader < 0) unknown.add(item.topic)
    if (leader < 0 || full.has(leader) || busy.has(leader)) {
      left.push(item)
      continue
    }
    let batch = batches.get(leader)
    if (batch === undefined) {
      batch = { parts: new Map(), size: 0 }
      batches.set(leader, batch)
    }
    // The rest of this leader's messages stays behind the first one that does not fit.
    if (batch.size > 0 && batch.size + item.size > most) {
      full.add(leader)
      left.push(item)
      continue
    }
    batch.size += item.size
    const key = `${item.partition} ${item.topic}`
    const part = batch.parts.get(key)
    if (part) part.push(item)
    else batch.parts.set(key, [item])
  }
  return { batches: [...batches].map(([leader, { parts }]) => [leader, [...parts.values()]]), left, unknown, aged }
}
