import {
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateOperation,
  type StateQueryResult,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import type { KeysPage, ListsKeys } from '../../../blocks/state/keys.ts'
import type { StateQuery } from '../../../blocks/state/query.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, type MetadataValues, parseMetadata } from '../../metadata.ts'
import type { RedisClient } from '../../redis/client.ts'
import { redisFields } from '../../redis/fields.ts'
import { openRedis } from '../../redis/open.ts'
import { slotOf } from '../../redis/slot.ts'
import { likeMatcher } from '../like.ts'
import { readTtl } from '../ttl.ts'
import { createIndex, type QueryIndex, readIndexes } from './indexes.ts'
import { APPLY_JSON, READ_JSON } from './json-script.ts'
import { readSearch, toSearch } from './query.ts'
import { APPLY, type Kind, refusal } from './script.ts'

const fields: readonly MetadataField[] = [
  ...redisFields,
  { name: 'ttlInSeconds', kind: 'int', description: 'TTL of items whose request gives none; absent: they stay.' },
  {
    name: 'queryIndexes',
    kind: 'string',
    description:
      'Indexes for queries, JSON: `[{"name": "…", "indexes": [{"key": "a.b", "type": "TEXT"}]}]`, types TEXT and NUMERIC. They need Redis\'s JSON and search modules; without these the store warns and goes on.',
  },
]

const FEATURES: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE']
const SCAN_COUNT = 1000
const JSON_TYPE = 'application/json'
/** The answer to a command of a module that is not loaded. */
const UNKNOWN = /unknown command/i
/** How long a strong write waits for the replicas, milliseconds. */
const REPLICA_WAIT = 1000

/**
 * State in Redis hashes laid out as daprd does, and in JSON documents where a request's metadata say contentType: application/json
 * and the server has the module. Every write is one script: what it checks and what it writes cannot be torn apart.
 */
class RedisState implements StateStore, ListsKeys {
  features = FEATURES
  private readonly values: MetadataValues
  private opened: RedisClient | undefined
  private readonly defaultTtl: number | undefined
  private readonly indexes: ReadonlyMap<string, QueryIndex>
  private readonly context: ComponentContext
  private replicas = 0
  /** Whether the server has the JSON module. */
  private hasJson = false

  constructor(context: ComponentContext) {
    this.values = parseMetadata(fields, context.properties)
    this.context = context
    this.defaultTtl = this.values.ttlInSeconds as number | undefined
    this.indexes = readIndexes(this.values.queryIndexes as string | undefined)
  }

  private get client(): RedisClient {
    if (!this.opened) throw new Error(`state store ${this.context.name} is not connected`)
    return this.opened
  }

  async init(signal: AbortSignal): Promise<void> {
    const { name, log } = this.context
    this.opened ??= await openRedis(this.values, {
      name,
      signal,
      onError: (error) => log.debug(`state store ${name}: ${error.message}`),
    })
    // Without a key it is refused; without the module, as an unknown command.
    const probed = this.client.call('JSON.GET').then(String, messageOf)
    // In a cluster each key has replicas of its own, and WAIT would ask any node.
    if (!this.client.isCluster)
      this.replicas = Number(/connected_slaves:(\d+)/.exec(String(await this.client.call('INFO', 'replication')))?.[1] ?? 0)
    this.hasJson = !UNKNOWN.test(await probed)
    if (this.hasJson) this.features = ['ETAG', 'TRANSACTIONAL', 'TTL', 'QUERY_API', 'KEYS_LIKE']
    await this.createIndexes()
  }

  private async createIndexes(): Promise<void> {
    const { name, log } = this.context
    for (const index of this.indexes.values()) {
      try {
        await createIndex(this.client, index)
      } catch (error) {
        const text = messageOf(error)
        if (!UNKNOWN.test(text)) throw new Error(`state store ${name}: cannot create query index ${index.name}: ${text}`, { cause: error })
        log.warn(
          `state store ${name}: queryIndexes need Redis's JSON and search modules, which the server does not have; queries will be refused: take them out, or use Redis Stack or Redis 8`,
        )
        return
      }
    }
  }

  /** Neither hash nor text. */
  private async unreadable(key: string, error: unknown): Promise<never> {
    const type = await this.client.call('TYPE', key).catch(() => undefined)
    if (typeof type !== 'string' || !(error instanceof Error && error.message.startsWith('WRONGTYPE'))) throw error
    const json = type === 'ReJSON-RL' ? ' without contentType: application/json in the metadata of the request' : ''
    throw new Error(`key ${key} is of Redis type ${type}, which this store does not read${json}`, { cause: error })
  }

  async ping(): Promise<void> {
    await this.client.call('PING')
  }

  async get({ key, metadata }: StateGet): Promise<StateItem | undefined> {
    if (this.hasJson && saysJson(metadata)) {
      const found = (await this.client.script(READ_JSON, [key], [])) as [data: string, version: string | null] | 'other' | null
      if (found === null) return undefined
      if (found !== 'other') return { data: Buffer.from(found[0]), etag: found[1] ?? undefined }
    }
    try {
      const [data, version] = (await this.client.callBuffer('HMGET', key, 'data', 'version')) as (Buffer | null)[]
      return data ? { data, etag: version ? version.toString() : undefined } : undefined
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('WRONGTYPE'))) throw error
      const data = (await this.client.callBuffer('GET', key).catch((other: unknown) => this.unreadable(key, other))) as Buffer | null
      return data ? { data } : undefined
    }
  }

  async set(item: StateSet): Promise<void> {
    const etag = etagOf(item)
    if ((await this.apply([item], [etag], item.concurrency === 'first-write')) !== 0) {
      const text = this.refused(item)
      throw etag === '0' ? new Error(`failed to set key ${item.key}: ${text}`) : new EtagError('mismatch', text)
    }
    await this.settle(item)
  }

  async delete(item: StateDelete): Promise<void> {
    if ((await this.apply([item], [etagOf(item)], false)) !== 0) throw new EtagError('mismatch', this.refused(item))
    await this.settle(item)
  }

  async transact(given: readonly StateOperation[], metadata: Readonly<Record<string, string>> = {}): Promise<void> {
    if (given.length === 0) return
    const operations = this.hasJson && saysJson(metadata) ? given.map(asJson) : given
    if (this.client.isCluster) return this.transactInCluster(operations)
    const refused = operations[(await this.apply(operations, operations.map(etagOf), false)) - 1]
    if (refused) throw new Error(this.refused(refused))
    await this.settle(operations.find((operation) => operation.consistency === 'strong'))
  }

  async query(query: unknown, metadata: Readonly<Record<string, string>>): Promise<StateQueryResult> {
    if (!this.hasJson) throw new Error('redis-json server support is required for query capability')
    const { queryIndexName } = metadata
    if (!queryIndexName) throw new Error('query index not found')
    const index = this.indexes.get(queryIndexName)
    if (!index) throw new Error(`query index schema ${JSON.stringify(queryIndexName)} not found`)
    const parsed = query as StateQuery
    return readSearch(await this.client.call('FT.SEARCH', ...toSearch(index, parsed)), parsed)
  }

  async keysLike(pattern: string, page: { size?: number; token?: string }): Promise<KeysPage> {
    const matches = likeMatcher(pattern)
    const offset = page.token ? Number(page.token) : 0
    if (!Number.isInteger(offset)) throw new Error(`invalid continuation token ${JSON.stringify(page.token)}`)
    const found = new Set<string>()
    for (const master of this.client.masters()) {
      let cursor = '0'
      do {
        const [next, keys] = (await master.call('SCAN', cursor, 'MATCH', coarseGlob(pattern), 'COUNT', SCAN_COUNT)) as [string, string[]]
        for (const key of keys) if (matches(key)) found.add(key)
        cursor = next
      } while (cursor !== '0')
    }
    const sorted = [...found].sort()
    const end = page.size && page.size > 0 ? offset + page.size : sorted.length
    return { keys: sorted.slice(offset, end), ...(end < sorted.length ? { token: String(end) } : {}) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.opened?.close()
  }

  /**
   * A script runs where its keys are: operations on keys of one slot hold together, as braces in a key arrange it. Those of several
   * are looked at everywhere before any is written, as far as others do not write in between; daprd does not look.
   */
  private async transactInCluster(operations: readonly StateOperation[]): Promise<void> {
    const slots = new Map<number, StateOperation[]>()
    for (const operation of operations) {
      const slot = slotOf(operation.key)
      const list = slots.get(slot)
      if (list) list.push(operation)
      else slots.set(slot, [operation])
    }
    for (const phase of slots.size > 1 ? (['look', 'write'] as const) : (['write'] as const)) {
      for (const list of slots.values()) {
        const refused = list[(await this.apply(list, list.map(etagOf), false, phase === 'look')) - 1]
        if (refused) throw new Error(this.refused(refused))
      }
    }
  }

  private async apply(
    operations: readonly StateOperation[],
    etags: readonly string[],
    firstWrite: boolean,
    lookOnly = false,
  ): Promise<number> {
    const json = this.hasJson && operations.some(({ metadata }) => saysJson(metadata))
    const values = operations.flatMap((operation, index): (string | Buffer)[] => {
      const etag = etags[index] as string
      const kind = this.kindOf(operation)
      if (operation.kind === 'delete') return [kind, etag, '', '1', '']
      const ttl = readTtl(operation.metadata, 'failed to parse ttl from metadata: ') ?? this.defaultTtl
      return [kind, etag, operation.value, firstWrite ? '0' : '1', ttl === undefined ? '' : String(ttl)]
    })
    return Number(
      await this.client.script(
        json ? APPLY_JSON : APPLY,
        operations.map(({ key }) => key),
        lookOnly ? [...values, 'look'] : values,
      ),
    )
  }

  private kindOf(operation: StateOperation): Kind {
    const json = this.hasJson && saysJson(operation.metadata)
    if (operation.kind === 'delete') return json ? 'jdel' : 'del'
    return json && (operation.json || isJson(operation.value)) ? 'jset' : 'set'
  }

  private refused(operation: StateOperation): string {
    return refusal(this.kindOf(operation), operation.key)
  }

  /** Strong consistency: the replicas have it too, or one second has passed. */
  private async settle(operation: StateOperation | undefined): Promise<void> {
    if (operation?.consistency !== 'strong' || this.replicas === 0) return
    const reached = Number(await this.client.call('WAIT', this.replicas, REPLICA_WAIT))
    if (reached < this.replicas)
      throw new Error(`state store ${this.context.name}: only ${reached} of ${this.replicas} replicas have the write`)
  }
}

