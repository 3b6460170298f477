import type { Session, SqlServerPool } from '../../sqlserver/pool.ts'
import { SqlError } from '../../sqlserver/tokens.ts'
import type { SqlServerSettings } from './settings.ts'

/** Database, object, column name, and index that are there already: another store made them a moment ago. */
const ALREADY_THERE: ReadonlySet<number> = new Set([1801, 2714, 2705, 1913, 219, 2759])
/** Characters of a key of the table of notes. */
const NOTE = 200

export async function makeDatabase(pool: SqlServerPool, name: string): Promise<void> {
  await pool.use(async (session) => {
    const known = await session.run('SELECT 1 FROM sys.databases WHERE name = @name', [{ name: 'name', kind: 'text', value: name }])
    if (known.rows.length === 0) await tolerant(session, `CREATE DATABASE [${name}]`)
  })
}

/**
 * Brings schema, tables, type, procedure and indexes to the layout that sidecars of Dapr share; stores that start at once may all
 * run it. A table made here compares keys by their code points. daprd takes the database's own comparison, for which `k` and `K`
 * are usually one key; a table that it made keeps that.
 */
export async function makeTables(pool: SqlServerPool, settings: SqlServerSettings): Promise<void> {
  const { schema, table, metadataTable, keyType, indexed } = settings
  const key = keyColumn(settings)
  await pool.use(async (session) => {
    const missing = async (sql: string) => (await session.run(sql)).rows.length === 0
    if (await missing(`SELECT 1 FROM sys.schemas WHERE name = N'${schema}'`)) await tolerant(session, `CREATE SCHEMA [${schema}]`)
    if (await missing(known('TABLES', schema, table)))
      await tolerant(
        session,
        `CREATE TABLE [${schema}].[${table}] (
          [Key] ${key}${keyType === 'string' ? ' COLLATE Latin1_General_BIN2' : ''} NOT NULL CONSTRAINT PK_${table} PRIMARY KEY,
          [Data] NVARCHAR(MAX) NOT NULL,
          [InsertDate] DATETIME2 NOT NULL DEFAULT(GETDATE()),
          [UpdateDate] DATETIME2 NULL,
          [ExpireDate] DATETIME2 NULL,
          ${indexed.map(({ column, property, type }) => `[${column}] AS CONVERT(${type}, JSON_VALUE([Data], '$.${property}')) PERSISTED,\n`).join('')}
          [RowVersion] ROWVERSION NOT NULL)`,
      )
    // A table of Dapr before 1.11.
    else if (await missing(`${known('COLUMNS', schema, table)} AND COLUMN_NAME = 'ExpireDate'`))
      await tolerant(session, `ALTER TABLE [${schema}].[${table}] ADD [ExpireDate] DATETIME2 NULL`)
    if (await missing(known('TABLES', schema, metadataTable)))
      await tolerant(
        session,
        `CREATE TABLE [${schema}].[${metadataTable}] (
          [Key] NVARCHAR(${NOTE}) CONSTRAINT PK_${metadataTable} PRIMARY KEY, [Value] NVARCHAR(MAX) NOT NULL)`,
      )
    if (await missing(`SELECT 1 WHERE TYPE_ID('[${schema}].${table}_Table') IS NOT NULL`))
      await tolerant(session, `CREATE TYPE [${schema}].${table}_Table AS TABLE ([Key] ${key} NOT NULL, [RowVersion] BINARY(8))`)
    if (await missing(`SELECT 1 WHERE OBJECT_ID('${procedureName(settings)}') IS NOT NULL`)) await tolerant(session, procedure(settings))
    for (const { column } of indexed)
      if (await missing(`SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID('[${schema}].[${table}]') AND name = 'IX_${column}'`))
        await tolerant(session, `CREATE INDEX IX_${column} ON [${schema}].[${table}] ([${column}])`)
  })
}

