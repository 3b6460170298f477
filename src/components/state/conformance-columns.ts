import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { azurite, azuriteTables } from '../../../test/servers/azurite.ts'
import { cassandra } from '../../../test/servers/cassandra.ts'
import { cosmosdb } from '../../../test/servers/cosmosdb.ts'
import { datastore } from '../../../test/servers/datastore.ts'
import { etcd } from '../../../test/servers/etcd.ts'
import { mariadb } from '../../../test/servers/mariadb.ts'
import { memcached } from '../../../test/servers/memcached.ts'
import { mongodb } from '../../../test/servers/mongodb.ts'
import { moto } from '../../../test/servers/moto.ts'
import { mysql } from '../../../test/servers/mysql.ts'
import { postgres } from '../../../test/servers/postgres.ts'
import { redis } from '../../../test/servers/redis.ts'
import { redisStack } from '../../../test/servers/redis-stack.ts'
import { redisCluster } from '../../../test/servers/redis-topologies.ts'
import { type RunningServer, serverOf } from '../../../test/servers/server.ts'
import { sqlserver } from '../../../test/servers/sqlserver.ts'
import type { ConformanceOptions, Subject } from '../../blocks/state/conformance/kit.ts'
import { stateConformance } from '../../blocks/state/conformance/suite.ts'
import type { StateFeature, StateItem, StateSet, StateStore } from '../../blocks/state/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { accountOf, makeTable } from '../aws/testing.ts'
import { ACCOUNT, connectionTo, KEY } from '../azure/testing.ts'
import { cosmosOf, makeContainer } from '../azure/testing-cosmos.ts'
import { MongoDouble } from '../mongodb/testing/double.ts'
import { stateDrivers } from './registry.ts'

/** One column of the matrix: a driver, how to reach its server, and in what it differs from the others. */
interface Column extends Omit<ConformanceOptions, 'features'> {
  name: string
  type: string
  version?: string
  /** The server it needs; undefined: none. */
  server?: () => Promise<RunningServer | undefined>
  /** metadata of the component, from the server's address. */
  properties: (address: string) => Record<string, string>
  /** What it claims beside ETAG, TRANSACTIONAL, TTL and KEYS_LIKE; `only`: instead. */
  also?: readonly StateFeature[]
  only?: readonly StateFeature[]
  /** Metadata of every read and write. */
  metadata?: Readonly<Record<string, string>>
  /** It holds text alone and refuses other bytes: those of the suite go in as Base64. */
  textOnly?: true
}