function saysJson({ contentType }: Readonly<Record<string, string>>): boolean {
  return contentType === JSON_TYPE
}

/** With the metadata of the whole transaction. */
function asJson(operation: StateOperation): StateOperation {
  return { ...operation, metadata: { ...operation.metadata, contentType: JSON_TYPE } }
}

/** Bytes that a request calls JSON, as gRPC has them in transactions; others, such as what is encrypted, stay bytes in a hash. */
function isJson(value: Buffer): boolean {
  try {
    const parsed: unknown = JSON.parse(value.toString())
    return typeof parsed === 'object' && parsed !== null
  } catch {
    return false
  }
}

/** `0` stands for "none given". Last-write asks for none; a set takes numbers only. */
function etagOf(operation: StateOperation): string {
  if (operation.etag === undefined) return '0'
  if (operation.kind === 'delete') return operation.etag
  if (operation.concurrency === 'last-write') return '0'
  if (!/^[+-]?\d+$/.test(operation.etag))
    throw new EtagError('invalid', `strconv.Atoi: parsing ${JSON.stringify(operation.etag)}: invalid syntax`)
  return BigInt(operation.etag).toString()
}

/** A glob that lets through at least what the LIKE pattern does; the exact match is ours. */
function coarseGlob(pattern: string): string {
  let glob = ''
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] as string
    if (char === '%' || char === '_') glob += '*'
    else glob += (char === '\\' && at + 1 < pattern.length ? (pattern[++at] as string) : char).replace(/[*?[\]\\^-]/, '\\$&')
  }
  return glob
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Redis or a server that speaks its protocol.',
  metadata: fields,
  create: (context) => new RedisState(context),
}
