import { randomUUID } from 'node:crypto'
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
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type Document, Encoded, encode } from '../../mongodb/bson.ts'
import { MongoError } from '../../mongodb/errors.ts'
import { Failures } from '../bulk.ts'
import { likeExpression } from '../like.ts'
import { readTtl } from '../ttl.ts'
import { toFind } from './query.ts'
import { MongoServer, type MongoTransaction } from './server.ts'
import { fields, type MongoSettings, readSettings } from './settings.ts'
import { readDocument, type Stored, toBson } from './value.ts'

/** The server's own clock decides. Documents without the member never expire, as those with null in it. */
const LIVE: Document = { $or: [{ _ttl: null }, { $expr: { $gte: ['$_ttl', '$$NOW'] } }] }
const EXPIRED: Document = { _ttl: { $ne: null }, $expr: { $lt: ['$_ttl', '$$NOW'] } }
const DUPLICATE = 11_000
/** Keys of one question. */
const KEYS = 1000
/** Items with a condition of their own that are under way at once. */
const PARALLEL = 16
/** Bytes of one command, within the 16 MiB of a document. */
const BYTES = 15 << 20

/** State in a MongoDB collection, documents as daprd writes them. */
class MongoState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[] = ['ETAG', 'QUERY_API', 'TTL', 'KEYS_LIKE']
  protected readonly context: ComponentContext
  protected readonly settings: MongoSettings
  private opened: MongoServer | undefined

  constructor(context: ComponentContext, settings: MongoSettings) {
    this.context = context
    this.settings = settings
  }

  async init(): Promise<void> {
    this.opened ??= await MongoServer.open(`state store ${this.context.name}`, this.settings)
    await this.server.ping()
    if (!(await this.server.createIndex('_ttl_1', { _ttl: 1 }, { expireAfterSeconds: 0 })))
      this.context.log.warn(
        `state store ${this.context.name}: the server has no indexes that expire: what is past its TTL stays in it, unseen`,
      )
    if (!this.settings.replicaSet)
      this.context.log.info(
        `state store ${this.context.name}: no replicaSet in connectionString or params: MongoDB has no transactions then, and actors cannot use the store`,
      )
  }

  async ping(): Promise<void> {
    await this.server.ping()
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    const [found] = await this.server.find({ filter: { _id: key, ...LIVE }, limit: 1, singleBatch: true })
    return found ? itemOf(readDocument(found)) : undefined
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const found = new Map<string, StateItem>()
    const keys = [...new Set(requests.map(({ key }) => key))]
    for (let at = 0; at < keys.length; at += KEYS)
      for (const document of await this.server.find({ filter: { _id: { $in: keys.slice(at, at + KEYS) }, ...LIVE }, batchSize: KEYS })) {
        const stored = readDocument(document)
        found.set(stored.key, itemOf(stored))
      }
    return requests.map(({ key }) => found.get(key))
  }

  set(item: StateSet): Promise<void> {
    return this.put(this.server, item)
  }

  delete(item: StateDelete): Promise<void> {
    return this.remove(this.server, item)
  }

  async bulkSet(items: readonly StateSet[]): Promise<void> {
    const free = new Map<string, StateSet>()
    const bound: StateSet[] = []
    for (const item of items) {
      if (item.etag !== undefined || item.concurrency === 'first-write') bound.push(item)
      else free.set(item.key, item)
    }
    for (const statements of batches([...free.values()].map((item) => this.upsert(item))))
      await this.server.write('update', statements, false)
    await each(bound, (item) => this.set(item))
  }

  async bulkDelete(items: readonly StateDelete[]): Promise<void> {
    const keys = items.filter(({ etag }) => etag === undefined).map(({ key }) => key)
    for (let at = 0; at < keys.length; at += KEYS)
      await this.server.write('delete', [{ q: { _id: { $in: keys.slice(at, at + KEYS) } }, limit: 0 }])
    await each(
      items.filter(({ etag }) => etag !== undefined),
      (item) => this.delete(item),
    )
  }

  async query(query: unknown): Promise<StateQueryResult> {
    const { filter, sort, limit, skip } = toFind(query as StateQuery)
    const page = { sort, skip, ...(limit ? { limit } : {}), batchSize: KEYS }
    const results = (await this.server.find({ filter: { $and: [filter, LIVE] }, ...page })).map((document) => {
      const { key, data, etag } = readDocument(document)
      return { key, data, ...(etag ? { etag } : {}) }
    })
    return limit ? { results, token: String(skip + results.length) } : { results }
  }

  async keysLike(pattern: string, { size = 0, token }: { size?: number; token?: string }): Promise<KeysPage> {
    const expression = likeExpression(pattern, (char) => char.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&'))
    const after = token ? [{ _id: { $gt: token } }] : []
    const found = await this.server.find({
      filter: { $and: [{ _id: { $regex: expression, $options: 's' } }, LIVE, ...after] },
      projection: { _id: 1 },
      sort: { _id: 1 },
      ...(size > 0 ? { limit: size + 1 } : {}),
      batchSize: KEYS,
    })
    const keys = found.slice(0, size > 0 ? size : undefined).map((document) => readDocument(document).key)
    return { keys, ...(keys.length < found.length ? { token: keys.at(-1) as string } : {}) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.opened?.[Symbol.asyncDispose]()
  }

  protected get server(): MongoServer {
    if (!this.opened) throw new Error(`state store ${this.context.name} is not initialised`)
    return this.opened
  }

  protected async put(server: MongoServer | MongoTransaction, item: StateSet): Promise<void> {
    const { key, etag } = item
    const statement = this.upsert(item)
    if (etag !== undefined) {
      const found = await server.write('update', [{ ...statement, q: { _id: key, _etag: etag, ...LIVE }, upsert: false }])
      if (found === 0) throw new EtagError('mismatch', '')
      return
    }
    if (item.concurrency !== 'first-write') {
      await server.write('update', [statement])
      return
    }
    if (server instanceof MongoServer) {
      try {
        // Matches nothing, so that the server inserts or finds the key taken.
        await server.write('update', [{ ...statement, q: { _id: key, _etag: randomUUID() } }])
        return
      } catch (error) {
        if (!isDuplicate(error)) throw error
      }
      // In a transaction an insert that fails would be the end of it.
    } else if ((await server.find({ filter: { _id: key }, projection: { _id: 1 }, limit: 1, singleBatch: true })).length === 0) {
      await server.write('update', [statement])
      return
    }
    // What has only expired is written over.
    if ((await server.write('update', [{ ...statement, q: { _id: key, ...EXPIRED }, upsert: false }])) === 0)
      throw new EtagError('mismatch', '')
  }

  protected async remove(server: MongoServer | MongoTransaction, { key, etag }: StateDelete): Promise<void> {
    const q = etag === undefined ? { _id: key } : { _id: key, _etag: etag, ...LIVE }
    if ((await server.write('delete', [{ q, limit: 1 }])) === 0 && etag !== undefined) throw new EtagError('mismatch', '')
  }

  /** With a TTL it is a pipeline, for that counts from the server's clock; there, what a value holds could be taken for an expression. */
  private upsert(item: StateSet): Document {
    const ttl = readTtl(item.metadata, 'failed to parse TTL: ') ?? 0
    const value = toBson(item)
    const _etag = randomUUID()
    const u =
      ttl <= 0
        ? { $set: { value, _etag, _ttl: null } }
        : [{ $set: { value: { $literal: value }, _etag, _ttl: { $add: ['$$NOW', ttl * 1000] } } }]
    return { q: { _id: item.key }, u, upsert: true }
  }
}

/** On a replica set there are transactions. */
class ReplicatedMongoState extends MongoState {
  override readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'QUERY_API', 'TTL', 'KEYS_LIKE']

  async transact(operations: readonly StateOperation[]): Promise<void> {
    await this.server.transaction(async (inside) => {
      for (const operation of operations) {
        if (operation.kind === 'upsert') await this.put(inside, operation)
        else await this.remove(inside, operation)
      }
    })
  }
}

function itemOf({ key: _, ...item }: Stored): StateItem {
  return item
}

function isDuplicate(error: unknown): boolean {
  return error instanceof MongoError && error.code === DUPLICATE
}

/** Statements as commands can hold them. */
function* batches(statements: readonly Document[]): Generator<Encoded[]> {
  let batch: Encoded[] = []
  let bytes = 0
  for (const statement of statements) {
    const encoded = encode(statement)
    if (batch.length === KEYS || (bytes + encoded.length > BYTES && batch.length)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(new Encoded(encoded))
    bytes += encoded.length
  }
  if (batch.length) yield batch
}

/** Every item on its own, some at once; those that failed are named together. */
async function each<T extends StateOperation>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const failures = new Failures()
  const waiting = items.values()
  const worker = async () => {
    for (const item of waiting) await work(item).catch((error: Error) => failures.add(item.key, error))
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker))
  failures.throwAny()
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in MongoDB: documents with queries, on a replica set with transactions.',
  metadata: fields,
  create(context) {
    const settings = readSettings(context.properties)
    return settings.replicaSet ? new ReplicatedMongoState(context, settings) : new MongoState(context, settings)
  },
}
