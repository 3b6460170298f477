import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { type Assignment, assign, decodeAssignment, decodeWish, encodeAssignment, encodeWish, type Strategy } from './assignors.ts'
import type { Call } from './calls.ts'
import type { Cluster } from './cluster.ts'
import { isPassing, KafkaError, UnreachableError } from './errors.ts'
import { heartbeat, joinGroup, leaveGroup, type Membership, syncGroup } from './group-calls.ts'

export interface GroupOptions {
  group: string
  strategy: Strategy
  sessionTimeout: number
  heartbeatInterval: number
  /** How long the group waits for a member that shares out anew. */
  rebalanceTimeout: number
  /** First wait after a failure, milliseconds. */
  retryInterval: number
}

/** What the consumer does at the turns of a membership. */
export interface GroupHooks {
  topics(): string[]
  /** The group is about to share out anew: finish and commit what can be finished soon. */
  prepare(): Promise<void>
  /** The partitions of this generation. `continuous`: nobody else can have had a partition that stays. */
  assigned(membership: Membership, assignment: Assignment, topics: readonly string[], continuous: boolean): Promise<void>
  /** The group has dropped this member: whatever it had is somebody else's now. */
  lost(): void
  /** It cannot join; goes on trying all the same. */
  failed(error: Error): void
}

const LEAVE_LIMIT = 2000
const MOST_RETRY = 1000

/**
 * One membership in a consumer group (the classic protocol, eager): joining → synced → beating → joining … → left.
 * Runs until it leaves, whatever happens to the brokers.
 */
export class Group {
  readonly #cluster: Cluster
  readonly #options: GroupOptions
  readonly #hooks: GroupHooks
  readonly #log: Logger
  #member = ''
  #membership: Membership | undefined
  #had: Assignment = new Map()
  #coordinator: number | undefined
  #ended = false
  /** Wakes whoever waits between two steps. */
  #wake: (() => void) | undefined
  #again = false
  #running: Promise<void> | undefined

