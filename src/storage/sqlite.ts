import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'

export type { StatementSync }
export type Database = DatabaseSync

export interface SqliteOptions {
  /** How long a statement waits for another process's lock, milliseconds. Default 5000. */
  busyTimeout?: number
  readOnly?: boolean
  /** Default WAL; `DELETE` for files on network drives. */
  journal?: 'WAL' | 'DELETE'
}

/**
 * Opens a SQLite file (made with its folder when absent) for sharing between processes: WAL, bounded wait for locks.
 * Throws an Error naming the file when it is no database or is damaged; such a file is never written to.
 */
export function openSqlite(path: string, options: SqliteOptions = {}): Database {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true })
  let database: Database | undefined
  try {
    database = new DatabaseSync(path, { readOnly: options.readOnly ?? false, timeout: options.busyTimeout ?? 5000 })
    database.exec('PRAGMA schema_version')
    if (!options.readOnly) database.exec(`PRAGMA journal_mode = ${options.journal ?? 'WAL'}; PRAGMA synchronous = NORMAL`)
    return database
  } catch (error) {
    database?.close()
    const reason = error instanceof Error ? error.message : String(error)
    const damaged = /not a database|malformed|corrupt/i.test(reason)
    throw new Error(
      `cannot open SQLite file ${path}: ${reason}${damaged ? '; the file is left as it is: restore a copy or move it away' : ''}`,
      { cause: error },
    )
  }
}

/** Runs `work` inside BEGIN IMMEDIATE … COMMIT; rolls back when it throws. */
export function inTransaction<T>(database: Database, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    database.exec('ROLLBACK')
    throw error
  }
}
