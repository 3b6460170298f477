import type { Answer, MysqlPool, Session } from '../../mysql/pool.ts'
import type { MysqlSettings } from './settings.ts'

const ALREADY_THERE: ReadonlySet<number> = new Set([1007, 1050, 1060, 1061])

/** Compares keys byte by byte, the space at their end included; the first that the server knows. */
const COLLATIONS = ['utf8mb4_nopad_bin', 'utf8mb4_0900_bin', 'utf8mb4_bin']

/** Makes the database, unless it is there: the user may be allowed its tables only. */
export async function makeDatabase(pool: MysqlPool, schema: string): Promise<void> {
  const known = await pool.run('SELECT 1 FROM information_schema.schemata WHERE schema_name = ?', [schema])
  if (known.rows.length === 0) await tolerant(pool.text(`CREATE DATABASE ${schema}`))
}

/**
 * Brings the tables to the layout that sidecars of Dapr share; stores that start at once may all run it.
 * A table made here compares keys byte by byte. daprd takes the database's own comparison, for which `k` and `K` are usually
 * one key; a table that it made keeps that.
 */
export async function makeTables(pool: MysqlPool, { schema, table, metadataTable }: MysqlSettings): Promise<void> {
  const columns = await pool.run<{ name: string }>(
    'SELECT column_name AS name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?',
    [schema, table],
  )
  const names = new Set(columns.rows.map(({ name }) => name.toLowerCase()))
  if (names.size === 0) {
    const keys = await keyColumn(pool)
    await tolerant(
      pool.text(`CREATE TABLE IF NOT EXISTS ${table} (
        id VARCHAR(255) ${keys} NOT NULL PRIMARY KEY,
        value JSON NOT NULL,
        isbinary BOOLEAN NOT NULL,
        insertDate TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updateDate TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        eTag VARCHAR(36) NOT NULL,
        expiredate TIMESTAMP NULL,
        row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
        INDEX expiredate_idx (expiredate),
        UNIQUE KEY row_id_uidx (row_id)
      )`),
    )
  } else {
    // Tables of Dapr before 1.11 and 1.17.
    if (!names.has('expiredate'))
      await tolerant(pool.text(`ALTER TABLE ${table} ADD COLUMN expiredate TIMESTAMP NULL, ADD INDEX expiredate_idx (expiredate)`))
    if (!names.has('row_id'))
      await tolerant(
        pool.text(`ALTER TABLE ${table} ADD COLUMN row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, ADD UNIQUE KEY row_id_uidx (row_id)`),
      )
  }
  await tolerant(pool.text(`CREATE TABLE IF NOT EXISTS ${metadataTable} (id VARCHAR(255) NOT NULL PRIMARY KEY, value TEXT NOT NULL)`))
}

async function keyColumn(pool: MysqlPool): Promise<string> {
  const { rows } = await pool.run<{ name: string }>(
    `SELECT collation_name AS name FROM information_schema.collations WHERE collation_name IN (${COLLATIONS.map(() => '?').join(', ')})`,
    COLLATIONS,
  )
  const known = new Set(rows.map(({ name }) => name))
  return `CHARACTER SET utf8mb4 COLLATE ${COLLATIONS.find((name) => known.has(name)) ?? 'utf8mb4_bin'}`
}

/** Another store made the same a moment ago. */
async function tolerant(work: Promise<Answer>): Promise<void> {
  await work.catch((error: { errno?: number }) => {
    if (!ALREADY_THERE.has(error.errno ?? 0)) throw error
  })
}

/** Removes expired rows, if `interval` milliseconds have passed since any sidecar last did. */
export async function cleanUp(session: Session, { table, metadataTable }: MysqlSettings, interval: number): Promise<void> {
  const claim = `INSERT INTO ${metadataTable} (id, value) VALUES ('last-cleanup', CURRENT_TIMESTAMP)
    ON DUPLICATE KEY UPDATE value = IF(value <= CURRENT_TIMESTAMP - INTERVAL ? SECOND, CURRENT_TIMESTAMP, value)`
  if ((await session.run(claim, [String(interval / 1000)])).affected > 0)
    await session.run(`DELETE FROM ${table} WHERE expiredate <= CURRENT_TIMESTAMP`)
}
