import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Claim } from '../partitions/claim.ts'
import { KafkaError } from './errors.ts'
import type { Group } from './group.ts'
import { type Membership, offsetCommit } from './group-calls.ts'

export interface CommitterOptions {
  claims(): Iterable<Claim>
  group(): Group | undefined
  /** The generation to commit in; undefined while the group shares out anew. */
  membership(): Membership | undefined
  log: Logger
}

/** Between two commits while messages flow: what a killed process may have delivered without having said so. */
const INTERVAL = 100
const RETRY = 500
const LAST_LIMIT = 2000

/** Commits positions, one request at a time. */
export class Committer {
  readonly #options: CommitterOptions
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: CommitterOptions) {
    this.#options = options
  }

  /** Commits within a tenth of a second. */
  soon(wait = INTERVAL): void {
    if (this.#closed) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#running = this.#running.then(() => this.#commit())
    }, wait)
  }

  /** Commits what there is, and resolves when that is done or has failed. */
  now(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running = this.#running.then(() => this.#commit(LAST_LIMIT))
    return this.#running
  }

  async #commit(limit?: number): Promise<void> {
    const membership = this.#options.membership()
    const group = this.#options.group()
    if (membership === undefined || group === undefined) return
    const moved = [...this.#options.claims()].filter((claim) => claim.position > claim.committed)
    if (moved.length === 0) return
    const positions = moved.map(({ topic, partition, position }) => ({ topic, partition, offset: position }))
    try {
      const answers = await group.call(offsetCommit(membership, positions), limit)
      const codes = new Map(answers.map(({ topic, partition, error }) => [`${topic}/${partition}`, error]))
      let problem: KafkaError | undefined
      for (const [index, claim] of moved.entries()) {
        const code = codes.get(`${claim.topic}/${claim.partition}`) ?? -1
        if (code === 0) claim.committed = Math.max(claim.committed, (positions[index] as { offset: number }).offset)
        else problem = new KafkaError(code)
      }
      if (problem) throw problem
    } catch (error) {
      group.forgetCoordinator(error)
      if (error instanceof KafkaError && error.kind === 'rejoin') {
        // Of another generation: whether the messages count is for the group to say.
        if (this.#options.membership() === membership) group.rejoin()
        return
      }
      this.#options.log.debug(`consumer group ${membership.group}: cannot commit yet: ${messageOf(error)}`)
      if (limit === undefined) this.soon(RETRY)
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
