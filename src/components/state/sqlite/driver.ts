import { setTimeout as pause } from 'node:timers/promises'
import {
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateOperation,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import type { KeysPage, ListsKeys } from '../../../blocks/state/keys.ts'
import { type Database, isBusy, openSqlite } from '../../../storage/sqlite.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { checkWritable, sqliteRefusal } from '../../sqlite-refusal.ts'
import { Failures } from '../bulk.ts'
import { fields, readSettings, type SqliteSettings } from './settings.ts'
import { openTable, type StateTable, ttlOf } from './table.ts'

interface Waiting {
  /** Runs inside the shared transaction; throwing undoes only this write. */
  work: () => void
  /** Whether a failure can leave half of the work behind, so that it needs its own savepoint. */
  several: boolean
  done: (error?: unknown) => void
}

/** Milliseconds between looks at a lock that another process holds, at most. */
const STEP = 5

/** Most writes committed together: bounds how long the event loop is held. */
const GROUP = 512

/**
 * State in one SQLite file. Writes that arrive in the same turn of the event loop share one transaction, so that a
 * busy sidecar pays for a commit once a turn; each still succeeds or fails alone. A lock that another process holds is waited
 * for with the event loop free. The queue is as long as there are requests in flight.
 */
class SqliteState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE']
  private readonly context: ComponentContext
  private readonly settings: SqliteSettings
  private database: Database | undefined
  private opened: StateTable | undefined
  private queue: Waiting[] = []
  private scheduled = false
  /** When the write lock was first found taken; 0: it was free. */
  private busySince = 0
  private cleaner: NodeJS.Timeout | undefined

  constructor(context: ComponentContext) {
    this.context = context
    this.settings = readSettings(context.properties)
  }

  async init(): Promise<void> {
    const { path, journal, busyTimeout, cleanupInterval } = this.settings
    this.database = openSqlite(path, { journal, busyTimeout })
    try {
      this.opened = openTable(this.database, this.settings)
    } catch (error) {
      this.database.close()
      this.database = undefined
      throw new Error(`cannot prepare SQLite file ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    if (cleanupInterval > 0)
      this.cleaner = setInterval(() => this.clean(cleanupInterval), Math.min(Math.max(cleanupInterval, 1000), 2 ** 31 - 1)).unref()
  }

  async ping(): Promise<void> {
    await checkWritable(this.owner, this.settings.path, () => this.open())
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    return this.table().get(key)
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const found = this.table().getAll(requests.map(({ key }) => key))
    return requests.map(({ key }) => found.get(key))
  }

  async set(item: StateSet): Promise<void> {
    const ttl = ttlOf(item)
    return this.write(() => this.table().put(item, ttl))
  }

  async delete(item: StateDelete): Promise<void> {
    return this.write(() => this.table().remove(item))
  }

  bulkSet(items: readonly StateSet[]): Promise<void> {
    return this.list(items)
  }

  bulkDelete(items: readonly StateDelete[]): Promise<void> {
    return this.list(items)
  }

  async transact(operations: readonly StateOperation[]): Promise<void> {
    const prepared = operations.map((operation) => this.prepare(operation))
    return this.write(() => prepared.forEach((run) => void run()), operations.length > 1)
  }

  async keysLike(pattern: string, page: { size?: number; token?: string }): Promise<KeysPage> {
    return this.table().keysLike(pattern, page)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.cleaner)
    for (this.flush(); this.queue.length > 0 && this.database; await pause(STEP)) this.flush()
    this.database?.close()
    this.database = undefined
    this.opened = undefined
  }

  /** The items of a list are independent: those with a stale ETag are told, the others stay. */
  private async list(items: readonly StateOperation[]): Promise<void> {
    const failures = new Failures()
    const prepared = items.map((item) => ({ key: item.key, run: this.prepare(item) }))
    await this.write(() => {
      for (const { key, run } of prepared) {
        try {
          run()
        } catch (error) {
          if (!(error instanceof EtagError)) throw error
          failures.add(key, error)
        }
      }
    }, true)
    failures.throwAny()
  }

  /** Refuses what is wrong with the request itself before a transaction is open. */
  private prepare(operation: StateOperation): () => void {
    if (operation.kind === 'delete') return () => this.table().remove(operation)
    const ttl = ttlOf(operation)
    return () => this.table().put(operation, ttl)
  }

  private write(work: () => void, several = false): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ work, several, done: (error) => (error === undefined ? resolve() : reject(error)) })
      this.schedule()
    })
  }

  private flush(): void {
    this.scheduled = false
    const group = this.queue.splice(0, GROUP)
    if (group.length === 0) return
    const outcomes: unknown[] = []
    try {
      const database = this.open()
      this.begin(database)
      try {
        for (const { work, several } of group) {
          const error = attempt(database, work, several && group.length > 1)
          // A full disk ends the transaction by itself.
          if (!database.isTransaction) throw error
          outcomes.push(error)
        }
        const failed = group.length === 1 && outcomes[0] !== undefined
        database.exec(failed ? 'ROLLBACK' : 'COMMIT')
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK')
        throw error
      }
    } catch (error) {
      if (isBusy(error)) this.busySince ||= performance.now()
      if (isBusy(error) && performance.now() - this.busySince < this.settings.busyTimeout) {
        this.queue.unshift(...group)
        // Spread out, so that processes that met once do not meet again.
        return this.schedule(1 + Math.random() * STEP)
      }
      this.busySince = 0
      const told = sqliteRefusal(this.owner, this.settings.path, error)
      for (const { done } of group) done(told)
      return this.schedule()
    }
    this.busySince = 0
    group.forEach(({ done }, index) => void done(outcomes[index]))
    this.schedule()
  }

  private schedule(delay = 0): void {
    if (this.scheduled || this.queue.length === 0) return
    this.scheduled = true
    if (delay > 0) setTimeout(() => this.flush(), delay)
    else setImmediate(() => this.flush())
  }

  /** Takes the write lock if it is free: SQLite's own wait for it would hold up the event loop. */
  private begin(database: Database): void {
    try {
      database.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE')
    } finally {
      database.exec(`PRAGMA busy_timeout = ${this.settings.busyTimeout}`)
    }
  }

  private get owner(): string {
    return `state store ${this.context.name}`
  }

  private open(): Database {
    if (!this.database) throw new Error(`state store ${this.context.name} is not open`)
    return this.database
  }

  private table(): StateTable {
    if (!this.opened) throw new Error(`state store ${this.context.name} is not open`)
    return this.opened
  }

  private clean(interval: number): void {
    try {
      const count = this.table().clean(interval)
      if (count) this.context.log.debug(`state store ${this.context.name}: removed ${count} expired rows`)
    } catch (error) {
      this.context.log.warn(
        `state store ${this.context.name}: cannot remove expired rows: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
}

/** Gives what the work threw. */
function attempt(database: Database, work: () => void, guarded: boolean): unknown {
  if (guarded) database.exec('SAVEPOINT one')
  try {
    work()
    if (guarded) database.exec('RELEASE one')
    return undefined
  } catch (error) {
    if (guarded && database.isTransaction) database.exec('ROLLBACK TO one; RELEASE one')
    return error
  }
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in one SQLite file, which several sidecars of a machine may share.',
  metadata: fields,
  create: (context) => new SqliteState(context),
}
