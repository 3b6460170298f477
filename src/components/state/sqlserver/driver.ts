import { isUtf8 } from 'node:buffer'
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
import { Entra } from '../../azure/entra.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type Session, SqlServerPool } from '../../sqlserver/pool.ts'
import { SqlError } from '../../sqlserver/tokens.ts'
import type { Parameter, Value } from '../../sqlserver/values.ts'
import { Failures } from '../bulk.ts'
import { checkPattern } from '../like.ts'
import { readTtl, rfc3339 } from '../ttl.ts'
import { cleanUp, makeDatabase, makeTables, procedureName } from './schema.ts'
import { fields, readSettings, type SqlServerSettings } from './settings.ts'

const LIVE = '([ExpireDate] IS NULL OR [ExpireDate] > GETDATE())'
/** The server's clock may go by another zone than UTC: what is stored is its own time. */
const EXPIRES = `DATEDIFF_BIG(SECOND, '1970-01-01', DATEADD(MINUTE, DATEDIFF(MINUTE, GETDATE(), GETUTCDATE()), [ExpireDate]))`
/** Milliseconds for one operation. */
const TIMEOUT = 20_000
/** Keys of one statement; the server takes 2100 parameters. */
const MOST = 256
/** The row is there already. */
const THERE: ReadonlySet<number> = new Set([2601, 2627])
/** daprd's procedure means to say so, by a THROW that the server finds wrong. */
const WRONG_THROW = /\bTHROW\b/
/** Of Azure SQL, by cloud. */
const RESOURCES = {
  AzurePublic: 'https://database.windows.net',
  AzureChina: 'https://database.chinacloudapi.cn',
  AzureUSGovernment: 'https://database.usgovcloudapi.net',
} as const

