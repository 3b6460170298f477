import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Claim } from '../partitions/claim.ts'
import type { Cluster } from './cluster.ts'
import { Fetcher } from './fetcher.ts'

export interface FetchersOptions {
  fetchMinBytes: number
  fetchPartitionBytes: number
}

export interface FetchersHooks {
  claims(): Claim[]
  outOfRange(claim: Claim): void
}

/** What may lie in memory over all partitions, beside one answer of each broker. */
const MOST_BYTES = 32 * 2 ** 20
const RETRY = 100
const MOST_RETRY = 1000

/** A fetcher for each broker that leads one of the claims, as leadership moves. */
export class Fetchers {
  readonly #cluster: Cluster
  readonly #options: FetchersOptions
  readonly #hooks: FetchersHooks
  readonly #log: Logger
  readonly #byBroker = new Map<number, Fetcher>()
  /** As of the last `route`: what the cluster knows is forgotten whenever a publish fails, and a fetcher must not stop for that. */
  #leaders = new Map<Claim, number>()
  #relocating = false

  constructor(cluster: Cluster, options: FetchersOptions, hooks: FetchersHooks, log: Logger) {
    this.#cluster = cluster
    this.#options = options
    this.#hooks = hooks
    this.#log = log
  }

  /** After the claims have changed, or who leads them. */
  route(): void {
    const leaders = new Set<number>()
    const before = this.#leaders
    this.#leaders = new Map()
    let unknown = false
    for (const claim of this.#hooks.claims()) {
      const known = this.#leader(claim)
      if (known < 0) unknown = true
      const leader = known < 0 ? (before.get(claim) ?? -1) : known
      this.#leaders.set(claim, leader)
      if (leader >= 0) leaders.add(leader)
    }
    for (const [id, fetcher] of this.#byBroker) {
      if (leaders.has(id)) continue
      fetcher.end()
      this.#byBroker.delete(id)
    }
    for (const id of leaders) {
      const existing = this.#byBroker.get(id)
      if (existing) existing.renew()
      else this.#start(id)
    }
    if (unknown) void this.#relocate()
  }

  wake(): void {
    for (const fetcher of this.#byBroker.values()) fetcher.wake()
  }

  end(): void {
    for (const fetcher of this.#byBroker.values()) fetcher.end()
    this.#byBroker.clear()
    this.#leaders.clear()
  }

  #leader({ topic, partition }: Claim): number {
    return this.#cluster.topic(topic)?.leaders[partition] ?? -1
  }

  #start(id: number): void {
    const { fetchMinBytes, fetchPartitionBytes } = this.#options
    const hooks = {
      claims: () => this.#hooks.claims().filter((claim) => this.#leaders.get(claim) === id),
      full: () => this.#hooks.claims().reduce((sum, claim) => sum + claim.bytes, 0) > MOST_BYTES,
      moved: () => void this.#relocate(),
      outOfRange: this.#hooks.outOfRange,
    }
    const options = { minBytes: fetchMinBytes, partitionBytes: fetchPartitionBytes }
    const fetcher = new Fetcher(id, this.#cluster, options, hooks, this.#log)
    this.#byBroker.set(id, fetcher)
    fetcher.start()
  }

  /** Asks where the partitions are led until there is an answer, or nothing to read any more. */
  async #relocate(): Promise<void> {
    if (this.#relocating) return
    this.#relocating = true
    for (let wait = RETRY; this.#hooks.claims().length > 0; wait = Math.min(wait * 2, MOST_RETRY)) {
      try {
        await this.#cluster.refresh([...new Set(this.#hooks.claims().map(({ topic }) => topic))])
        if (this.#hooks.claims().every((claim) => this.#leader(claim) >= 0)) break
      } catch (error) {
        this.#log.debug(`cannot find the leaders of partitions: ${messageOf(error)}`)
      }
      await new Promise((resolve) => setTimeout(resolve, wait).unref())
    }
    this.#relocating = false
    this.route()
  }
}
