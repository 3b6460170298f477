import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Database, inTransaction, openSqlite } from '../../storage/sqlite.ts'
import type { Logger } from '../../telemetry/log.ts'
import { type Address, formatAddress, parseAddress, type Registration, type Resolver } from '../resolver.ts'
import type { ResolverContext } from '../resolver-registry.ts'
import { createLookupResolver } from './lookup-resolver.ts'
import { Settings } from './settings.ts'

const MIGRATION_KEY = 'nr-migrations'
const CLEANUP_KEY = 'nr-last-cleanup'
const NOW = 'unixepoch(CURRENT_TIMESTAMP)'
/** This database is used on the thread that serves requests: a lock is waited for asynchronously beyond this. */
const BUSY_LIMIT = 100

interface Options {
  path: string
  timeout: number
  busyTimeout: number
  journal: 'WAL' | 'DELETE'
  hosts: string
  metadata: string
  updateInterval: number
  cleanupInterval: number
}

/** Dapr's `sqlite`: the sidecars that share one file, in the tables that daprd uses. */
export async function daprSqlite(configuration: unknown, { log }: ResolverContext): Promise<Resolver> {
  const options = readOptions(configuration)
  if (options.path === ':memory:') log.warn('name resolution sqlite with an in-memory database: no other sidecar can be found in it')
  const database = openSqlite(options.path, { busyTimeout: options.busyTimeout, journal: options.journal })
  try {
    migrate(database, options)
    database.exec(`PRAGMA busy_timeout = ${Math.min(options.busyTimeout, BUSY_LIMIT)}`)
  } catch (error) {
    database.close()
    throw error
  }
  const seconds = options.updateInterval / 1000
  const find = database.prepare(
    `SELECT address FROM ${options.hosts} WHERE app_id = ? AND ${NOW} - last_update < ${seconds} ORDER BY registration_id`,
  )
  const cleanup =
    options.cleanupInterval > 0 ? setInterval(() => sweep(database, options, log), options.cleanupInterval).unref() : undefined
  return createLookupResolver({
    // A read takes microseconds; it is spared to those who call thousands of times a second.
    ttl: 500,
    missingTtl: 50,
    unknown: () => new Error('no host found with the given ID'),
    async lookup(appId) {
      const rows = await patiently(options.timeout, () => find.all(appId) as { address: string }[])
      return rows.map(({ address }) => parseAddress(address)).filter((address): address is Address => address !== undefined)
    },
    register: (registration) => register(database, options, log, registration),
    async close() {
      clearInterval(cleanup)
      database.close()
    },
  })
}

function readOptions(configuration: unknown): Options {
  const settings = new Settings(configuration)
  const connection = settings.text('connectionString', 'url')
  if (!connection) throw new Error('missing connection string: set connectionString to the path of the file that the sidecars share')
  const [file = '', query] = connection.split('?', 2)
  for (const pragma of new URLSearchParams(query).getAll('_pragma')) {
    const forbidden = /^(busy_timeout|journal_mode|foreign_keys)/i.exec(pragma)?.[1]
    if (forbidden)
      throw new Error(`found forbidden option '_pragma=${forbidden}' in the connection string; use busyTimeout and disableWAL instead`)
  }
  const bare = file.replace(/^file:(?:\/\/(?=\/))?/i, '')
  const timeout = settings.milliseconds(1000, 'timeout', 'timeoutInSeconds')
  const updateInterval = settings.milliseconds(5000, 'updateInterval')
  if (timeout < 1000) throw new Error("invalid value for 'timeout': must be greater than 1s")
  if (updateInterval % 1000 !== 0) throw new Error('update interval must not contain fractions of seconds')
  if (updateInterval - timeout < 1000) throw new Error('update interval must be at least 1s greater than timeout')
  return {
    path: /^:memory:/i.test(bare) ? ':memory:' : bare,
    timeout,
    busyTimeout: Math.max(0, settings.milliseconds(800, 'busyTimeout')),
    journal: settings.flag('disableWAL') ? 'DELETE' : 'WAL',
    hosts: tableName(settings.text('tableName') ?? 'hosts', 'table name'),
    metadata: tableName(settings.text('metadataTableName') ?? 'metadata', 'metadata table name'),
    updateInterval,
    cleanupInterval: settings.milliseconds(3_600_000, 'cleanupInterval', 'cleanupIntervalInSeconds'),
  }
}

