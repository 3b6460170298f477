import type { ConfigurationItem, ConfigurationStore } from '../../../blocks/configuration/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { connectionError, connectionFields, readConnection } from '../../postgres/connection.ts'
import { PostgresServer } from '../../postgres/server.ts'
import { Listener } from './listener.ts'

type Items = Record<string, ConfigurationItem>

const fields: readonly MetadataField[] = [
  ...connectionFields,
  {
    name: 'table',
    kind: 'string',
    required: true,
    description: 'Table of the items, with the columns key, value, version and metadata (JSON); it has to be there.',
  },
  {
    name: 'notifyChannel',
    aliases: ['pgNotifyChannel'],
    kind: 'string',
    description:
      'Channel that a trigger of the table notifies of changes; subscriptions need it here, or as pgNotifyChannel in their metadata. The payload is JSON, the changed row in its member data.',
  },
]
const EMPTY: ConfigurationItem = { value: '', version: '', metadata: {} }

interface Subscription {
  channel: string
  /** Empty: all keys. */
  keys: ReadonlySet<string>
  /** Items last given, to find after a reconnect what changed while the connection was away. */
  seen: Map<string, string>
  onChange(items: Items): Promise<void>
}

interface Row {
  key: string
  value: string | null
  version: string | null
  metadata: unknown
}

/** Configuration in a table that its owner keeps, told of changes by the owner's trigger. */
class PostgresConfiguration implements ConfigurationStore {
  readonly #context: ComponentContext
  readonly #server: PostgresServer
  readonly #address: string
  readonly #table: string
  readonly #channel: string | undefined
  readonly #listener: Listener
  readonly #subscriptions = new Set<Subscription>()

