const KEPT = 1000

/**
 * The table that people and programs write, and the log of changed keys that triggers keep beside it (the last 1000).
 *
 *     INSERT INTO configuration (key, value, version) VALUES ('limit', '10', '1')
 *       ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version
 *
 * `metadata` is a JSON object of texts.
 */
export const TABLES = `CREATE TABLE IF NOT EXISTS configuration (
  key      TEXT PRIMARY KEY NOT NULL,
  value    TEXT NOT NULL,
  version  TEXT NOT NULL DEFAULT '',
  metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS configuration_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL);
${trigger('insert', 'NEW.key')}
${trigger('update', 'NEW.key')}
${trigger('delete', 'OLD.key')}
CREATE TRIGGER IF NOT EXISTS configuration_renamed AFTER UPDATE OF key ON configuration WHEN OLD.key <> NEW.key BEGIN
  INSERT INTO configuration_changes (key) VALUES (OLD.key);
END;`

function trigger(event: string, key: string): string {
  return `CREATE TRIGGER IF NOT EXISTS configuration_${event} AFTER ${event.toUpperCase()} ON configuration BEGIN
  INSERT INTO configuration_changes (key) VALUES (${key});
  DELETE FROM configuration_changes WHERE seq <= (SELECT MAX(seq) FROM configuration_changes) - ${KEPT};
END;`
}
