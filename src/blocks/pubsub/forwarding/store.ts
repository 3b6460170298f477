import { randomUUID } from 'node:crypto'
import { isAlive, ownIdentity, type ProcessIdentity } from '../../../components/pubsub/process-life.ts'
import { GroupCommit } from '../../../storage/group-commit.ts'
import { type Database, openSqlite } from '../../../storage/sqlite.ts'
import { prepare, type Statements } from './schema.ts'

/** Events of one key of a topic (or of a topic's events without key) keep their order. */
export interface Lane {
  topic: string
  /** Empty: none. */
  key: string
}

/** As the broker gets it, but for the topic, which carries no namespace yet. */
export interface OutgoingEvent extends Lane {
  data: Buffer
  contentType: string | undefined
  metadata: Readonly<Record<string, string>>
}

export interface StoredEvent extends OutgoingEvent {
  seq: number
  acceptedAt: number
  expiresAt: number
}

export interface Waiting {
  events: number
  bytes: number
  /** When the oldest was accepted; undefined when none waits. */
  oldest: Date | undefined
}

export interface StoreOptions {
  /** Shared with other sidecars of the machine. */
  file: string
  /** Whose events these are: namespace and app id. */
  owner: string
  synchronous: 'normal' | 'full'
}

/** What a row costs beside its content. */
const ROW_BYTES = 128
/** Silence after which a process that cannot be seen from here counts as gone. */
const LEASE_TIMEOUT = 30_000
const STEP = 500

/** Accepted events on disk, by pub/sub. Written in groups; a promise resolves when the transaction is through. */
export class ForwardStore implements Disposable {
  readonly #owner: string
  readonly #database: Database
  readonly #statements: Statements
  readonly #commits: GroupCommit
  readonly #holder = randomUUID()
  readonly #identity: ProcessIdentity = ownIdentity()

  /** Throws an Error naming the file when it cannot be used. */
  constructor({ file, owner, synchronous }: StoreOptions) {
    this.#owner = owner
    this.#database = openSqlite(file)
    try {
      if (synchronous === 'full') this.flush('full')
      this.#statements = prepare(this.#database)
      this.#database.exec('PRAGMA busy_timeout = 0')
    } catch (error) {
      this.#database.close()
      throw error
    }
    this.#commits = new GroupCommit(this.#database)
  }

  /** From now on: `normal` survives the end of any process, `full` also a power cut. */
  flush(synchronous: StoreOptions['synchronous']): void {
    this.#database.exec(`PRAGMA synchronous = ${synchronous === 'full' ? 'FULL' : 'NORMAL'}`)
  }

  /** Resolves with false when the event does not fit below `limit` bytes, and nothing is written. */
  append(pubsub: string, event: OutgoingEvent, expiresAt: number, limit: number): Promise<boolean> {
    const metadata = JSON.stringify(event.metadata)
    const bytes = event.data.length + metadata.length + event.topic.length + event.key.length + ROW_BYTES
    const { insert, add } = this.#statements
    return this.#commits.write(() => {
      if (this.#total(pubsub).bytes + bytes > limit) return false
      const { topic, key, data, contentType } = event
      insert.run(this.#owner, pubsub, topic, key, data, contentType ?? null, metadata, Date.now(), expiresAt, bytes)
      add.run(this.#owner, pubsub, 1, bytes)
      return true
    })
  }

  waiting(pubsub: string): Waiting {
    const { events, bytes } = this.#total(pubsub)
    const oldest = events > 0 ? (this.#statements.oldest.get(this.#owner, pubsub) as { accepted_at: number } | undefined) : undefined
    return { events, bytes, oldest: oldest && new Date(oldest.accepted_at) }
  }

  /** Pub/subs of this owner with events. */
  pubsubs(): { pubsub: string; events: number }[] {
    return this.#statements.owned.all(this.#owner) as { pubsub: string; events: number }[]
  }

  /** Whether an event of this lane waits. */
  holds(pubsub: string, { topic, key }: Lane): boolean {
    return this.#statements.holds.get(this.#owner, pubsub, topic, key) !== undefined
  }

  /** The lanes with events, one by one in the order of their names. */
  nextLane(pubsub: string, { topic, key }: Lane): Lane | undefined {
    return this.#statements.nextLane.get(this.#owner, pubsub, topic, key) as Lane | undefined
  }

  /** The first event of a lane after `seq`. */
  head(pubsub: string, { topic, key }: Lane, seq: number): StoredEvent | undefined {
    const row = this.#statements.head.get(this.#owner, pubsub, topic, key, seq) as
      | { seq: number; data: Uint8Array; content_type: string | null; metadata: string; accepted_at: number; expires_at: number }
      | undefined
    if (!row) return undefined
    return {
      topic,
      key,
      seq: row.seq,
      data: Buffer.from(row.data.buffer, row.data.byteOffset, row.data.byteLength),
      contentType: row.content_type ?? undefined,
      metadata: JSON.parse(row.metadata) as Record<string, string>,
      acceptedAt: row.accepted_at,
      expiresAt: row.expires_at,
    }
  }

  remove(pubsub: string, seq: number): Promise<void> {
    return this.#commits.write(() => this.#remove(pubsub, seq))
  }

  /** Removes what has expired, by topic how many; a step at a time, so call it again while it gives something. */
  async expire(pubsub: string, now: number): Promise<Map<string, number>> {
    const topics = new Map<string, number>()
    const rows = this.#statements.expired.all(this.#owner, pubsub, now, STEP) as { seq: number; topic: string }[]
    if (rows.length === 0) return topics
    await this.#commits.write(() => {
      for (const { seq } of rows) this.#remove(pubsub, seq)
    })
    for (const { topic } of rows) topics.set(topic, (topics.get(topic) ?? 0) + 1)
    return topics
  }

  /** When the next event expires, in milliseconds since 1970; undefined when none waits. */
  nextExpiry(pubsub: string): number | undefined {
    return (this.#statements.nextExpiry.get(this.#owner, pubsub) as { at: number | null }).at ?? undefined
  }

  /** Takes or keeps the right to forward; false while a process that lives has it. */
  async lease(pubsub: string): Promise<boolean> {
    const taken = () => {
      const row = this.#statements.lease.get(this.#owner, pubsub) as (ProcessIdentity & { holder: string; seen_at: number }) | undefined
      return row !== undefined && row.holder !== this.#holder && isAlive(row) !== false && row.seen_at > Date.now() - LEASE_TIMEOUT
    }
    if (taken()) return false
    const { place, pid, started } = this.#identity
    return this.#commits.write(() => {
      if (taken()) return false
      this.#statements.takeLease.run(this.#owner, pubsub, this.#holder, place, pid, started, Date.now())
      return true
    })
  }

  async release(pubsub: string): Promise<void> {
    await this.#commits.write(() => void this.#statements.releaseLease.run(this.#owner, pubsub, this.#holder))
  }

  [Symbol.dispose](): void {
    this.#commits.close()
    this.#database.close()
  }

  #total(pubsub: string): { events: number; bytes: number } {
    return (this.#statements.total.get(this.#owner, pubsub) as { events: number; bytes: number } | undefined) ?? { events: 0, bytes: 0 }
  }

  #remove(pubsub: string, seq: number): void {
    const row = this.#statements.remove.get(seq) as { bytes: number } | undefined
    if (row) this.#statements.add.run(this.#owner, pubsub, -1, -row.bytes)
  }
}
