import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Retry } from '../partitions/backoff.ts'
import { Claim, type Flow } from '../partitions/claim.ts'
import type { Assignment } from './assignors.ts'
import type { Cluster } from './cluster.ts'
import { Committer } from './committer.ts'
import { ClosedError, isPassing, KafkaError } from './errors.ts'
import { Fetchers } from './fetchers.ts'
import { Group, type GroupOptions } from './group.ts'
import type { Membership } from './group-calls.ts'
import { Positions } from './positions.ts'
import type { InRecord } from './records.ts'

export interface ConsumerOptions extends GroupOptions {
  initialOffset: 'newest' | 'oldest'
  fetchMinBytes: number
  fetchPartitionBytes: number
  /** Records of one partition that may wait in memory before fetching pauses. */
  bufferSize: number
  /** How long running handlers may take when a subscription ends, milliseconds. */
  drainTimeout: number
  /** How often topics are looked at for new partitions, milliseconds. */
  refreshInterval: number
  /** undefined: what is not handled is passed over. */
  retry: Retry | undefined
}

export interface Subscription {
  flow: Flow
  handle(record: InRecord & { topic: string; partition: number }, signal: AbortSignal): Promise<void>
}

/** How long a rebalance waits for handlers: one that ends in time can still commit, one that does not must not hold up the group. */
const PREPARE = 1000
/** A topic that the broker makes when it is named takes a moment. */
const MAKE_LIMIT = 5000
const MAKE_RETRY = 50
const READY_LIMIT = 30_000

/** The member of one consumer group for all topics of a component, while there are any. */
export class Consumer {
  readonly #cluster: Cluster
  readonly #options: ConsumerOptions
  readonly #log: Logger
  readonly #subscriptions = new Map<string, Subscription[]>()
  readonly #claims = new Map<string, Claim<InRecord>>()
  readonly #fetchers: Fetchers
  readonly #waiters = new Set<{ topics: readonly string[]; resolve(): void; reject(error: Error): void }>()
  readonly #committer: Committer
  readonly #positions: Positions
  #group: Group | undefined
  #membership: Membership | undefined
  #refreshTimer: NodeJS.Timeout | undefined
  #closed = false