const usual = { tellsExpiry: true, strictFirstWrite: true, transactionEtagError: true, badEtag: 'bad-etag' }
const likeRedis = {
  type: 'state.redis',
  badEtag: '9999999',
  invalidEtag: { text: 'word', kind: 'invalid' },
  tellsExpiry: false,
  keepsTtl: true,
  strictFirstWrite: false,
  transactionEtagError: false,
} as const
const folder = mkdtempSync(join(tmpdir(), 'outrider-state-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
/** Names of this run on servers that others use, too. */
const own = `t${randomUUID().slice(0, 8)}`

const COLUMNS: readonly Column[] = [
  { ...usual, name: 'state.in-memory', type: 'state.in-memory', properties: () => ({}), also: ['DELETE_WITH_PREFIX'] },
  {
    ...usual,
    name: 'state.sqlite',
    type: 'state.sqlite',
    properties: () => ({ connectionString: join(folder, 'new', 'state.db') }),
  },
  {
    ...usual,
    name: 'state.sqlite, memory',
    type: 'state.sqlite3',
    properties: () => ({ connectionString: ':memory:', tableName: 'other' }),
  },
  { ...usual, ...likeRedis, name: 'state.redis', server: () => serverOf(redis), properties: (redisHost) => ({ redisHost }) },
  {
    ...usual,
    ...likeRedis,
    name: 'state.redis, cluster, keys of one slot',
    server: redisCluster,
    properties: (redisHost) => ({ redisHost, redisType: 'cluster' }),
    oneSlot: true,
  },
  {
    ...usual,
    ...likeRedis,
    name: 'state.redis, JSON documents',
    server: () => serverOf(redisStack),
    properties: (redisHost) => ({
      redisHost,
      queryIndexes: JSON.stringify([
        {
          name: 'qIndx',
          indexes: [
            { key: 'message', type: 'TEXT' },
            { key: 'product.value', type: 'NUMERIC' },
            { key: 'status', type: 'TEXT' },
          ],
        },
      ]),
    }),
    also: ['QUERY_API'],
    metadata: { contentType: 'application/json' },
    indexedQueries: true,
  },
  {
    ...usual,
    name: 'state.postgresql v1',
    type: 'state.postgresql',
    server: () => serverOf(postgres),
    properties: (connectionString) => ({ connectionString }),
    badEtag: '1',
    invalidEtag: { text: 'word', kind: 'invalid' },
    also: ['QUERY_API'],
  },
  {
    ...usual,
    name: 'state.postgresql v2',
    type: 'state.postgresql',
    version: 'v2',
    server: () => serverOf(postgres),
    properties: (connectionString) => ({ connectionString }),
    badEtag: randomUUID(),
    invalidEtag: { text: 'word', kind: 'mismatch' },
  },
  ...[mariadb, mysql].map(
    (kind): Column => ({
      ...usual,
      name: `state.mysql (${kind.name})`,
      type: 'state.mysql',
      server: () => serverOf(kind),
      properties: (address) => ({ connectionString: goDsn(address), schemaName: own }),
    }),
  ),
  ...(['v1', 'v2'] as const).map(
    (version): Column => ({
      ...usual,
      name: `state.etcd ${version}`,
      type: 'state.etcd',
      version,
      server: () => serverOf(etcd),
      properties: (endpoints) => ({ endpoints, keyPrefixPath: own + version }),
      tellsExpiry: version === 'v2',
      badEtag: '9999999',
      invalidEtag: { text: 'word', kind: 'mismatch' },
      largestValue: 1.5 * 1024 * 1024,
    }),
  ),
  {
    ...usual,
    name: 'state.memcached',
    type: 'state.memcached',
    server: () => serverOf(memcached),
    properties: (hosts) => ({ hosts }),
    only: ['TTL'],
    tellsExpiry: false,
    strictFirstWrite: false,
    plainKeys: true,
    largestValue: 1024 * 1024,
  },
  {
    ...usual,
    name: 'state.cassandra',
    type: 'state.cassandra',
    server: () => serverOf(cassandra),
    properties: (hosts) => ({ hosts, keyspace: own }),
    only: ['TTL'],
    strictFirstWrite: false,
  },
  {
    ...usual,
    name: 'state.sqlserver (no server in the gate)',
    type: 'state.sqlserver',
    server: () => serverOf(sqlserver),
    properties: (connectionString) => ({ connectionString, databaseName: own }),
    badEtag: '0102030405060708',
    invalidEtag: { text: 'word', kind: 'invalid' },
    textOnly: true,
    noTrailingSpace: true,
  },
  {
    ...usual,
    name: 'state.mongodb (mongo-java-server)',
    type: 'state.mongodb',
    server: () => serverOf(mongodb),
    properties: (connectionString) => ({ connectionString, databaseName: own }),
    only: ['ETAG', 'TTL', 'KEYS_LIKE', 'QUERY_API'],
  },
  {
    ...usual,
    name: 'state.mongodb, replica set (stand-in of our own)',
    type: 'state.mongodb',
    async server() {
      const double = await MongoDouble.start()
      return { address: double.address, stop: () => double[Symbol.asyncDispose]() }
    },
    properties: (connectionString) => ({ connectionString, databaseName: own }),
    also: ['QUERY_API'],
  },
  {
    ...usual,
    name: 'state.aws.dynamodb (moto)',
    type: 'state.aws.dynamodb',
    server: async () => {
      const server = await serverOf(moto)
      if (server) await makeTable(server.address, own)
      return server
    },
    properties: (address) => ({ ...accountOf(address), table: own, ttlAttributeName: 'expiresAt' }),
    only: ['ETAG', 'TRANSACTIONAL', 'TTL'],
    // DynamoDB's items have up to 400 KiB, moto's 405,000 bytes.
    largestValue: 404_000,
  },
  {
    ...usual,
    name: 'state.azure.blobstorage v2 (Azurite)',
    type: 'state.azure.blobstorage',
    version: 'v2',
    server: () => serverOf(azurite),
    properties: (address) => ({ connectionString: connectionTo(address), containerName: own }),
    only: ['ETAG'],
    refusedInKeys: '\\',
  },
  {
    ...usual,
    name: 'state.azure.cosmosdb (cosmosdb-server; partitions, batches and TTL by a front of ours)',
    type: 'state.azure.cosmosdb',
    server: async () => {
      const server = await serverOf(cosmosdb)
      if (server) await makeContainer(server.address, own)
      return server
    },
    properties: (address) => cosmosOf(address, own),
    only: ['ETAG', 'TRANSACTIONAL', 'TTL', 'QUERY_API', 'PARTITION_KEY'],
    // A transaction is of one partition, and reads have to name it.
    metadata: { partitionKey: own },
    transactionEtagError: false,
    refusedInKeys: '/\\#',
    // Documents have up to 2 MiB, Base64 included.
    largestValue: 1.5 * 1024 * 1024,
  },
  {
    ...usual,
    name: 'state.azure.tablestorage (Azurite)',
    type: 'state.azure.tablestorage',
    server: () => serverOf(azuriteTables),
    properties: (address) => ({ accountName: ACCOUNT, accountKey: KEY, serviceURL: `${address}/${ACCOUNT}`, tableName: own }),
    only: ['ETAG'],
    badEtag: `W/"datetime'2023-05-09T12%3A28%3A54.1442151Z'"`,
    refusedInKeys: '/\\#?\t\n',
    largestValue: 64 * 1024,
  },
  {
    ...usual,
    name: 'state.gcp.firestore (Datastore emulator)',
    type: 'state.gcp.firestore',
    server: () => serverOf(datastore),
    properties: (endpoint) => ({ endpoint, project_id: own, noIndex: 'true' }),
    only: [],
    tellsExpiry: false,
    strictFirstWrite: false,
    // As Firestore has it for a property that is not indexed.
    largestValue: 1_048_487,
  },
]

/** Runs the suite for the columns whose types are named. */
export function proveColumns(...types: string[]): void {
  for (const { name, server, also = [], only, ...column } of COLUMNS.filter(({ type }) => types.includes(type))) {
    const features = only ?? ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE', ...also]
    stateConformance(
      name,
      async () => {
        if (!server) return open(column, '')
        const running = await server()
        return running && open(column, running.address, running.stop)
      },
      { ...column, features },
    )
  }
}

async function open(
  { type, version = 'v1', properties, metadata, textOnly }: Omit<Column, 'name'>,
  address: string,
  stop?: () => Promise<void>,
): Promise<Subject> {
  const row = stateDrivers.find((candidate) => candidate.type === type && candidate.versions.includes(version))
  if (!row) throw new Error(`${type}/${version} is not registered`)
  const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test' })
  const store = (await row.load()).create({
    name: 'store',
    type,
    version,
    properties: properties(address),
    appId: 'test',
    namespace: '',
    log,
  })
  await store.init(AbortSignal.timeout(20_000))
  const seen = metadata ? saying(store, metadata) : textOnly ? asText(store) : store
  return { store: seen, ...(stop ? { stop } : {}) }
}

/** The store with bytes as Base64. */
function asText(store: StateStore): StateStore {
  const encoded = new Set<string>()
  type Item = Partial<StateSet> & { key: string }
  const put = <T>(given: T): T => {
    const item = given as unknown as Item
    if (!item?.value) return given
    if (item.json) encoded.delete(item.key)
    else encoded.add(item.key)
    return item.json ? given : { ...given, value: Buffer.from(item.value.toString('base64')) }
  }
  const got = (key: string, item: StateItem | undefined) =>
    item && encoded.has(key) ? { ...item, data: Buffer.from(item.data.toString(), 'base64') } : item
  return new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return async (given: unknown, ...rest: unknown[]) => {
        const sent = Array.isArray(given) ? given.map(put) : put(given)
        const answer = await member.call(target, sent, ...rest)
        if (name === 'get') return got((given as Item).key, answer)
        if (name === 'bulkGet')
          return (answer as (StateItem | undefined)[]).map((item, index) => got((given as Item[])[index]?.key ?? '', item))
        return answer
      }
    },
  })
}

/** The store with this metadata in whatever is asked of it. */
function saying(store: StateStore, metadata: Readonly<Record<string, string>>): StateStore {
  const said = <T extends { metadata: Readonly<Record<string, string>> }>(request: T): T => ({
    ...request,
    metadata: { ...metadata, ...request.metadata },
  })
  return new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      if (name === 'get' || name === 'set' || name === 'delete')
        return (request: Parameters<StateStore['set']>[0], ...rest: unknown[]) => member.call(target, said(request), ...rest)
      if (name === 'transact')
        return (operations: Parameters<StateStore['set']>[0][], all: Readonly<Record<string, string>>, ...rest: unknown[]) =>
          member.call(target, operations.map(said), { ...metadata, ...all }, ...rest)
      return member.bind(target)
    },
  })
}

/** `mysql://user:password@host:port` as Go's driver has it. */
function goDsn(address: string): string {
  const { username, password, host } = new URL(address)
  return `${username}:${password}@tcp(${host})/?allowNativePasswords=true`
}
