import { type Database, inTransaction, type StatementSync } from '../../../storage/sqlite.ts'

/**
 * Messages lie once per topic, in the order of their commits (`id`). A group is a cursor: everything above it is new
 * to the group. What is between being taken and being acknowledged is a row of `pubsub_deliveries`: with an owner it
 * is being handled, without one it waits for `due_at`. Handled means: not above the cursor, and no delivery row.
 */
const TABLES = `
CREATE TABLE IF NOT EXISTS pubsub_messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic TEXT NOT NULL,
  data BLOB NOT NULL,
  content_type TEXT,
  metadata TEXT NOT NULL,
  published_at INTEGER NOT NULL,
  expires_at INTEGER
);
CREATE INDEX IF NOT EXISTS pubsub_messages_topic ON pubsub_messages (topic, id);
CREATE TABLE IF NOT EXISTS pubsub_topics (
  topic TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pubsub_groups (
  topic TEXT NOT NULL,
  name TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  PRIMARY KEY (topic, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pubsub_deliveries (
  topic TEXT NOT NULL,
  group_name TEXT NOT NULL,
  message_id INTEGER NOT NULL,
  owner TEXT,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  PRIMARY KEY (topic, group_name, message_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pubsub_deliveries_due ON pubsub_deliveries (topic, group_name, due_at) WHERE owner IS NULL;
CREATE INDEX IF NOT EXISTS pubsub_deliveries_owner ON pubsub_deliveries (owner) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS pubsub_consumers (
  id TEXT PRIMARY KEY,
  place TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  seen_at INTEGER NOT NULL
) WITHOUT ROWID;
`

/** Makes the tables that are missing. */
export function prepareSchema(database: Database): void {
  inTransaction(database, () => database.exec(TABLES))
}

const STATEMENTS = {
  insertMessage: 'INSERT INTO pubsub_messages (topic, data, content_type, metadata, published_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)',
  addBytes: 'INSERT INTO pubsub_topics (topic, bytes) VALUES (?, ?) ON CONFLICT (topic) DO UPDATE SET bytes = bytes + excluded.bytes',
  bytes: 'SELECT bytes FROM pubsub_topics WHERE topic = ?',
  createGroup: 'INSERT INTO pubsub_groups (topic, name, cursor) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
  lastId: 'SELECT coalesce(max(id), 0) AS id FROM pubsub_messages WHERE topic = ?',
  cursor: 'SELECT cursor FROM pubsub_groups WHERE topic = ? AND name = ?',
  moveCursor: 'UPDATE pubsub_groups SET cursor = ? WHERE topic = ? AND name = ?',
  hasNew:
    'SELECT 1 AS found FROM pubsub_messages WHERE topic = ?1 AND id > (SELECT cursor FROM pubsub_groups WHERE topic = ?1 AND name = ?2) LIMIT 1',
  newMessages: 'SELECT id, data, content_type, metadata, expires_at FROM pubsub_messages WHERE topic = ? AND id > ? ORDER BY id LIMIT ?',
  nextDue: 'SELECT min(due_at) AS due FROM pubsub_deliveries WHERE topic = ? AND group_name = ? AND owner IS NULL',
  dueMessages:
    'SELECT d.message_id AS id, d.attempts, m.data, m.content_type, m.metadata, m.expires_at FROM pubsub_deliveries d LEFT JOIN pubsub_messages m ON m.id = d.message_id ' +
    'WHERE d.topic = ? AND d.group_name = ? AND d.owner IS NULL AND d.due_at <= ? ORDER BY d.due_at, d.message_id LIMIT ?',
  take: 'INSERT INTO pubsub_deliveries (topic, group_name, message_id, owner, attempts, due_at) VALUES (?, ?, ?, ?, 1, 0)',
  retake: 'UPDATE pubsub_deliveries SET owner = ?, attempts = attempts + 1 WHERE topic = ? AND group_name = ? AND message_id = ?',
  forget: 'DELETE FROM pubsub_deliveries WHERE topic = ? AND group_name = ? AND message_id = ?',
  acknowledge: 'DELETE FROM pubsub_deliveries WHERE topic = ? AND group_name = ? AND message_id = ? AND owner = ?',
  reject: 'UPDATE pubsub_deliveries SET owner = NULL, due_at = ? WHERE topic = ? AND group_name = ? AND message_id = ? AND owner = ?',
  keep: 'UPDATE pubsub_deliveries SET attempts = attempts + 1 WHERE topic = ? AND group_name = ? AND message_id = ? AND owner = ?',
  handBack:
    'UPDATE pubsub_deliveries SET owner = NULL, due_at = 0, attempts = max(attempts - 1, 0) WHERE topic = ? AND group_name = ? AND message_id = ? AND owner = ?',
  putConsumer:
    'INSERT INTO pubsub_consumers (id, place, pid, started, seen_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at',
  otherConsumers: 'SELECT id, place, pid, started, seen_at FROM pubsub_consumers WHERE id <> ?',
  removeConsumer: 'DELETE FROM pubsub_consumers WHERE id = ?',
  releaseOrphans:
    'UPDATE pubsub_deliveries SET owner = NULL, due_at = 0 WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM pubsub_consumers)',
  handledUpTo:
    'SELECT min(low) AS low FROM (SELECT cursor AS low FROM pubsub_groups WHERE topic = ?1 UNION ALL ' +
    'SELECT (SELECT min(message_id) - 1 FROM pubsub_deliveries WHERE topic = ?1 AND group_name = g.name) FROM pubsub_groups g WHERE g.topic = ?1)',
  oldest: 'SELECT id, length(data) + length(metadata) AS size, published_at FROM pubsub_messages WHERE topic = ? ORDER BY id LIMIT ?',
  removeUpTo: 'DELETE FROM pubsub_messages WHERE topic = ? AND id <= ?',
  topics: 'SELECT topic FROM pubsub_topics',
} as const

export type Statements = { readonly [name in keyof typeof STATEMENTS]: StatementSync }

/** Every statement of the driver, prepared once per connection. */
export function prepareStatements(database: Database): Statements {
  return Object.fromEntries(Object.entries(STATEMENTS).map(([name, sql]) => [name, database.prepare(sql)])) as Statements
}
