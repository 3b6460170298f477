import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'

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
    prepare(database, options)
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

const [BUSY, LOCKED, FULL] = [5, 6, 13]

/** Another connection holds the lock. */
export function isBusy(error: unknown): boolean {
  const code = primaryCode(error)
  return code === BUSY || code === LOCKED
}

/** The disk is full, or the file as large as it may be. */
export function isFull(error: unknown): boolean {
  return primaryCode(error) === FULL
}

function primaryCode(error: unknown): number {
  return ((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff
}

/** Two processes that make one file at the same time: SQLite gives up a change of the journal's mode without waiting for the other. */
function prepare(database: Database, { readOnly, journal = 'WAL', busyTimeout = 5000 }: SqliteOptions): void {
  const pragmas = `PRAGMA schema_version${readOnly ? '' : `; PRAGMA journal_mode = ${journal}; PRAGMA synchronous = NORMAL`}`
  for (const end = performance.now() + busyTimeout; ; ) {
    try {
      return database.exec(pragmas)
    } catch (error) {
      if (primaryCode(error) !== BUSY || performance.now() >= end) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1 + Math.random() * 10)
    }
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
    // A full disk ends the transaction by itself.
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/**
 * The same, which waits for another process's lock at most `limit` milliseconds without holding up the event loop; `work` runs
 * once for each try. The database's busy_timeout has to be 0.
 */
export async function whenFree<T>(database: Database, limit: number, work: () => T): Promise<T> {
  for (const end = performance.now() + limit; ; ) {
    try {
      return inTransaction(database, work)
    } catch (error) {
      if (!isBusy(error) || performance.now() >= end) throw error
      // Spread out, so that processes that met once do not meet again.
      await pause(1 + Math.random() * 4)
    }
  }
}
