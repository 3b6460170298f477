import type { StateDelete, StateFeature, StateGet, StateItem, StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { CassandraCluster } from '../../cassandra/cluster.ts'
import type { Consistency } from '../../cassandra/connection.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { readTtl, rfc3339 } from '../ttl.ts'
import { type CassandraSettings, fields, readSettings } from './settings.ts'

/** Longer than a server takes for an answer, by its own defaults, before it gives up on other nodes. */
const TIMEOUT = 6000

/** State in a Cassandra table laid out as daprd does. */
class CassandraState implements StateStore {
  readonly features: readonly StateFeature[] = ['TTL']
  private readonly settings: CassandraSettings
  private readonly cluster: CassandraCluster
  private readonly table: string

  constructor(context: ComponentContext) {
    this.settings = readSettings(context.properties)
    this.cluster = new CassandraCluster({ ...this.settings, owner: `state store ${context.name}`, timeout: TIMEOUT })
    this.table = `${this.settings.keyspace}.${this.settings.table}`
  }

  async init(): Promise<void> {
    const { keyspace, replicas } = this.settings
    await this.cluster.define(
      `CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH REPLICATION = {'class': 'SimpleStrategy', 'replication_factor': ${replicas}}`,
      `CREATE TABLE IF NOT EXISTS ${this.table} (key text, value blob, PRIMARY KEY (key))`,
    )
  }

  async ping(): Promise<void> {
    await this.cluster.run({ cql: 'SELECT release_version FROM system.local', values: [], consistency: 'One' })
  }

  async get({ key, consistency }: StateGet): Promise<StateItem | undefined> {
    const [row] = await this.cluster.run({
      cql: `SELECT value, TTL(value), toTimestamp(now()) FROM ${this.table} WHERE key = ?`,
      values: [named(key)],
      consistency: this.level(consistency, 'All', 'One'),
    })
    const [data, ttl, now] = row ?? []
    if (!data) return undefined
    const expires = ttl && now ? Number(now.readBigInt64BE()) + ttl.readInt32BE() * 1000 : undefined
    return { data: Buffer.from(data), ...(expires === undefined ? {} : { metadata: { ttlExpireTime: rfc3339(expires) } }) }
  }

  async set({ key, value, consistency, metadata }: StateSet): Promise<void> {
    const ttl = Math.max(0, readTtl(metadata, 'error parsing TTL from Metadata: ') ?? 0)
    const seconds = Buffer.alloc(4)
    seconds.writeInt32BE(ttl)
    await this.cluster.run({
      cql: `INSERT INTO ${this.table} (key, value) VALUES (?, ?)${ttl ? ' USING TTL ?' : ''}`,
      values: ttl ? [named(key), value, seconds] : [named(key), value],
      consistency: this.level(consistency, 'Quorum', 'Any'),
      timestamp: this.cluster.timestamp(),
    })
  }

  async delete({ key, consistency }: StateDelete): Promise<void> {
    await this.cluster.run({
      cql: `DELETE FROM ${this.table} WHERE key = ?`,
      values: [named(key)],
      consistency: this.level(consistency, 'Quorum', 'Any'),
      timestamp: this.cluster.timestamp(),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]()
  }

  /** `Any` is for writes: a read asks for one copy then. */
  private level(wanted: StateGet['consistency'], strong: Consistency, eventual: Consistency): Consistency {
    if (wanted) return wanted === 'strong' ? strong : eventual
    return this.settings.consistency === 'Any' ? eventual : this.settings.consistency
  }
}

/** The server has a limit of its own, and takes no empty key. */
function named(key: string): Buffer {
  const bytes = Buffer.from(key)
  if (bytes.length === 0 || bytes.length > 0xffff) throw new Error(`a key of ${bytes.length} bytes: Cassandra takes 1 to ${0xffff}`)
  return bytes
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Apache Cassandra, without ETags or transactions.',
  metadata: fields,
  create: (context) => new CassandraState(context),
}
