import { setTimeout as pause } from 'node:timers/promises'
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
import { messageOf } from '../../../errors.ts'
import type { AwsClient } from '../../aws/client.ts'
import { AwsError } from '../../aws/errors.ts'
import { type Account, openAccount } from '../../aws/open.ts'
import { DYNAMODB } from '../../aws/services.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { Failures } from '../bulk.ts'
import { type Item, itemsOf } from './items.ts'
import { type DynamoSettings, fields, readSettings } from './settings.ts'

/** Operations that one transaction of DynamoDB has. */
const MOST = 100
/** Keys of one batch of reads, items of one of writes. */
const KEYS = 100
const WRITES = 25
/** Batches under way at once. */
const PARALLEL = 16

/** State in a table of DynamoDB, items as daprd writes them. */
class DynamoState implements StateStore {
  readonly features: readonly StateFeature[]
  private readonly settings: DynamoSettings
  private readonly items: ReturnType<typeof itemsOf>
  private readonly account: Account
  private readonly client: AwsClient

  constructor(context: ComponentContext) {
    this.settings = readSettings(context.properties)
    this.features = this.settings.ttl === undefined ? ['ETAG', 'TRANSACTIONAL'] : ['ETAG', 'TRANSACTIONAL', 'TTL']
    this.items = itemsOf(this.settings)
    this.account = openAccount(this.settings.account)
    this.client = this.account.client(DYNAMODB)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.ping(signal)
  }

  /** Reads a key that is nobody's, as daprd does at the start. */
  async ping(signal?: AbortSignal): Promise<void> {
    try {
      await this.read({ key: 'dapr-test-table', metadata: {} }, signal)
    } catch (error) {
      throw new Error(`error validating DynamoDB table '${this.settings.table}' access: ${messageOf(error)}`, { cause: error })
    }
  }

  async maxTransactionSize(): Promise<number> {
    return MOST
  }

  async get(request: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    return this.items.read(await this.read(request, signal))
  }

  async set(item: StateSet, signal?: AbortSignal): Promise<void> {
    await this.client.json('PutItem', this.items.put(item), signal).catch((error: unknown) => refused(item, error))
  }

  async delete(item: StateDelete, signal?: AbortSignal): Promise<void> {
    await this.client.json('DeleteItem', this.items.remove(item), signal).catch((error: unknown) => refused(item, error))
  }

  /** In the order of the requests; 100 keys and 16 MiB in one request of DynamoDB, which leaves out what does not fit. */
  async bulkGet(requests: readonly StateGet[], signal?: AbortSignal): Promise<(StateItem | undefined)[]> {
    const found = new Map<string, StateItem | undefined>()
    const strong = requests.some(({ consistency }) => consistency === 'strong')
    await inParts([...new Set(requests.map(({ key }) => key))], KEYS, async (keys) => {
      const { partitionKey } = this.settings
      const ask = { Keys: keys.map((key) => this.items.keyOf(key)), ConsistentRead: strong }
      for (const item of await this.rest('BatchGetItem', ask, signal)) {
        const key = item[partitionKey]
        if (key && 'S' in key) found.set(key.S, this.items.read(item))
      }
    })
    return requests.map(({ key }) => found.get(key))
  }

  bulkSet(items: readonly StateSet[], signal?: AbortSignal): Promise<void> {
    return this.list(
      items,
      (item) => this.set(item, signal),
      (item) => ({ PutRequest: { Item: this.items.put(item).Item } }),
      signal,
    )
  }

  bulkDelete(items: readonly StateDelete[], signal?: AbortSignal): Promise<void> {
    return this.list(
      items,
      (item) => this.delete(item, signal),
      ({ key }) => ({ DeleteRequest: { Key: this.items.keyOf(key) } }),
      signal,
    )
  }

  /** A key may stand in a transaction once: its last operation counts. */
  async transact(operations: readonly StateOperation[], _metadata: unknown, signal?: AbortSignal): Promise<void> {
    const last = new Map<string, StateOperation>()
    for (const operation of operations) last.set(operation.key, { ...operation, etag: operation.etag ?? last.get(operation.key)?.etag })
    const wanted = [...last.values()]
    if (wanted.length === 0) return
    const TransactItems = wanted.map((operation) =>
      operation.kind === 'upsert' ? { Put: this.items.put(operation) } : { Delete: this.items.remove(operation) },
    )
    try {
      await this.client.json('TransactWriteItems', { TransactItems }, signal)
    } catch (error) {
      const reasons = error instanceof AwsError ? error.reasons : []
      const stale = wanted.find(({ etag }, index) => etag !== undefined && reasons[index] === 'ConditionalCheckFailed')
      throw stale ? new EtagError('mismatch', messageOf(error)) : error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.account[Symbol.asyncDispose]()
  }

  /** Items with a condition go alone, others together; where a batch is refused for one of its items, they too. */
  private async list<T extends StateOperation>(
    items: readonly T[],
    single: (item: T) => Promise<void>,
    request: (item: T) => unknown,
    signal?: AbortSignal,
  ): Promise<void> {
    const failures = new Failures()
    const alone = async (item: T) => single(item).catch((error: Error) => failures.add(item.key, error))
    const free = new Map<string, T>()
    const conditional: T[] = []
    for (const item of items) {
      if (item.etag !== undefined || item.concurrency === 'first-write') conditional.push(item)
      else free.set(item.key, item)
    }
    await inParts(conditional, 1, async ([item]) => item && alone(item))
    await inParts([...free.values()], WRITES, async (part) => {
      try {
        await this.rest('BatchWriteItem', part.map(request), signal)
      } catch (error) {
        if (part.length > 1 || !(error instanceof AwsError)) for (const item of part) await alone(item)
        else failures.add((part[0] as T).key, error)
      }
    })
    failures.throwAny()
  }

  /** A batch, and what DynamoDB left over of it, until nothing is; the items of a read. */
  private async rest(operation: 'BatchGetItem' | 'BatchWriteItem', wanted: unknown, signal?: AbortSignal): Promise<Item[]> {
    const { table } = this.settings
    const left = operation === 'BatchGetItem' ? 'UnprocessedKeys' : 'UnprocessedItems'
    const found: Item[] = []
    for (let ask: unknown = wanted, wait = 50; ; wait = Math.min(wait * 2, 2000)) {
      const reply = await this.client.json(operation, { RequestItems: { [table]: ask } }, signal)
      found.push(...((reply.Responses as Record<string, Item[]> | undefined)?.[table] ?? []))
      ask = (reply[left] as Record<string, unknown> | undefined)?.[table]
      if (ask === undefined) return found
      await pause(wait * (0.5 + Math.random() / 2), undefined, { signal })
    }
  }

  private async read({ key, consistency }: StateGet, signal?: AbortSignal): Promise<Item | undefined> {
    const request = { TableName: this.settings.table, Key: this.items.keyOf(key), ConsistentRead: consistency === 'strong' }
    return (await this.client.json('GetItem', request, signal)).Item as Item | undefined
  }
}

async function inParts<T>(all: readonly T[], size: number, work: (part: readonly T[]) => Promise<unknown>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < all.length) {
      const start = next
      next += size
      await work(all.slice(start, start + size))
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, Math.ceil(all.length / size)) }, worker))
}

function refused({ etag }: StateOperation, error: unknown): never {
  const conditional = error instanceof AwsError && error.code === 'ConditionalCheckFailedException'
  throw conditional && etag !== undefined ? new EtagError('mismatch', `${error.code}: ${error.words}`) : error
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in a table of AWS DynamoDB.',
  metadata: fields,
  create: (context) => new DynamoState(context),
}