/** The procedure that every sidecar of Dapr writes with. */
export function procedureName({ schema, table }: SqlServerSettings): string {
  return `[${schema}].sp_Upsert_v5_${table}`
}

/** As daprd calls it. One that daprd made takes a first write for refused where an expired item stands, and lets two of them win. */
function procedure(settings: SqlServerSettings): string {
  const table = `[${settings.schema}].[${settings.table}]`
  const live = '([ExpireDate] IS NULL OR [ExpireDate] > GETDATE())'
  const update = `UPDATE ${table} SET [Data] = @Data, [UpdateDate] = GETDATE(), [ExpireDate] = @Expires WHERE [Key] = @Key`
  const insert = `INSERT INTO ${table} ([Key], [Data], [ExpireDate]) VALUES (@Key, @Data, @Expires)`
  return `CREATE PROCEDURE ${procedureName(settings)} (@Key ${keyColumn(settings)}, @Data NVARCHAR(MAX), @TTL INT, @RowVersion BINARY(8), @FirstWrite BIT) AS
    BEGIN
      DECLARE @Expires DATETIME2 = CASE WHEN @TTL IS NULL THEN NULL ELSE DATEADD(SECOND, @TTL, GETDATE()) END
      IF @RowVersion IS NOT NULL
        ${update} AND [RowVersion] = @RowVersion AND ${live}
      ELSE IF @FirstWrite = 1
      BEGIN
        SET NOCOUNT ON
        DELETE FROM ${table} WHERE [Key] = @Key AND [ExpireDate] <= GETDATE()
        SET NOCOUNT OFF
        ${insert}
      END
      ELSE
      BEGIN
        ${update}
        IF @@ROWCOUNT = 0
        BEGIN
          BEGIN TRY
            ${insert}
          END TRY
          BEGIN CATCH
            IF ERROR_NUMBER() NOT IN (2601, 2627) THROW
            ${update}
          END CATCH
        END
      END
    END`
}

function keyColumn({ keyType, keyLength }: SqlServerSettings): string {
  if (keyType === 'string') return `NVARCHAR(${keyLength})`
  return keyType === 'uuid' ? 'UNIQUEIDENTIFIER' : 'INT'
}

function known(what: 'TABLES' | 'COLUMNS', schema: string, table: string): string {
  return `SELECT 1 FROM INFORMATION_SCHEMA.${what} WHERE TABLE_SCHEMA = '${schema}' AND TABLE_NAME = '${table}'`
}

/** Definitions stand alone in their batch. */
async function tolerant(session: Session, sql: string): Promise<void> {
  try {
    await session.batch(sql)
  } catch (error) {
    if (!(error instanceof SqlError) || !ALREADY_THERE.has(error.number)) throw error
  }
}

/** Removes expired rows, if `interval` milliseconds have passed since any sidecar last did. */
export async function cleanUp(session: Session, { schema, table, metadataTable }: SqlServerSettings, interval: number): Promise<void> {
  const notes = `[${schema}].[${metadataTable}]`
  const now = 'CONVERT(NVARCHAR(MAX), GETDATE(), 21)'
  const seconds = [{ name: 'seconds', kind: 'int', value: Math.min(Math.round(interval / 1000), 2 ** 31 - 1) }] as const
  const due = `UPDATE ${notes} SET [Value] = ${now} WHERE [Key] = 'last-cleanup' AND DATEADD(SECOND, @seconds, CONVERT(DATETIME2, [Value], 21)) <= GETDATE()`
  let { affected } = await session.run(due, seconds)
  if (affected === 0) {
    const first = `INSERT INTO ${notes} ([Key], [Value]) SELECT 'last-cleanup', ${now} WHERE NOT EXISTS (SELECT 1 FROM ${notes} WHERE [Key] = 'last-cleanup')`
    affected = (await session.run(first)).affected
  }
  if (affected > 0) await session.run(`DELETE FROM [${schema}].[${table}] WHERE [ExpireDate] <= GETDATE()`)
}