  constructor(context: ComponentContext) {
    this.#context = context
    const values = parseMetadata(fields, context.properties)
    const connection = readConnection(values, context.properties)
    const { pool, address } = connection
    this.#address = address
    this.#table = name('table', values.table as string)
    this.#channel = values.notifyChannel === undefined ? undefined : name('notifyChannel', values.notifyChannel as string)
    this.#server = new PostgresServer(this.#owner, connection, {}, (text) => context.log.debug(text))
    this.#listener = new Listener({
      connectionString: pool.connectionString as string,
      timeout: pool.connectionTimeoutMillis as number,
      Client: this.#server.Client,
      onNotification: (channel, payload) => void this.#notified(channel, payload).catch((error: unknown) => this.#complain(error)),
      onReconnect: () => void this.#catchUp().catch((error: unknown) => this.#complain(error)),
      onLost: (error) => this.#debug(error),
    })
  }

  async init(): Promise<void> {
    const { rows } = await this.#query<{ found: boolean }>('SELECT to_regclass($1) IS NOT NULL AS found', [this.#table])
    if (!rows[0]?.found) throw new Error(`postgreSQL configuration table '${this.#table}' does not exist`)
  }

  async ping(): Promise<void> {
    await this.#query('SELECT 1', [])
  }

  async get(keys: readonly string[]): Promise<Items> {
    const text = `SELECT key, value, version, metadata FROM ${this.#table}`
    const { rows } = keys.length > 0 ? await this.#query<Row>(`${text} WHERE key = ANY($1)`, [keys]) : await this.#query<Row>(text, [])
    const items: Items = {}
    for (const row of rows) {
      const held = items[row.key]
      if (!held || number(row.version ?? '') > number(held.version)) items[row.key] = itemOf(row)
    }
    return items
  }

  async subscribe(keys: readonly string[], metadata: Readonly<Record<string, string>>, onChange: Subscription['onChange']) {
    const asked = Object.entries(metadata).find(([key]) => key.toLowerCase() === 'pgnotifychannel')?.[1]
    const channel = this.#channel ?? (asked && name('notifyChannel', asked))
    if (!channel)
      throw new Error(
        `unable to subscribe to ${JSON.stringify(this.#table)}. notifyChannel must be set in component metadata or request metadata`,
      )
    await this.#listener.listen(channel).catch((error: unknown) => this.#refuse(error))
    const subscription: Subscription = { channel, keys: new Set(keys), seen: new Map(), onChange }
    for (const [key, item] of Object.entries(await this.get(keys))) subscription.seen.set(key, JSON.stringify(item))
    this.#subscriptions.add(subscription)
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#subscriptions.delete(subscription)) await this.#listener.forget(channel)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscriptions.clear()
    await this.#listener[Symbol.asyncDispose]()
    await this.#server[Symbol.asyncDispose]()
  }

  /** The row as the trigger gives it. After a deletion: what is left of the key, or an empty item. */
  async #notified(channel: string, payload: string): Promise<void> {
    const { data, action } = JSON.parse(payload) as { data?: Record<string, unknown>; action?: unknown }
    if (typeof data !== 'object' || data === null)
      return this.#context.log.info(`unknown format of data received in notify event - '${payload}'`)
    const row = Object.fromEntries(Object.entries(data).map(([column, value]) => [column.toLowerCase(), value]))
    const key = String(row.key ?? '')
    const interested = [...this.#subscriptions].filter(
      (subscription) => subscription.channel === channel && (subscription.keys.size === 0 || subscription.keys.has(key)),
    )
    if (interested.length === 0) return
    const item = action === 'DELETE' ? ((await this.get([key]))[key] ?? EMPTY) : itemOf(row as unknown as Row)
    for (const subscription of interested) if (this.#subscriptions.has(subscription)) this.#give(subscription, { [key]: item })
  }

  async #catchUp(): Promise<void> {
    for (const subscription of this.#subscriptions) {
      const current = await this.get([...subscription.keys])
      const changed = [...new Set([...subscription.seen.keys(), ...Object.keys(current)])]
        .map((key) => [key, current[key] ?? EMPTY] as const)
        .filter(([key, item]) => (subscription.seen.get(key) ?? JSON.stringify(EMPTY)) !== JSON.stringify(item))
      if (changed.length > 0) this.#give(subscription, Object.fromEntries(changed))
    }
  }

  #give(subscription: Subscription, items: Items): void {
    for (const [key, item] of Object.entries(items)) {
      if (item === EMPTY) subscription.seen.delete(key)
      else subscription.seen.set(key, JSON.stringify(item))
    }
    void subscription.onChange(items).catch((error: unknown) => this.#context.log.error(`${this.#owner}: ${messageOf(error)}`))
  }

  async #query<R extends object>(text: string, values: unknown[]) {
    return this.#server.during(() => this.#server.pool.query<R>(text, values)).catch((error: unknown) => this.#refuse(error))
  }

  #refuse(error: unknown): never {
    throw connectionError(this.#owner, this.#address, error)
  }

  get #owner(): string {
    return `configuration store ${this.#context.name}`
  }

  #debug(error: Error): void {
    this.#context.log.debug(`${this.#owner}: ${error.message}`)
  }

  #complain(error: unknown): void {
    this.#context.log.warn(`${this.#owner}: a change could not be read: ${messageOf(error)}`)
  }
}

/** Versions count where they are numbers; others come before all of them. */
function number(version: string): number {
  return /^[+-]?\d+$/.test(version) ? Number(version) : -1
}

function itemOf(row: Row): ConfigurationItem {
  const metadata = typeof row.metadata === 'object' && row.metadata !== null ? row.metadata : {}
  return {
    value: row.value ?? '',
    version: row.version ?? '',
    metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
  }
}

function name(field: string, text: string): string {
  if (text.length > 64) throw new MetadataError(`metadata field ${field}: ${JSON.stringify(text)} is longer than 64 characters`)
  if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/.test(text))
    throw new MetadataError(`metadata field ${field}: ${JSON.stringify(text)} is no name of lower-case letters, digits and underscores`)
  return text
}

/** configuration.postgresql, configuration.postgres. */
export const driver: DriverModule<ConfigurationStore> = {
  summary: 'Configuration in a table of PostgreSQL, its changes by LISTEN and NOTIFY.',
  metadata: fields,
  create: (context) => new PostgresConfiguration(context),
}
