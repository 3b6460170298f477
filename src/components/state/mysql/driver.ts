import { randomUUID } from 'node:crypto'
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
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { MysqlPool, type Session } from '../../mysql/pool.ts'
import { Failures } from '../bulk.ts'
import { checkPattern } from '../like.ts'
import { readTtl, rfc3339 } from '../ttl.ts'
import { fields, type MysqlSettings, readSettings } from './settings.ts'
import { cleanUp, makeDatabase, makeTables } from './table.ts'

interface Row {
  id: string
  value: string
  isbinary: number
  eTag: string
  /** Unix time in seconds. */
  expires: number | string | null
}

const LIVE = '(expiredate IS NULL OR expiredate > CURRENT_TIMESTAMP)'
const EXPIRED = 'expiredate <= CURRENT_TIMESTAMP'
const ROW = '(?, ?, ?, ?, CURRENT_TIMESTAMP + INTERVAL ? SECOND)'
/** Rows of one statement. Few sizes, for each is a statement that every connection keeps prepared. */
const SIZES = [1, 4, 16, 64, 256]
const MOST = 256
/** Characters of a key; a server in a lenient mode would cut longer ones off. */
const LONGEST_KEY = 255

/** State in a MySQL or MariaDB table laid out as daprd does. */
class MysqlState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE']
  private readonly context: ComponentContext
  private readonly settings: MysqlSettings
  private readonly pool: MysqlPool
  private readonly table: string
  private cleaner: NodeJS.Timeout | undefined

  constructor(context: ComponentContext) {
    this.context = context
    this.settings = readSettings(context.properties)
    const { schema, table } = this.settings
    this.table = `${schema}.${table}`
    this.pool = this.connect(schema)
  }

  async init(): Promise<void> {
    await using server = this.connect(this.settings.address.database)
    await makeDatabase(server, this.settings.schema)
    await makeTables(this.pool, this.settings)
    const { cleanupInterval } = this.settings
    if (cleanupInterval > 0)
      this.cleaner ??= setInterval(() => void this.clean(cleanupInterval), Math.min(Math.max(cleanupInterval, 1000), 2 ** 31 - 1)).unref()
  }

  async ping(): Promise<void> {
    await this.pool.text('SELECT 1')
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    const row = (await this.pool.run<Row>(this.select('id = ?'), [key], true)).rows[0]
    return row && itemOf(row)
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const found = new Map<string, StateItem>()
    for (const part of parts(requests)) {
      const keys = part.map(({ key }) => key)
      const { rows } = await this.pool.run<Row>(this.select(`id IN (${keys.map(() => '?').join(', ')})`), keys, true)
      for (const row of rows) found.set(row.id, itemOf(row))
    }
    return requests.map(({ key }) => found.get(key))
  }

  async set(item: StateSet): Promise<void> {
    const again = item.etag === undefined && item.concurrency !== 'first-write'
    await this.pool.use((session) => this.put(session, item), again)
  }

  async delete(item: StateDelete): Promise<void> {
    await this.pool.use((session) => this.remove(session, item), item.etag === undefined)
  }

  async bulkSet(items: readonly StateSet[]): Promise<void> {
    if (items.some((item) => item.etag !== undefined || item.concurrency === 'first-write')) return this.list(items)
    // The order of keys is everybody's, so that two lists do not block each other; of one key given twice the last counts.
    const last = [...new Map(items.map((item) => [item.key, item])).values()].sort((a, b) => (a.key < b.key ? -1 : 1))
    const rows = last.map((item) => columnsOf(item))
    await this.pool.transaction(async (session) => {
      for (const part of parts(rows)) await session.run(this.upsert(part.length), part.flat())
    })
  }

  async bulkDelete(items: readonly StateDelete[]): Promise<void> {
    if (items.some((item) => item.etag !== undefined)) return this.list(items)
    const keys = items.map(({ key }) => key).sort()
    await this.pool.transaction(async (session) => {
      for (const part of parts(keys)) await session.run(`DELETE FROM ${this.table} WHERE id IN (${part.map(() => '?').join(', ')})`, part)
    })
  }

  async transact(operations: readonly StateOperation[]): Promise<void> {
    const [first] = operations
    if (!first) return
    if (operations.length === 1) return first.kind === 'upsert' ? this.set(first) : this.delete(first)
    await this.pool.transaction(async (session) => {
      for (const operation of operations) await this.write(session, operation)
    })
  }

  async keysLike(pattern: string, page: { size?: number; token?: string }): Promise<KeysPage> {
    checkPattern(pattern)
    if (page.token && !/^\d{1,20}$/.test(page.token)) throw new Error(`invalid continue token ${JSON.stringify(page.token)}`)
    const size = page.size && page.size > 0 ? page.size : 0
    // The escape character is a parameter: how a backslash is written in SQL depends on the server's mode.
    const sql = `SELECT id, CAST(row_id AS CHAR) AS place FROM ${this.table} WHERE id LIKE ? ESCAPE ? AND row_id > ? AND ${LIVE} ORDER BY row_id${size ? ` LIMIT ${size + 1}` : ''}`
    const { rows } = await this.pool.run<{ id: string; place: string }>(sql, [pattern, '\\', page.token || '0'], true)
    const shown = size ? rows.slice(0, size) : rows
    return { keys: shown.map((row) => row.id), ...(shown.length < rows.length ? { token: String(shown.at(-1)?.place) } : {}) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.cleaner)
    await this.pool[Symbol.asyncDispose]()
  }

  private connect(database: string): MysqlPool {
    const { address, timeout } = this.settings
    return new MysqlPool({
      address: { ...address, database },
      owner: `state store ${this.context.name}`,
      timeout,
      settings: { jsonStrings: true, maxPreparedStatements: 64 },
    })
  }

  private select(condition: string): string {
    return `SELECT id, value, isbinary, eTag, UNIX_TIMESTAMP(expiredate) AS expires FROM ${this.table} WHERE ${condition} AND ${LIVE}`
  }

  private upsert(rows: number): string {
    return `INSERT INTO ${this.table} (id, value, eTag, isbinary, expiredate) VALUES ${new Array(rows).fill(ROW).join(', ')}
      ON DUPLICATE KEY UPDATE value = VALUES(value), eTag = VALUES(eTag), isbinary = VALUES(isbinary), expiredate = VALUES(expiredate)`
  }

  /** Writes over a row that has expired, and leaves any other as it is. MySQL assigns from left to right: the condition goes last. */
  private insert(): string {
    const columns = ['value', 'eTag', 'isbinary', 'expiredate']
    return `INSERT INTO ${this.table} (id, value, eTag, isbinary, expiredate) VALUES ${ROW}
      ON DUPLICATE KEY UPDATE ${columns.map((name) => `${name} = IF(${EXPIRED}, VALUES(${name}), ${name})`).join(', ')}`
  }

  /** Items of a list are independent: those refused are told, the others stay; all in one transaction. */
  private async list(items: readonly StateOperation[]): Promise<void> {
    const failures = await this.pool.transaction(async (session) => {
      const failed = new Failures()
      for (const item of items) {
        try {
          await this.write(session, item)
        } catch (error) {
          if (!(error instanceof EtagError)) throw error
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
    const [key, value, etag, binary, ttl] = columnsOf(item)
    if (item.etag !== undefined) {
      const sql = `UPDATE ${this.table} SET value = ?, eTag = ?, isbinary = ?, expiredate = CURRENT_TIMESTAMP + INTERVAL ? SECOND WHERE id = ? AND eTag = ? AND ${LIVE}`
      if ((await session.run(sql, [value, etag, binary, ttl, key, item.etag])).affected === 0) throw refused()
    } else if (item.concurrency === 'first-write') {
      if ((await session.run(this.insert(), [key, value, etag, binary, ttl])).affected === 0) throw refused()
    } else await session.run(this.upsert(1), [key, value, etag, binary, ttl])
  }

  private async remove(session: Session, item: StateDelete): Promise<void> {
    if (item.etag === undefined) await session.run(`DELETE FROM ${this.table} WHERE id = ?`, [item.key])
    else if ((await session.run(`DELETE FROM ${this.table} WHERE id = ? AND eTag = ? AND ${LIVE}`, [item.key, item.etag])).affected === 0)
      throw new EtagError('mismatch', '')
  }

  private async clean(interval: number): Promise<void> {
    try {
      await this.pool.use((session) => cleanUp(session, this.settings, interval))
    } catch (error) {
      this.context.log.warn(`state store ${this.context.name}: cannot remove expired rows: ${messageOf(error)}`)
    }
  }
}

type Columns = [key: string, value: string, etag: string, binary: number, ttl: string | null]

function columnsOf(item: StateSet): Columns {
  if (item.key.length > LONGEST_KEY && [...item.key].length > LONGEST_KEY)
    throw new Error(`the key has more than ${LONGEST_KEY} characters with its prefix, which is the most that the table holds`)
  const ttl = readTtl(item.metadata, "error parsing TTL: incorrect value for metadata 'ttlInSeconds': ")
  const value = item.json ? item.value.toString() : `"${item.value.toString('base64')}"`
  return [item.key, value, randomUUID(), item.json ? 0 : 1, ttl !== undefined && ttl > 0 ? String(ttl) : null]
}

function itemOf(row: Row): StateItem {
  const text = typeof row.value === 'string' ? row.value : String(row.value)
  return {
    data: row.isbinary ? Buffer.from(JSON.parse(text) as string, 'base64') : Buffer.from(text),
    etag: row.eTag,
    ...(row.expires === null ? {} : { metadata: { ttlExpireTime: rfc3339(Number(row.expires) * 1000) } }),
  }
}

/** What a client of Dapr reads when another write came first. */
function refused(): EtagError {
  return new EtagError('mismatch', 'rows affected error: no rows match given key and eTag')
}

/** Splits a list into parts of the sizes that statements are made for; the last fills up with its last element, which changes nothing. */
function* parts<T>(list: readonly T[]): Generator<T[]> {
  for (let at = 0; at < list.length; at += MOST) {
    const part = list.slice(at, at + MOST)
    const size = SIZES.find((candidate) => candidate >= part.length) as number
    while (part.length < size) part.push(part.at(-1) as T)
    yield part
  }
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in MySQL or MariaDB.',
  metadata: fields,
  create: (context) => new MysqlState(context),
}