  constructor(cluster: Cluster, options: GroupOptions, hooks: GroupHooks, log: Logger) {
    this.#cluster = cluster
    this.#options = options
    this.#hooks = hooks
    this.#log = log
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Joins once more: the topics have changed, or somebody heard that the group shares out anew. */
  rejoin(): void {
    this.#again = true
    this.#wake?.()
  }

  /** A request to the coordinator, which is looked for when it is not known. */
  async call<T>(call: Call<T>, timeout?: number): Promise<T> {
    try {
      this.#coordinator ??= (await this.#cluster.coordinator(this.#options.group)).id
      const connection = await this.#cluster.connection(this.#coordinator, 'group')
      return await connection.call(call, timeout ?? this.#cluster.options.requestTimeout)
    } catch (error) {
      this.forgetCoordinator(error)
      throw error
    }
  }

  /** After errors that say so the coordinator is looked for again. */
  forgetCoordinator(error: unknown): void {
    if (error instanceof UnreachableError || (error instanceof KafkaError && error.kind === 'coordinator')) this.#coordinator = undefined
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#ended) {
      try {
        await this.#join()
        failures = 0
        await this.#beat()
      } catch (error) {
        if (this.#ended) return
        this.forgetCoordinator(error)
        if (!isPassing(error)) this.#hooks.failed(error instanceof Error ? error : new Error(messageOf(error)))
        const wait = Math.min(this.#options.retryInterval * 2 ** Math.min(failures++, 10), isPassing(error) ? MOST_RETRY : 10 * MOST_RETRY)
        this.#log.warn(`consumer group ${this.#options.group}: ${messageOf(error)}; again in ${wait} ms`)
        await this.#sleep(wait)
      }
    }
  }

  async #join(): Promise<void> {
    this.#again = false
    if (this.#membership) await this.#hooks.prepare()
    const { group, strategy, sessionTimeout, rebalanceTimeout } = this.#options
    const before = this.#membership
    const topics = this.#hooks.topics()
    const metadata = encodeWish(topics, strategy, this.#had, before?.generation ?? -1)
    const request = joinGroup({ group, sessionTimeout, rebalanceTimeout, member: this.#member, strategy, metadata })
    const joined = await this.call(request, rebalanceTimeout + 10_000)
    if (this.#ended) return
    if (joined.error === 79 && joined.member) {
      this.#member = joined.member
      return this.#join()
    }
    this.#check(joined.error)
    this.#member = joined.member
    const membership = { group, generation: joined.generation, member: joined.member }
    const shares = joined.leader === joined.member ? await this.#shareOut(joined.members) : []
    if (this.#ended) return
    const synced = await this.call(syncGroup(membership, shares), rebalanceTimeout + 10_000)
    if (this.#ended) return
    this.#check(synced.error)
    this.#membership = membership
    this.#had = decodeAssignment(synced.assignment)
    const continuous = before?.member === membership.member && before.generation + 1 === membership.generation
    await this.#hooks.assigned(membership, this.#had, topics, continuous)
  }

  /** Throws for a code; one that says we are out of the group ends what we had. */
  #check(code: number): void {
    if (code === 0) return
    if (code === 25 || code === 22) this.#forget(code === 25)
    throw new KafkaError(code)
  }

  #forget(member: boolean): void {
    if (member) this.#member = ''
    this.#membership = undefined
    this.#had = new Map()
    this.#hooks.lost()
  }

  async #shareOut(members: readonly { id: string; metadata: Buffer }[]): Promise<{ member: string; assignment: Buffer }[]> {
    const wishes = members.map(({ id, metadata }) => decodeWish(id, metadata))
    const topics = [...new Set(wishes.flatMap((wish) => wish.topics))]
    try {
      await this.#cluster.refresh(topics)
    } catch (error) {
      // A topic that does not exist leaves the others as they are.
      if (!(error instanceof KafkaError)) throw error
    }
    const counts = new Map<string, number>()
    for (const topic of topics) {
      const count = this.#cluster.topic(topic)?.leaders.length
      if (count) counts.set(topic, count)
    }
    return [...assign(this.#options.strategy, wishes, counts)].map(([member, own]) => ({ member, assignment: encodeAssignment(own) }))
  }

  /** Beats until there is a reason to join again. */
  async #beat(): Promise<void> {
    const { heartbeatInterval, sessionTimeout, retryInterval } = this.#options
    let wait = heartbeatInterval
    while (!this.#ended && !this.#again) {
      await this.#sleep(wait)
      if (this.#ended || this.#again) return
      wait = heartbeatInterval
      try {
        const code = await this.call(
          heartbeat(this.#membership as Membership),
          Math.min(sessionTimeout / 2, this.#cluster.options.requestTimeout),
        )
        if (code === 0) continue
        if (code === 27) return
        const error = new KafkaError(code)
        if (error.kind !== 'coordinator') this.#check(code)
        this.forgetCoordinator(error)
        wait = retryInterval
      } catch (error) {
        if (this.#ended) return
        if (error instanceof KafkaError && (error.code === 22 || error.code === 25)) return
        if (!isPassing(error)) throw error
        this.#log.debug(`consumer group ${this.#options.group}: no heartbeat: ${messageOf(error)}`)
        wait = Math.min(MOST_RETRY, heartbeatInterval)
      }
    }
  }

  #sleep(milliseconds: number): Promise<void> {
    if (this.#ended || this.#again) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, milliseconds)
    this.#wake = resolve
    return promise.finally(() => {
      clearTimeout(timer)
      this.#wake = undefined
    })
  }

  /** Tells the group at once, so that others need not wait for the session to time out. */
  async leave(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#wake?.()
    if (this.#member === '') return
    try {
      const id = this.#coordinator ?? (await this.#cluster.coordinator(this.#options.group)).id
      // Not behind a join that waits for the others of the group.
      const connection = await this.#cluster.connection(id, 'ask', LEAVE_LIMIT)
      await connection.call(leaveGroup(this.#options.group, this.#member), LEAVE_LIMIT)
    } catch (error) {
      this.#log.debug(`consumer group ${this.#options.group}: cannot leave: ${messageOf(error)}`)
    }
  }

  /** Resolves when nothing runs any more; after the cluster is closed at the latest. */
  async over(): Promise<void> {
    await this.#running
  }
}
