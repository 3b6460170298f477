import { randomUUID } from 'node:crypto'
import type { ClientSession, Filter } from 'mongodb'
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
import { Failures } from '../bulk.ts'
import { likeExpression } from '../like.ts'
import { readTtl } from '../ttl.ts'
import { toFind } from './query.ts'
import { type Collection, MongoServer } from './server.ts'
import { fields, type MongoSettings, readSettings } from './settings.ts'
import { readDocument, type Stored, toBson } from './value.ts'

type Document = Filter<{ _id: string }>

/** The server's own clock decides. Documents without the member never expire, as those with null in it. */
const LIVE: Document = { $or: [{ _ttl: null }, { $expr: { $gte: ['$_ttl', '$$NOW'] } }] }
const EXPIRED: Document = { _ttl: { $ne: null }, $expr: { $lt: ['$_ttl', '$$NOW'] } }
const DUPLICATE = 11_000
/** Keys of one question. */
const KEYS = 1000
/** Items with a condition of their own that are under way at once. */
const PARALLEL = 16

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
    await this.during((collection) => collection.createIndex({ _ttl: 1 }, { expireAfterSeconds: 0 }))
    if (!this.settings.replicaSet)
      this.context.log.info(
        `state store ${this.context.name}: no replicaSet in connectionString or params: MongoDB has no transactions then, and actors cannot use the store`,
      )
  }

  async ping(): Promise<void> {
    await this.server.ping()
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    return this.during(async (collection) => {
      const found = await collection.findOne({ _id: key, ...LIVE }, { raw: true })
      return found ? itemOf(this.read(found)) : undefined
    })
  }

  async bulkGet(requests: readonly StateGet[]): Promise<(StateItem | undefined)[]> {
    const found = new Map<string, StateItem>()
    const keys = [...new Set(requests.map(({ key }) => key))]
    for (let at = 0; at < keys.length; at += KEYS)
      await this.during(async (collection) => {
        const documents = collection.find({ _id: { $in: keys.slice(at, at + KEYS) }, ...LIVE }, { raw: true })
        for await (const document of documents) {
          const stored = this.read(document)
          found.set(stored.key, itemOf(stored))
        }
      })
    return requests.map(({ key }) => found.get(key))
  }

  set(item: StateSet): Promise<void> {
    return this.during((collection) => this.put(collection, item))
  }

  delete(item: StateDelete): Promise<void> {
    return this.during((collection) => this.remove(collection, item))
  }

  async bulkSet(items: readonly StateSet[]): Promise<void> {
    const free = new Map<string, StateSet>()
    const bound: StateSet[] = []
    for (const item of items) {
      if (item.etag !== undefined || item.concurrency === 'first-write') bound.push(item)
      else free.set(item.key, item)
    }
    const writes = [...free.values()].map((item) => ({
      updateOne: { filter: { _id: item.key }, update: this.update(item), upsert: true },
    }))
    if (writes.length) await this.during((collection) => collection.bulkWrite(writes, { ordered: false }))
    await each(bound, (item) => this.set(item))
  }

  async bulkDelete(items: readonly StateDelete[]): Promise<void> {
    const keys = items.filter(({ etag }) => etag === undefined).map(({ key }) => key)
    for (let at = 0; at < keys.length; at += KEYS)
      await this.during((collection) => collection.deleteMany({ _id: { $in: keys.slice(at, at + KEYS) } }))
    await each(
      items.filter(({ etag }) => etag !== undefined),
      (item) => this.delete(item),
    )
  }

  async query(query: unknown): Promise<StateQueryResult> {
    const { filter, sort, limit, skip } = toFind(query as StateQuery)
    return this.during(async (collection) => {
      const documents = await collection.find({ $and: [filter, LIVE] }, { raw: true, sort, skip, ...(limit ? { limit } : {}) }).toArray()
      const results = documents.map((document) => {
        const { key, data, etag } = this.read(document)
        return { key, data, ...(etag ? { etag } : {}) }
      })
      return limit ? { results, token: String(skip + results.length) } : { results }
    })
  }

  async keysLike(pattern: string, { size = 0, token }: { size?: number; token?: string }): Promise<KeysPage> {
    const expression = likeExpression(pattern, (char) => char.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&'))
    const after = token ? [{ _id: { $gt: token } }] : []
    return this.during(async (collection) => {
      const found = await collection
        .find(
          { $and: [{ _id: { $regex: expression, $options: 's' } }, LIVE, ...after] },
          { projection: { _id: 1 }, sort: { _id: 1 }, ...(size > 0 ? { limit: size + 1 } : {}) },
        )
        .toArray()
      const keys = found.map(({ _id }) => _id).slice(0, size > 0 ? size : undefined)
      return { keys, ...(keys.length < found.length ? { token: keys.at(-1) as string } : {}) }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.opened?.[Symbol.asyncDispose]()
  }

  protected get server(): MongoServer {
    if (!this.opened) throw new Error(`state store ${this.context.name} is not initialised`)
    return this.opened
  }

  protected async put(collection: Collection, item: StateSet, session?: ClientSession): Promise<void> {
    const { key, etag } = item
    const update = this.update(item)
    if (etag !== undefined) {
      const { matchedCount } = await collection.updateOne({ _id: key, _etag: etag, ...LIVE } as Document, update, { session })
      if (matchedCount === 0) throw new EtagError('mismatch', '')
      return
    }
    if (item.concurrency !== 'first-write') {
      await collection.updateOne({ _id: key }, update, { session, upsert: true })
      return
    }
    // Matches nothing, so that the server inserts or finds the key taken; a document that has only expired is written over.
    const nobody = { _id: key, _etag: randomUUID() } as Document
    if (session && (await collection.findOne({ _id: key }, { session }))) {
      // An insert that fails would end the transaction.
    } else {
      try {
        await collection.updateOne(nobody, update, { session, upsert: true })
        return
      } catch (error) {
        if (session || !isDuplicate(error)) throw error
      }
    }
    if ((await collection.updateOne({ _id: key, ...EXPIRED }, update, { session })).matchedCount === 0) throw new EtagError('mismatch', '')
  }

  protected async remove(collection: Collection, { key, etag }: StateDelete, session?: ClientSession): Promise<void> {
    const filter = etag === undefined ? { _id: key } : { _id: key, _etag: etag, ...LIVE }
    const { deletedCount } = await collection.deleteOne(filter as Document, { session })
    if (deletedCount === 0 && etag !== undefined) throw new EtagError('mismatch', '')
  }

  protected async during<T>(work: (collection: Collection) => Promise<T>): Promise<T> {
    return this.server.during(() => work(this.server.collection))
  }

  /** With a TTL it is a pipeline, for that counts from the server's clock; there, what a value holds could be taken for an expression. */
  private update(item: StateSet): Record<string, unknown> | Record<string, unknown>[] {
    const ttl = readTtl(item.metadata, 'failed to parse TTL: ') ?? 0
    const value = toBson(item, this.server.library.BSON)
    const _etag = randomUUID()
    if (ttl <= 0) return { $set: { value, _etag, _ttl: null } }
    return [{ $set: { value: { $literal: value }, _etag, _ttl: { $add: ['$$NOW', ttl * 1000] } } }]
  }

  /** With `raw` the library gives the bytes of a document, whatever its types say. */
  private read(document: unknown): Stored {
    return readDocument(document as Buffer, this.server.library.BSON)
  }
}

/** On a replica set there are transactions. */
class ReplicatedMongoState extends MongoState {
  override readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'QUERY_API', 'TTL', 'KEYS_LIKE']

  async transact(operations: readonly StateOperation[]): Promise<void> {
    const { collection } = this.server
    await this.server.transaction(async (session) => {
      for (const operation of operations) {
        if (operation.kind === 'upsert') await this.put(collection, operation, session)
        else await this.remove(collection, operation, session)
      }
    })
  }
}

function itemOf({ key: _, ...item }: Stored): StateItem {
  return item
}

function isDuplicate(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === DUPLICATE
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
