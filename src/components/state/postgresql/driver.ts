import type { PoolClient, QueryConfig, QueryResult } from 'pg'
import {
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateOperation,
  type StateQueryResult,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import type { KeysPage, ListsKeys } from '../../../blocks/state/keys.ts'
import type { StateQuery } from '../../../blocks/state/query.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { connectionError, PostgresUnreachable } from '../../postgres/connection.ts'
import { Lanes } from '../../postgres/lanes.ts'
import { PostgresServer } from '../../postgres/server.ts'
import { Failures } from '../bulk.ts'
import { checkPattern } from '../like.ts'
import { readTtl } from '../ttl.ts'
import { type Layout, layoutOf, type Row } from './layout.ts'
import { offsetOf, toSql } from './query.ts'
import { fields, type PostgresSettings, readSettings } from './settings.ts'

interface Session {
  query<R extends object>(statement: QueryConfig): Promise<QueryResult<R>>
}

/** How often work that lost to a deadlock is done again. */
const ATTEMPTS = 3

/** State in a PostgreSQL table laid out as daprd's v1 or v2 component does. */
class PostgresState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[]
  readonly query?: (query: unknown) => Promise<StateQueryResult>
  private readonly context: ComponentContext
  private readonly settings: PostgresSettings
  private readonly layout: Layout
  private readonly server: PostgresServer
  private readonly lanes: Lanes | undefined
  /** Where statements go that stand alone and are quick. */
  private readonly single: Session
  private cleaner: NodeJS.Timeout | undefined

  constructor(context: ComponentContext) {
    this.context = context
    this.settings = readSettings(context.properties, context.version)
    this.layout = layoutOf(this.settings)
    this.features = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE', ...(this.settings.version === 'v1' ? (['QUERY_API'] as const) : [])]
    if (this.settings.version === 'v1') this.query = (query) => this.ask(query as StateQuery)
    const { pool, prepare } = this.settings
    const most = pool.max as number
    // Behind a pooler that shares connections, statements wait their turn.
    const lanes = prepare && most > 1 ? Math.min(2, most >> 1) : 0
    this.server = new PostgresServer(`state store ${context.name}`, this.settings, { max: most - lanes }, (text) => context.log.debug(text))
    this.lanes = lanes > 0 ? new Lanes(pool, lanes, this.server.Client) : undefined
    this.single = this.lanes ?? this.server.pool
  }

  async init(): Promise<void> {
    const client = await this.connect()
    try {
      await this.layout.migrate(client)
    } finally {
      client.release()
    }
    const { cleanupInterval } = this.settings
    if (cleanupInterval > 0)
      this.cleaner ??= setInterval(() => void this.clean(cleanupInterval), Math.min(Math.max(cleanupInterval, 1000), 2 ** 31 - 1)).unref()
  }

  async ping(): Promise<void> {
    await this.run(this.single, 'ping', 'SELECT 1', [])
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    const row = (await this.run<Row>(this.single, 'get', `${this.layout.select} WHERE key = $1 AND ${this.layout.live}`, [key])).rows[0]
    return row && this.layout.item(row)
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const { rows } = await this.run<Row>(
      this.server.pool,
      'getAll',
      `${this.layout.select} WHERE key = ANY($1::text[]) AND ${this.layout.live}`,
      [requests.map(({ key }) => key)],
    )
    const found = new Map(rows.map((row) => [row.key, this.layout.item(row)]))
    return requests.map(({ key }) => found.get(key))
  }

  set(item: StateSet): Promise<void> {
    return this.put(this.single, item)
  }

  delete(item: StateDelete): Promise<void> {
    return this.remove(this.single, item)
  }

  async bulkSet(items: readonly StateSet[]): Promise<void> {
    if (items.some((item) => item.etag !== undefined || item.concurrency === 'first-write')) return this.list(items)
    // One statement takes a key once; the order of keys is everybody's, so that two lists cannot block each other.
    const last = [...new Map(items.map((item) => [item.key, item])).values()].sort((a, b) => (a.key < b.key ? -1 : 1))
    const rows = last.map((item) => this.row(item))
    const columns = [0, 1, 2, 3].map((column) => rows.map((row) => row[column]))
    await this.run(this.server.pool, 'upsertAll', this.layout.upsertAll, columns)
  }

  async bulkDelete(items: readonly StateDelete[]): Promise<void> {
    if (items.some((item) => item.etag !== undefined)) return this.list(items)
    await this.run(this.server.pool, 'removeAll', `DELETE FROM ${this.settings.table} WHERE key = ANY($1::text[])`, [
      items.map(({ key }) => key),
    ])
  }

  async transact(operations: readonly StateOperation[]): Promise<void> {
    const [first] = operations
    if (!first) return
    if (operations.length === 1) return this.write(this.single, first)
    await this.inTransaction(async (client) => {
      for (const operation of operations) await this.write(client, operation)
    })
  }

  async keysLike(pattern: string, page: { size?: number; token?: string }): Promise<KeysPage> {
    checkPattern(pattern)
    if (page.token !== undefined && !/^\d+$/.test(page.token)) throw new Error(`invalid continuation token ${JSON.stringify(page.token)}`)
    const size = page.size && page.size > 0 ? page.size : 0
    const text = `SELECT key, row_id FROM ${this.settings.table} WHERE key LIKE $1 ESCAPE '\\' AND row_id > $2::bigint AND ${this.layout.live} ORDER BY row_id LIMIT $3::bigint`
    const { rows } = await this.run<{ key: string; row_id: string }>(this.server.pool, 'like', text, [
      pattern,
      page.token || '0',
      size ? size + 1 : null,
    ])
    const shown = size ? rows.slice(0, size) : rows
    return { keys: shown.map((row) => row.key), ...(shown.length < rows.length ? { token: String(shown.at(-1)?.row_id) } : {}) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.cleaner)
    await this.lanes?.[Symbol.asyncDispose]()
    await this.server[Symbol.asyncDispose]()
  }

  private async ask(query: StateQuery): Promise<StateQueryResult> {
    const { rows } = await this.server
      .during(() => this.server.pool.query<Row>(toSql(this.layout.select, query)))
      .catch((error: unknown) => this.refuse(error))
    const results = rows.map((row) => ({ key: row.key, data: this.layout.item(row).data, etag: row.etag }))
    return query.limit > 0 ? { results, token: String(offsetOf(query) + rows.length) } : { results }
  }

  /** Items of a list are independent: those refused are told, the others stay; all in one transaction. */
  private async list(items: readonly StateOperation[]): Promise<void> {
    const failures = await this.inTransaction(async (client) => {
      const failed = new Failures()
      for (const item of items) {
        try {
          await this.write(client, item)
        } catch (error) {
          if (!(error instanceof EtagError || error instanceof NotUpdated)) throw error
          failed.add(item.key, error)
        }
      }
      return failed
    })
    failures.throwAny()
  }

  private write(session: Session, operation: StateOperation): Promise<void> {
    return operation.kind === 'upsert' ? this.put(session, operation) : this.remove(session, operation)
  }

  private async put(session: Session, item: StateSet): Promise<void> {
    const { layout } = this
    const row = this.row(item)
    if (item.etag !== undefined) {
      layout.checkEtag(item.etag)
      if ((await this.run(session, 'update', layout.update, [...row, item.etag])).rowCount === 0) throw new EtagError('mismatch', '')
    } else if (item.concurrency === 'first-write') {
      if ((await this.run(session, 'insert', layout.insert, row)).rowCount === 0) throw new NotUpdated()
    } else await this.run(session, 'upsert', layout.upsert, row)
  }

  private async remove(session: Session, item: StateDelete): Promise<void> {
    const { table } = this.settings
    if (item.etag === undefined) {
      await this.run(session, 'remove', `DELETE FROM ${table} WHERE key = $1`, [item.key])
      return
    }
    this.layout.checkEtag(item.etag)
    const same = this.settings.version === 'v1' ? 'xmin::text = $2' : 'etag = $2::uuid'
    if (
      (
        await this.run(session, 'removeSame', `DELETE FROM ${table} WHERE key = $1 AND ${same} AND ${this.layout.live}`, [
          item.key,
          item.etag,
        ])
      ).rowCount === 0
    )
      throw new EtagError('mismatch', '')
  }

  private row(item: StateSet): unknown[] {
    const ttl = readTtl(item.metadata, "error parsing TTL: incorrect value for metadata 'ttlInSeconds': ")
    return [item.key, this.layout.value(item), !item.json, ttl ?? null]
  }

  private async run<R extends object = object>(session: Session, name: string, text: string, values: unknown[]): Promise<QueryResult<R>> {
    try {
      return await this.server.during(() =>
        session.query<R>(
          this.settings.prepare ? { name: `outrider-${this.settings.table}-${name}`.slice(-63), text, values } : { text, values },
        ),
      )
    } catch (error) {
      return this.refuse(error)
    }
  }

  private async connect(): Promise<PoolClient> {
    try {
      return await this.server.connect()
    } catch (error) {
      return this.refuse(error)
    }
  }

  private refuse(error: unknown): never {
    throw connectionError(`state store ${this.context.name}`, this.settings.address, error)
  }

  private async inTransaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const client = await this.connect()
      let broken: Error | undefined
      try {
        await this.run(client, 'begin', 'BEGIN', [])
        const result = await work(client)
        await this.run(client, 'commit', 'COMMIT', [])
        return result
      } catch (error) {
        // Who got no answer would get none to this either.
        if (error instanceof PostgresUnreachable) broken = error
        else
          await this.server
            .during(() => client.query('ROLLBACK'))
            .catch((failure: Error) => {
              broken = failure
            })
        const code = error instanceof Error && 'code' in error ? error.code : undefined
        if (attempt >= ATTEMPTS || broken || (code !== '40P01' && code !== '40001')) throw error
      } finally {
        client.release(broken)
      }
    }
  }

  /** One sidecar an interval removes expired rows: the one that renews the note first. */
  private async clean(interval: number): Promise<void> {
    const { metadataTable, table } = this.settings
    try {
      const claim = `INSERT INTO ${metadataTable} AS note (key, value) VALUES ($1, now()::text) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE extract(epoch FROM now() - note.value::timestamptz) * 1000 >= $2::float8`
      if ((await this.server.pool.query(claim, [this.layout.cleanupKey, interval])).rowCount)
        await this.server.pool.query(`DELETE FROM ${table} WHERE ${this.layout.expired}`)
    } catch (error) {
      this.context.log.warn(
        `state store ${this.context.name}: cannot remove expired rows: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
}

/** A first-write that found the key taken; no ETag error, so that clients of Dapr see what they know. */
class NotUpdated extends Error {
  constructor() {
    super('no item was updated')
  }
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in PostgreSQL: v1 as jsonb with queries, v2 as bytes.',
  metadata: fields,
  create: (context) => new PostgresState(context),
}