/** State in a SQL Server table laid out as daprd does. */
class SqlServerState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE']
  private readonly context: ComponentContext
  private readonly settings: SqlServerSettings
  private readonly pool: SqlServerPool
  private readonly entra: Entra | undefined
  private readonly table: string
  private cleaner: NodeJS.Timeout | undefined

  constructor(context: ComponentContext) {
    this.context = context
    this.settings = readSettings(context.properties)
    const { schema, table, entra, database } = this.settings
    this.table = `[${schema}].[${table}]`
    this.entra = entra && new Entra(entra, RESOURCES[entra.cloud])
    this.pool = this.connect(database)
  }

  async init(): Promise<void> {
    const { make, database, cleanupInterval } = this.settings
    if (make) {
      await using server = this.connect('')
      await makeDatabase(server, database)
    }
    await makeTables(this.pool, this.settings)
    if (cleanupInterval > 0)
      this.cleaner ??= setInterval(() => void this.clean(cleanupInterval), Math.min(Math.max(cleanupInterval, 1000), 2 ** 31 - 1)).unref()
  }

  async ping(): Promise<void> {
    await this.pool.use((session) => session.batch('SELECT 1'))
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    return (await this.find([key])).get(key)
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const found = new Map<string, StateItem>()
    for (let at = 0; at < requests.length; at += MOST) {
      const keys = requests.slice(at, at + MOST).map(({ key }) => key)
      for (const [key, item] of await this.find(keys)) found.set(key, item)
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
    await this.list(items)
  }

  async bulkDelete(items: readonly StateDelete[]): Promise<void> {
    await this.list(items)
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
    const size = page.size && page.size > 0 ? page.size : 0
    const after = page.token === undefined ? '' : ' AND [Key] > @token'
    const parameters: Parameter[] = [
      // A bracket would begin a set of characters here.
      { name: 'pattern', kind: 'text', value: pattern.replaceAll('[', '\\[') },
      ...(page.token === undefined ? [] : [{ name: 'token', kind: 'text', value: page.token } as const]),
    ]
    const sql = `SELECT ${size ? `TOP (${size + 1}) ` : ''}${this.key} FROM ${this.table} WHERE [Key] LIKE @pattern ESCAPE '\\' AND ${LIVE}${after} ORDER BY [Key]`
    const { rows } = await this.pool.use((session) => session.run(sql, parameters), true)
    const keys = rows.map(([key]) => key as string)
    const shown = size ? keys.slice(0, size) : keys
    return { keys: shown, ...(shown.length < keys.length ? { token: shown.at(-1) as string } : {}) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.cleaner)
    await this.pool[Symbol.asyncDispose]()
    await this.entra?.[Symbol.asyncDispose]()
  }

  private connect(database: string): SqlServerPool {
    const { entra } = this
    return new SqlServerPool({
      address: this.settings.address,
      database,
      owner: `state store ${this.context.name}`,
      timeout: TIMEOUT,
      ...(entra ? { token: () => entra.token() } : {}),
    })
  }

  /** The column of the keys, as text. */
  private get key(): string {
    return this.settings.keyType === 'string' ? '[Key]' : 'CONVERT(NVARCHAR(36), [Key])'
  }

  private async find(keys: readonly string[]): Promise<Map<string, StateItem>> {
    const parameters = keys.map((value, index): Parameter => ({ name: `k${index}`, kind: 'text', value }))
    const condition = keys.length === 1 ? '= @k0' : `IN (${parameters.map(({ name }) => `@${name}`).join(', ')})`
    const sql = `SELECT ${this.key}, [Data], [RowVersion], ${EXPIRES} FROM ${this.table} WHERE [Key] ${condition} AND ${LIVE}`
    const { rows } = await this.pool.use((session) => session.run(sql, parameters), true)
    // A table that daprd made may hold a key in other letters, which is the same for it.
    if (keys.length === 1) return new Map(rows.slice(0, 1).map((row) => [keys[0] as string, itemOf(row)]))
    return new Map(rows.map((row) => [row[0] as string, itemOf(row)]))
  }

  /** Items of a list are independent: those refused are told, the others stay; all in one transaction. */
  private async list(items: readonly StateOperation[]): Promise<void> {
    const failures = await this.pool.transaction(async (session) => {
      const failed = new Failures()
      // The order of keys is everybody's, so that two lists do not block each other; what is said twice of one keeps its order.
      for (const item of items.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))) {
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
    const { keyType, keyLength } = this.settings
    if (keyType === 'string' && item.key.length > keyLength)
      throw new Error(`the key has more than ${keyLength} characters with its prefix, which is the most that the table holds (keyLength)`)
    if (item.key.endsWith(' ')) throw new Error('the key ends with a space, which SQL Server does not tell from the same key without it')
    // The column holds text: other bytes would come back changed.
    if (!isUtf8(item.value))
      throw new Error(`the value of key ${item.key} is not UTF-8: SQL Server's table holds text; encode it, e.g. in Base64`)
    const ttl = readTtl(item.metadata, 'error parsing TTL: ')
    const first = item.concurrency === 'first-write'
    const parameters: Parameter[] = [
      { name: 'Key', kind: 'text', value: item.key },
      { name: 'Data', kind: 'text', value: item.value.toString() },
      { name: 'TTL', kind: 'int', value: ttl !== undefined && ttl > 0 ? ttl : null },
      { name: 'RowVersion', kind: 'bytes', value: item.etag === undefined ? null : versionOf(item.etag) },
      { name: 'FirstWrite', kind: 'int', value: first ? 1 : 0 },
    ]
    try {
      const { affected } = await session.procedure(procedureName(this.settings), parameters)
      if (affected === 0) throw new EtagError('mismatch', '')
    } catch (error) {
      if (first && error instanceof SqlError && (THERE.has(error.number) || WRONG_THROW.test(error.message)))
        throw new EtagError('mismatch', error.message)
      throw error
    }
  }

  private async remove(session: Session, { key, etag }: StateDelete): Promise<void> {
    const named: Parameter = { name: 'Key', kind: 'text', value: key }
    const sql = `DELETE FROM ${this.table} WHERE [Key] = @Key`
    if (etag === undefined) await session.run(sql, [named])
    else {
      const version: Parameter = { name: 'RowVersion', kind: 'bytes', value: versionOf(etag) }
      if ((await session.run(`${sql} AND [RowVersion] = @RowVersion AND ${LIVE}`, [named, version])).affected === 0)
        throw new EtagError('mismatch', '')
    }
  }

  private async clean(interval: number): Promise<void> {
    try {
      await this.pool.use((session) => cleanUp(session, this.settings, interval))
    } catch (error) {
      this.context.log.warn(`state store ${this.context.name}: cannot remove expired rows: ${messageOf(error)}`)
    }
  }
}

/** An ETag is the row's version in hexadecimal. */
function versionOf(etag: string): Buffer {
  if (!/^([0-9a-f]{2})*$/i.test(etag)) throw new EtagError('invalid', `${JSON.stringify(etag)} is not hexadecimal`)
  return Buffer.from(etag, 'hex')
}

function itemOf([, data, version, expires]: readonly Value[]): StateItem {
  return {
    data: Buffer.from(data as string),
    etag: (version as Buffer).toString('hex'),
    ...(expires === null ? {} : { metadata: { ttlExpireTime: rfc3339(Number(expires) * 1000) } }),
  }
}

/** state.sqlserver. */
export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Microsoft SQL Server or Azure SQL; seen to work on Babelfish, never on SQL Server itself.',
  metadata: fields,
  create: (context) => new SqlServerState(context),
}