  constructor(cluster: Cluster, options: ConsumerOptions, log: Logger) {
    this.#cluster = cluster
    this.#options = options
    this.#log = log
    this.#positions = new Positions(cluster, options)
    this.#fetchers = new Fetchers(
      cluster,
      options,
      { claims: () => [...this.#claims.values()], outOfRange: (claim) => void this.#reset(claim) },
      log,
    )
    this.#committer = new Committer({
      claims: () => this.#claims.values(),
      group: () => this.#group,
      membership: () => this.#membership,
      log,
    })
  }

  /** Resolves when the group has shared out the topics. Rejects when it refuses this member. */
  async subscribe(topics: readonly string[], subscription: Subscription): Promise<AsyncDisposable> {
    if (this.#closed) throw new ClosedError()
    await this.#make(topics)
    // Only what this component begins with: one that reads already knows where it is.
    await this.#positions.note(topics.filter((topic) => !this.#subscriptions.has(topic))).catch(() => {})
    if (this.#closed) throw new ClosedError()
    for (const topic of topics) this.#subscriptions.set(topic, [...(this.#subscriptions.get(topic) ?? []), subscription])
    const handle = { [Symbol.asyncDispose]: () => this.#unsubscribe(topics, subscription) }
    if (this.#group) this.#group.rejoin()
    else this.#start()
    try {
      await this.#ready(topics)
    } catch (error) {
      await handle[Symbol.asyncDispose]()
      throw error
    }
    return handle
  }

  #start(): void {
    const hooks = {
      topics: () => [...this.#subscriptions.keys()].sort(),
      prepare: () => this.#prepare(),
      assigned: (membership: Membership, assignment: Assignment, topics: readonly string[], continuous: boolean) =>
        this.#assigned(membership, assignment, topics, continuous),
      lost: () => this.#lost(),
      failed: (error: Error) => {
        for (const waiter of this.#waiters) waiter.reject(error)
      },
    }
    this.#group = new Group(this.#cluster, this.#options, hooks, this.#log)
    this.#group.start()
    this.#refreshTimer = setInterval(() => void this.#lookForPartitions(), this.#options.refreshInterval)
    this.#refreshTimer.unref()
  }

  /** Names the topics to the brokers, which make those that do not exist, if they may. */
  async #make(topics: readonly string[]): Promise<void> {
    const until = Date.now() + MAKE_LIMIT
    for (;;) {
      try {
        return await this.#cluster.refresh(topics)
      } catch (error) {
        if (!(error instanceof KafkaError) || !isPassing(error) || Date.now() > until) throw error
        await new Promise((resolve) => setTimeout(resolve, MAKE_RETRY))
      }
    }
  }

  #ready(topics: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (then: () => void) => {
        this.#waiters.delete(waiter)
        clearTimeout(timer)
        then()
      }
      const waiter = { topics, resolve: () => settle(resolve), reject: (error: Error) => settle(() => reject(error)) }
      const timer = setTimeout(() => {
        this.#log.warn(`consumer group ${this.#options.group}: not complete after ${READY_LIMIT / 1000} s; goes on joining`)
        waiter.resolve()
      }, READY_LIMIT)
      this.#waiters.add(waiter)
    })
  }

  async #prepare(): Promise<void> {
    for (const claim of this.#claims.values()) claim.pause()
    await Promise.all([...this.#claims.values()].map((claim) => claim.settled(PREPARE)))
    await this.#committer.now()
    this.#membership = undefined
  }

  async #assigned(membership: Membership, assignment: Assignment, topics: readonly string[], continuous: boolean): Promise<void> {
    const mine = new Set<string>()
    for (const [topic, partitions] of assignment) for (const partition of partitions) mine.add(keyOf(topic, partition))
    for (const [key, claim] of this.#claims) if (!continuous || !mine.has(key)) this.#drop(key, claim)
    // Only now: nothing that belongs to others may be committed under the new generation.
    this.#membership = membership
    const wanted: { topic: string; partition: number }[] = []
    for (const [topic, partitions] of assignment) {
      if (!this.#subscriptions.has(topic)) continue
      for (const partition of partitions) if (!this.#claims.has(keyOf(topic, partition))) wanted.push({ topic, partition })
    }
    if (wanted.length > 0) {
      const positions = await this.#positions.of(wanted, (call) => (this.#group as Group).call(call))
      if (this.#membership !== membership) return
      for (const { topic, partition, offset, committed } of positions) this.#claim(topic, partition, offset, committed)
      // Where a group starts is committed before anything is delivered: who takes over from here starts there too.
      if (positions.some(({ committed }) => !committed)) await this.#committer.now()
    }
    this.#positions.forget(topics)
    for (const claim of this.#claims.values()) claim.resume()
    this.#committer.soon()
    this.#fetchers.route()
    for (const waiter of this.#waiters) if (waiter.topics.every((topic) => topics.includes(topic))) waiter.resolve()
    this.#log.debug(`consumer group ${membership.group}: generation ${membership.generation}, partitions ${[...mine].join(', ') || 'none'}`)
  }

  #claim(topic: string, partition: number, offset: number, committed: boolean): void {
    const subscription = this.#subscriptions.get(topic)?.at(-1)
    if (subscription === undefined) return
    const { bufferSize, fetchPartitionBytes, retry } = this.#options
    const { flow } = subscription
    const claim = new Claim<InRecord>({
      label: 'Kafka message',
      topic,
      partition,
      offset,
      flow,
      most: Math.max(bufferSize, flow.window, 2 * (flow.group?.size ?? 0)),
      mostBytes: 2 * fetchPartitionBytes,
      retry,
      handle: (record, signal) => subscription.handle(Object.assign(record, { topic, partition }), signal),
      moved: () => this.#committer.soon(),
      wake: () => this.#fetchers.wake(),
      log: this.#log,
    })
    claim.committed = committed ? offset : -1
    this.#claims.set(keyOf(topic, partition), claim)
  }

  #lost(): void {
    this.#membership = undefined
    for (const [key, claim] of this.#claims) this.#drop(key, claim)
  }

  /** It is somebody else's now: handlers are told to stop, nothing is committed. */
  #drop(key: string, claim: Claim): void {
    this.#claims.delete(key)
    void claim.end(0)
  }

  async #reset(claim: Claim): Promise<void> {
    try {
      const offset = await this.#positions.nearest(claim)
      if (claim.ended || offset === claim.next) return
      this.#log.warn(
        `topic ${claim.topic}/${claim.partition}: offset ${claim.next} is not there any more, goes on at ${offset}: messages were deleted before they were read`,
      )
      const key = keyOf(claim.topic, claim.partition)
      if (this.#claims.get(key) !== claim) return
      this.#drop(key, claim)
      this.#claim(claim.topic, claim.partition, offset, false)
      this.#fetchers.route()
    } catch (error) {
      this.#log.warn(`topic ${claim.topic}/${claim.partition}: ${messageOf(error)}`)
    }
  }

  async #lookForPartitions(): Promise<void> {
    const topics = [...this.#subscriptions.keys()]
    const count = () => topics.map((topic) => this.#cluster.topic(topic)?.leaders.length).join()
    const before = count()
    await this.#cluster.refresh(topics).catch(() => undefined)
    if (count() !== before) this.#group?.rejoin()
  }

  async #unsubscribe(topics: readonly string[], subscription: Subscription): Promise<void> {
    const gone: Claim[] = []
    for (const topic of topics) {
      const left = this.#subscriptions.get(topic)?.filter((one) => one !== subscription) ?? []
      if (left.length > 0) this.#subscriptions.set(topic, left)
      else this.#subscriptions.delete(topic)
      gone.push(...[...this.#claims.values()].filter((claim) => claim.topic === topic))
    }
    await Promise.all(gone.map((claim) => claim.end(this.#options.drainTimeout)))
    await this.#committer.now()
    for (const claim of gone)
      if (this.#claims.get(keyOf(claim.topic, claim.partition)) === claim) this.#claims.delete(keyOf(claim.topic, claim.partition))
    if (this.#subscriptions.size > 0) this.#group?.rejoin()
    else await this.#leave()
  }

  async #leave(): Promise<void> {
    const group = this.#group
    this.#group = undefined
    this.#membership = undefined
    clearInterval(this.#refreshTimer)
    this.#fetchers.end()
    for (const waiter of this.#waiters) waiter.reject(new ClosedError())
    await group?.leave()
  }

  /** Ends every subscription, hands back what is not settled, and leaves the group. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#subscriptions.clear()
    await Promise.all([...this.#claims.values()].map((claim) => claim.end(this.#options.drainTimeout)))
    await this.#committer.now()
    this.#claims.clear()
    this.#committer.close()
    await this.#leave()
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
