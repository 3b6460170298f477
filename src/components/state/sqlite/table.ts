import { randomUUID } from 'node:crypto'
import { EtagError, type StateDelete, type StateItem, type StateSet } from '../../../blocks/state/driver.ts'
import type { KeysPage } from '../../../blocks/state/keys.ts'
import { type Database, inTransaction } from '../../../storage/sqlite.ts'
import { checkPattern } from '../like.ts'
import { readTtl } from '../ttl.ts'
import type { SqliteSettings } from './settings.ts'

interface Row {
  key: string
  value: string
  is_binary: number
  etag: string
  expiration_time: string | null
}

/** The state table as daprd lays it out: both may work on one file. Methods run at once, inside whatever transaction is open. */
export interface StateTable {
  get(key: string): StateItem | undefined
  /** Live rows among the keys. */
  getAll(keys: readonly string[]): Map<string, StateItem>
  /** Throws EtagError; `ttl` in seconds, 0 or less for none. */
  put(item: StateSet, ttl: number | undefined): void
  remove(item: StateDelete): void
  keysLike(pattern: string, page: { size?: number; token?: string }): KeysPage
  /** Removes expired rows unless another process did so within the interval; gives their number. */
  clean(interval: number): number
}

/** The request's TTL, refused in this store's words. */
export const ttlOf = (item: StateSet): number | undefined =>
  readTtl(item.metadata, "error parsing TTL: incorrect value for metadata 'ttlInSeconds': ")

/** Makes the tables where they are missing and prepares the statements. */
export function openTable(database: Database, settings: SqliteSettings): StateTable {
  const { table, metadataTable } = settings
  migrate(database, table, metadataTable)
  const live = '(expiration_time IS NULL OR expiration_time > CURRENT_TIMESTAMP)'
  const columns = 'key, value, is_binary, etag, expiration_time'
  const insert = `INSERT INTO ${table} (key, value, is_binary, etag, expiration_time, update_time) VALUES (?, ?, ?, ?, DATETIME(CURRENT_TIMESTAMP, ?), CURRENT_TIMESTAMP)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, is_binary = excluded.is_binary, etag = excluded.etag, expiration_time = excluded.expiration_time, update_time = excluded.update_time`
  const select = database.prepare(`SELECT ${columns} FROM ${table} WHERE key = ? AND ${live}`)
  const selectAll = database.prepare(`SELECT ${columns} FROM ${table} WHERE key IN (SELECT value FROM json_each(?)) AND ${live}`)
  const upsert = database.prepare(insert)
  const insertNew = database.prepare(
    `${insert} WHERE NOT (${table}.expiration_time IS NULL OR ${table}.expiration_time > CURRENT_TIMESTAMP)`,
  )
  const update = database.prepare(
    `UPDATE ${table} SET value = ?, is_binary = ?, etag = ?, expiration_time = DATETIME(CURRENT_TIMESTAMP, ?), update_time = CURRENT_TIMESTAMP WHERE key = ? AND etag = ? AND ${live}`,
  )
  const remove = database.prepare(`DELETE FROM ${table} WHERE key = ?`)
  const removeMatching = database.prepare(`DELETE FROM ${table} WHERE key = ? AND etag = ? AND ${live}`)
  const like = database.prepare(
    `SELECT rowid, key FROM ${table} WHERE key LIKE ? ESCAPE '\\' AND rowid > ? AND ${live} ORDER BY rowid LIMIT ?`,
  )
  const removeExpired = database.prepare(`DELETE FROM ${table} WHERE expiration_time IS NOT NULL AND expiration_time <= CURRENT_TIMESTAMP`)
  const claimCleanup = database.prepare(
    `INSERT INTO ${metadataTable} (key, value) VALUES ('last-cleanup', CURRENT_TIMESTAMP)
     ON CONFLICT (key) DO UPDATE SET value = CURRENT_TIMESTAMP WHERE (unixepoch(CURRENT_TIMESTAMP) - unixepoch(value)) * 1000 >= ? OR unixepoch(value) IS NULL`,
  )

  return {
    get(key) {
      const row = select.get(key) as Row | undefined
      return row && toItem(row)
    },
    getAll(keys) {
      return new Map((selectAll.all(JSON.stringify(keys)) as unknown as Row[]).map((row) => [row.key, toItem(row)]))
    },
    put(item, ttl) {
      const value = item.value.toString(item.json ? 'utf8' : 'base64')
      const binary = item.json ? 0 : 1
      const expiry = ttl !== undefined && ttl > 0 ? `+${ttl} seconds` : null
      if (item.etag !== undefined) {
        if (update.run(value, binary, randomUUID(), expiry, item.key, item.etag).changes === 0) throw new EtagError('mismatch', '')
      } else if (item.concurrency === 'first-write') {
        if (insertNew.run(item.key, value, binary, randomUUID(), expiry).changes === 0) throw new EtagError('mismatch', '')
      } else upsert.run(item.key, value, binary, randomUUID(), expiry)
    },
    remove(item) {
      if (item.etag === undefined) remove.run(item.key)
      else if (removeMatching.run(item.key, item.etag).changes === 0) throw new EtagError('mismatch', '')
    },
    keysLike(pattern, page) {
      checkPattern(pattern)
      const after = page.token ? Number(page.token) : 0
      if (!Number.isInteger(after)) throw new Error(`invalid continuation token ${JSON.stringify(page.token)}`)
      const size = page.size && page.size > 0 ? page.size : 0
      const rows = like.all(pattern, after, size ? size + 1 : -1) as unknown as { rowid: number; key: string }[]
      const shown = size ? rows.slice(0, size) : rows
      return { keys: shown.map((row) => row.key), ...(shown.length < rows.length ? { token: String(shown.at(-1)?.rowid) } : {}) }
    },
    clean: (interval) =>
      inTransaction(database, () => (claimCleanup.run(interval).changes === 0 ? 0 : Number(removeExpired.run().changes))),
  }
}