/** The only texts that become part of a statement. */
function tableName(name: string, what: string): string {
  if (!/^[A-Za-z0-9_]+$/.test(name)) throw new Error(`invalid identifier for ${what}: ${name}`)
  return name
}

function migrate(database: Database, { hosts, metadata }: Options): void {
  inTransaction(database, () => {
    database.exec(`CREATE TABLE IF NOT EXISTS ${metadata} (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)`)
    const level = database.prepare(`SELECT value FROM ${metadata} WHERE key = ?`).get(MIGRATION_KEY) as { value: string } | undefined
    if (Number(level?.value ?? 0) >= 1) return
    database.exec(`CREATE TABLE ${hosts} (registration_id TEXT NOT NULL PRIMARY KEY, address TEXT NOT NULL, app_id TEXT NOT NULL,
      namespace TEXT NOT NULL, last_update INTEGER NOT NULL);
      CREATE UNIQUE INDEX ${hosts}_address_idx ON ${hosts} (address);
      CREATE INDEX ${hosts}_last_update_idx ON ${hosts} (last_update);`)
    database.prepare(`REPLACE INTO ${metadata} (key, value) VALUES (?, '1')`).run(MIGRATION_KEY)
  })
}

async function register(database: Database, options: Options, log: Logger, { appId, host, port }: Registration) {
  const { hosts, timeout, updateInterval } = options
  const id = randomUUID()
  const address = formatAddress({ host, port })
  // Whoever had this address before has left it. Namespaces are not kept, as Dapr does not keep them here.
  const take = database.prepare(
    `REPLACE INTO ${hosts} (registration_id, address, app_id, namespace, last_update) VALUES (?, ?, ?, '', ${NOW})`,
  )
  const renew = database.prepare(`UPDATE ${hosts} SET last_update = ${NOW} WHERE registration_id = ? AND address = ?`)
  const holder = database.prepare(`SELECT registration_id FROM ${hosts} WHERE address = ?`)
  const leave = database.prepare(`DELETE FROM ${hosts} WHERE registration_id = ? AND address = ?`)
  await patiently(timeout, () => take.run(id, address, appId))
  let left = false
  const beat = () =>
    patiently(timeout, () => {
      if (left || renew.run(id, address).changes > 0) return
      // Swept away while this machine slept: daprd ends here, we come back, unless another has our address.
      if (holder.get(address) === undefined) take.run(id, address, appId)
      else log.error(`host registration lost: another sidecar has registered ${address} as its own; give each its own port`)
    }).catch((error: unknown) => left || log.error(`failed to update host registration: ${(error as Error).message}`))
  const timer = setInterval(beat, updateInterval - timeout).unref()
  return async () => {
    left = true
    clearInterval(timer)
    await patiently(timeout, () => leave.run(id, address)).catch((error: unknown) =>
      log.warn(`failed to unregister host: ${(error as Error).message}`),
    )
  }
}

/** One of the sidecars that share the file does this once an interval. */
function sweep(database: Database, options: Options, log: Logger): void {
  try {
    const seconds = Math.max(1, Math.floor(options.cleanupInterval / 1000) - 1)
    const mine = database
      .prepare(
        `INSERT INTO ${options.metadata} (key, value) VALUES (?, CURRENT_TIMESTAMP) ON CONFLICT (key) DO UPDATE
        SET value = CURRENT_TIMESTAMP WHERE unixepoch(CURRENT_TIMESTAMP) - unixepoch(value) > ?`,
      )
      .run(CLEANUP_KEY, seconds)
    if (mine.changes > 0) database.exec(`DELETE FROM ${options.hosts} WHERE ${NOW} - last_update >= ${options.updateInterval / 1000}`)
  } catch (error) {
    log.debug(`cleaning up the hosts table: ${(error as Error).message}`)
  }
}

/** Tries again while another process holds the file. */
async function patiently<T>(timeout: number, work: () => T): Promise<T> {
  for (const until = Date.now() + timeout; ; ) {
    try {
      return work()
    } catch (error) {
      if (Date.now() >= until || !/locked|busy/i.test(String(error))) throw error
      await delay(50)
    }
  }
}
