import { type LockStore, UnlockStatus } from '../../../blocks/lock/driver.ts'
import { type Database, openSqlite, type StatementSync, whenFree } from '../../../storage/sqlite.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { checkWritable, sqliteRefusal } from '../../sqlite-refusal.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    required: true,
    description: 'Path of the SQLite file; all processes that name the same file share its locks.',
  },
  { name: 'busyTimeout', kind: 'duration', unit: 1, default: '5s', description: "How long to wait for another process's write." },
]

/** `expires` is Unix time in milliseconds; a row in the past is no lock. */
const TABLE = `CREATE TABLE IF NOT EXISTS locks (
  resource TEXT PRIMARY KEY,
  owner    TEXT NOT NULL,
  expires  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS locks_expires ON locks (expires)`

interface Statements {
  forget: StatementSync
  take: StatementSync
  look: StatementSync
  release: StatementSync
}

/** lock.sqlite: the embedded lock store, shared by the sidecars of one machine. */
export const driver: DriverModule<LockStore> = {
  summary: 'Locks in a SQLite file, for the processes of one machine.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const path = String(values.connectionString).replace(/^file:([^?]*).*$/, '$1')
    const owner = `lock store ${context.name}`
    let database: Database | undefined
    let statements: Statements | undefined
    const open = (): { database: Database; statements: Statements } => {
      if (!database || !statements) throw new Error(`lock store ${context.name} is closed`)
      return { database, statements }
    }
    const write = <T>(work: () => T): Promise<T> =>
      whenFree(open().database, Number(values.busyTimeout), work).catch((error: unknown) => {
        throw sqliteRefusal(owner, path, error)
      })
    return {
      async init() {
        database = openSqlite(path, { busyTimeout: Number(values.busyTimeout) })
        database.exec(TABLE)
        // From here on a held lock is waited for with the event loop free.
        database.exec('PRAGMA busy_timeout = 0')
        statements = {
          forget: database.prepare('DELETE FROM locks WHERE expires <= ?'),
          take: database.prepare('INSERT INTO locks (resource, owner, expires) VALUES (?, ?, ?) ON CONFLICT (resource) DO NOTHING'),
          look: database.prepare('SELECT owner FROM locks WHERE resource = ? AND expires > ?'),
          release: database.prepare('DELETE FROM locks WHERE resource = ? AND owner = ?'),
        }
      },
      async ping() {
        await checkWritable(owner, path, () => open().database)
      },
      async tryLock(resource, owner, expirySeconds) {
        const { statements } = open()
        return write(() => {
          const now = Date.now()
          statements.forget.run(now)
          return statements.take.run(resource, owner, now + expirySeconds * 1000).changes === 1
        })
      },
      async unlock(resource, owner) {
        const { statements } = open()
        return write(() => {
          const row = statements.look.get(resource, Date.now())
          if (!row) return UnlockStatus.DoesNotExist
          if (row.owner !== owner) return UnlockStatus.BelongsToOthers
          statements.release.run(resource, owner)
          return UnlockStatus.Success
        })
      },
      async [Symbol.asyncDispose]() {
        database?.close()
        database = statements = undefined
      },
    }
  },
}