function migrate(database: Database, table: string, metadataTable: string): void {
  // SQLite's LIKE ignores case unless told; keys differ by case.
  database.exec('PRAGMA case_sensitive_like = ON')
  database.exec('BEGIN EXCLUSIVE')
  try {
    database.exec(`CREATE TABLE IF NOT EXISTS ${metadataTable} (key text NOT NULL PRIMARY KEY, value text NOT NULL)`)
    const level = (database.prepare(`SELECT value FROM ${metadataTable} WHERE key = 'migrations'`).get() as { value: string } | undefined)
      ?.value
    if (level !== undefined && Number(level) > 1)
      throw new Error(
        `table ${table} has schema level ${level}, newer than the level 1 this version knows: upgrade outriderd or use another tableName`,
      )
    database.exec(`CREATE TABLE IF NOT EXISTS ${table} (
      key TEXT NOT NULL PRIMARY KEY,
      value TEXT NOT NULL,
      is_binary BOOLEAN NOT NULL,
      etag TEXT NOT NULL,
      expiration_time TIMESTAMP DEFAULT NULL,
      update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    )`)
    if (level === undefined) database.exec(`INSERT INTO ${metadataTable} (key, value) VALUES ('migrations', '1')`)
    database.exec('COMMIT')
  } catch (error) {
    database.exec('ROLLBACK')
    throw error
  }
}

function toItem(row: Row): StateItem {
  const item: StateItem = { data: Buffer.from(row.value, row.is_binary ? 'base64' : 'utf8'), etag: row.etag }
  // SQLite writes UTC as `2026-01-02 03:04:05`.
  if (row.expiration_time) item.metadata = { ttlExpireTime: `${row.expiration_time.slice(0, 19).replace(' ', 'T')}Z` }
  return item
}
