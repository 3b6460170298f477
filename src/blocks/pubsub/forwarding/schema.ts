import { type Database, inTransaction, type StatementSync } from '../../../storage/sqlite.ts'

/**
 * What waits to be forwarded, in the order in which it was accepted (`seq`). `owner` is the app that published, as several
 * sidecars may share the file. `forward_totals` is the sum of the events of a pub/sub, so that the bound costs no scan.
 * A lease says which process forwards; it ends with the process.
 */
const TABLES = `
CREATE TABLE IF NOT EXISTS forward_events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL,
  pubsub TEXT NOT NULL,
  topic TEXT NOT NULL,
  key TEXT NOT NULL,
  data BLOB NOT NULL,
  content_type TEXT,
  metadata TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS forward_events_lane ON forward_events (owner, pubsub, topic, key, seq);
CREATE INDEX IF NOT EXISTS forward_events_order ON forward_events (owner, pubsub, seq);
CREATE INDEX IF NOT EXISTS forward_events_expiry ON forward_events (owner, pubsub, expires_at);
CREATE TABLE IF NOT EXISTS forward_totals (
  owner TEXT NOT NULL,
  pubsub TEXT NOT NULL,
  events INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (owner, pubsub)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forward_leases (
  owner TEXT NOT NULL,
  pubsub TEXT NOT NULL,
  holder TEXT NOT NULL,
  place TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  seen_at INTEGER NOT NULL,
  PRIMARY KEY (owner, pubsub)
) WITHOUT ROWID;
`

const STATEMENTS = {
  insert:
    'INSERT INTO forward_events (owner, pubsub, topic, key, data, content_type, metadata, accepted_at, expires_at, bytes) ' +
    'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  add:
    'INSERT INTO forward_totals (owner, pubsub, events, bytes) VALUES (?, ?, ?, ?) ' +
    'ON CONFLICT DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes',
  total: 'SELECT events, bytes FROM forward_totals WHERE owner = ? AND pubsub = ?',
  oldest: 'SELECT accepted_at FROM forward_events WHERE owner = ? AND pubsub = ? ORDER BY seq LIMIT 1',
  owned: 'SELECT pubsub, events FROM forward_totals WHERE owner = ? AND events > 0',
  holds: 'SELECT 1 FROM forward_events WHERE owner = ? AND pubsub = ? AND topic = ? AND key = ? LIMIT 1',
  nextLane: 'SELECT topic, key FROM forward_events WHERE owner = ? AND pubsub = ? AND (topic, key) > (?, ?) ORDER BY topic, key LIMIT 1',
  head:
    'SELECT seq, data, content_type, metadata, accepted_at, expires_at FROM forward_events ' +
    'WHERE owner = ? AND pubsub = ? AND topic = ? AND key = ? AND seq > ? ORDER BY seq LIMIT 1',
  remove: 'DELETE FROM forward_events WHERE seq = ? RETURNING bytes',
  nextExpiry: 'SELECT min(expires_at) AS at FROM forward_events WHERE owner = ? AND pubsub = ?',
  expired: 'SELECT seq, topic, bytes FROM forward_events WHERE owner = ? AND pubsub = ? AND expires_at <= ? ORDER BY expires_at LIMIT ?',
  lease: 'SELECT holder, place, pid, started, seen_at FROM forward_leases WHERE owner = ? AND pubsub = ?',
  takeLease: 'INSERT OR REPLACE INTO forward_leases (owner, pubsub, holder, place, pid, started, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
  releaseLease: 'DELETE FROM forward_leases WHERE owner = ? AND pubsub = ? AND holder = ?',
} as const

export type Statements = { readonly [name in keyof typeof STATEMENTS]: StatementSync }

/** Makes the tables that are missing, and every statement. */
export function prepare(database: Database): Statements {
  inTransaction(database, () => database.exec(TABLES))
  return Object.fromEntries(Object.entries(STATEMENTS).map(([name, sql]) => [name, database.prepare(sql)])) as Statements
}
