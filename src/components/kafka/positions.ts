import { type Call, EARLIEST, LATEST, listOffsets } from './calls.ts'
import type { Cluster } from './cluster.ts'
import { check, UnreachableError } from './errors.ts'
import { offsetFetch } from './group-calls.ts'

interface Part {
  topic: string
  partition: number
}

export interface StartPosition extends Part {
  offset: number
  /** The group had it; otherwise it is where `initialOffset` points. */
  committed: boolean
}

/** Where a group reads on, or begins. */
export class Positions {
  readonly #cluster: Cluster
  readonly #group: string
  readonly #initial: number
  /** Where partitions ended when their topic was subscribed to: what came while the group formed is not passed over. */
  readonly #ends = new Map<string, number>()

  constructor(cluster: Cluster, { group, initialOffset }: { group: string; initialOffset: 'newest' | 'oldest' }) {
    this.#cluster = cluster
    this.#group = group
    this.#initial = initialOffset === 'oldest' ? EARLIEST : LATEST
  }

  /** A new group begins where these topics end now, should it take a while to form. */
  async note(topics: readonly string[]): Promise<void> {
    if (this.#initial !== LATEST) return
    const parts = topics.flatMap((topic) => (this.#cluster.topic(topic)?.leaders ?? []).map((_leader, partition) => ({ topic, partition })))
    for (const { topic, partition, offset } of await this.#list(parts, LATEST)) this.#ends.set(`${topic}/${partition}`, offset)
  }

  /** From now on only the group itself tells where it is. */
  forget(topics: readonly string[]): void {
    for (const key of this.#ends.keys()) if (topics.includes(key.slice(0, key.lastIndexOf('/')))) this.#ends.delete(key)
  }

  /** `ask` asks the group's coordinator. */
  async of(parts: readonly Part[], ask: <T>(call: Call<T>) => Promise<T>): Promise<StartPosition[]> {
    const found = await ask(offsetFetch(this.#group, parts))
    for (const { error } of found) check(error)
    const known: StartPosition[] = []
    const fresh: Part[] = []
    const noted: StartPosition[] = []
    for (const { topic, partition, offset } of found) {
      if (offset >= 0) known.push({ topic, partition, offset, committed: true })
      else {
        const end = this.#ends.get(`${topic}/${partition}`)
        if (end === undefined) fresh.push({ topic, partition })
        else noted.push({ topic, partition, offset: end, committed: false })
      }
    }
    const starts = await this.#list(fresh, this.#initial)
    return [...known, ...noted, ...starts.map((start) => ({ ...start, committed: false }))]
  }

  /** The offset nearest to one that is out of range: the oldest there is, or the end. */
  async nearest({ topic, partition, next }: Part & { next: number }): Promise<number> {
    const [oldest] = await this.#list([{ topic, partition }], EARLIEST)
    if (oldest && next < oldest.offset) return oldest.offset
    const [newest] = await this.#list([{ topic, partition }], LATEST)
    return newest && next > newest.offset ? newest.offset : next
  }

  async #list(parts: readonly Part[], time: number): Promise<(Part & { offset: number })[]> {
    if (parts.length === 0) return []
    const leaderOf = ({ topic, partition }: Part) => this.#cluster.topic(topic)?.leaders[partition] ?? -1
    if (parts.some((part) => leaderOf(part) < 0)) await this.#cluster.refresh([...new Set(parts.map(({ topic }) => topic))])
    const byLeader = Map.groupBy(parts, leaderOf)
    const lists = [...byLeader].map(async ([leader, own]) => {
      if (leader < 0) throw new UnreachableError(`partition ${own[0]?.partition} of topic ${own[0]?.topic} has no leader`)
      const connection = await this.#cluster.connection(leader, 'ask')
      const answers = await connection.call(listOffsets(time, own), this.#cluster.options.requestTimeout)
      for (const { topic, error } of answers) {
        if (error !== 0) this.#cluster.forget([topic])
        check(error)
      }
      return answers
    })
    return (await Promise.all(lists)).flat()
  }
}
