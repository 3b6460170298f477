import { type ComponentSet, explained, type Named } from '../../components/sets.ts'
import { messageOf } from '../../errors.ts'
import { type Around, once } from '../around.ts'
import type { Trace } from '../pubsub/cloud-event.ts'
import type {
  Concurrency,
  Consistency,
  StateDelete,
  StateGet,
  StateItem,
  StateOperation,
  StateQueryResult,
  StateSet,
  StateStore,
} from './driver.ts'
import { eachGet } from './each-get.ts'
import { type Encryption, encryptionOf, plainOf } from './encryption.ts'
import * as errors from './errors.ts'
import type { BulkGetItem, DeleteItem, SaveItem, TransactionItem, WriteOptions } from './items.ts'
import { keyPrefix, originalKey, SEPARATOR } from './keys.ts'
import { checkOptions, writeAll } from './list-write.ts'
import { readQuery } from './query.ts'

/** Turns the operations of a transaction (stored keys, values in clear) into those to run, after publishing their outbox events. */
export type PublishOutbox = (
  store: Named<StateStore>,
  operations: readonly StateOperation[],
  signal?: AbortSignal,
  trace?: Trace,
) => Promise<readonly StateOperation[]>

export interface StateBlockOptions {
  stores: ComponentSet<StateStore>
  appId: string
  namespace: string
  publishOutbox?: PublishOutbox | undefined
  /** The policies around each call to a store; operations are named as this block's methods. */
  around?: Around | undefined
  /** Name of the secret that a store's property was read from; encryption keys must come from one. */
  secretName?: ((store: string, property: string) => string | undefined) | undefined
}

/** The state building block, once for both wires. Rejections are OutriderErrors in their gRPC form; `overHttp` makes the HTTP form. */
export interface StateBlock {
  readonly appId: string
  /** Throws what a request to this store (for this capability) is refused with, before its body is looked at. */
  require(store: string, capability?: 'transaction' | 'query'): void
  get(
    store: string,
    request: { key: string; consistency?: string | undefined; metadata: Readonly<Record<string, string>> },
    signal?: AbortSignal,
  ): Promise<StateItem | undefined>
  save(store: string, items: readonly SaveItem[], signal?: AbortSignal): Promise<void>
  delete(store: string, item: DeleteItem, signal?: AbortSignal): Promise<void>
  bulkDelete(store: string, items: readonly DeleteItem[], signal?: AbortSignal): Promise<void>
  /** One entry a key. `parallelism` ≤ 0 or absent: a hundred at a time. */
  bulkGet(
    store: string,
    request: { keys: readonly string[]; parallelism?: number | undefined; metadata: Readonly<Record<string, string>> },
    signal?: AbortSignal,
  ): Promise<BulkGetItem[]>
  /** Item metadata wins nothing over `metadata` here: the caller merges them as its wire says. `trace`: for outbox events. */
  transact(
    store: string,
    operations: readonly TransactionItem[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
    trace?: Trace,
  ): Promise<void>
  /** `query` is the JSON text; keys come back as the apps gave them. */
  query(store: string, query: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<StateQueryResult>
  /** Checks the block's own settings of a store (keyPrefix, encryption keys) when it is loaded; throws MetadataError. */
  check(store: Named<StateStore>): void
}

interface Settings {
  prefix: string
  encryption: Encryption | undefined
}

/** Makes the block over a live set of stores. */
export function createStateBlock(options: StateBlockOptions): StateBlock {
  const { stores, appId, namespace } = options
  const around = options.around ?? once
  const settings = new WeakMap<Named<StateStore>, Settings>()

  const settingsOf = (store: Named<StateStore>): Settings => {
    let found = settings.get(store)
    if (!found) {
      found = { prefix: keyPrefix(store, appId, namespace), encryption: encryptionOf(store, options.secretName ?? (() => undefined)) }
      settings.set(store, found)
    }
    return found
  }

  const find = (name: string): Named<StateStore> => {
    const store = stores.get(name)
    if (store) return store
    throw explained(stores.size === 0 ? errors.notConfigured(name) : errors.notFound(name, stores.keys()), stores, name)
  }

  const storedKey = (store: Named<StateStore>, key: string): string => {
    if (key.includes(SEPARATOR)) throw errors.illegalKey(key, store.name)
    return settingsOf(store).prefix + key
  }

  const decrypt = (store: Named<StateStore>, item: StateItem | undefined): StateItem | undefined => {
    const { encryption } = settingsOf(store)
    return item && encryption ? { ...item, data: encryption.decrypt(item.data) } : item
  }

  const encrypt = <T extends StateOperation>(store: Named<StateStore>, operation: T): T => {
    const { encryption } = settingsOf(store)
    if (!encryption || operation.kind !== 'upsert') return operation
    try {
      return { ...operation, value: encryption.encrypt(plainOf(operation.value, operation.json)), json: false }
    } catch (error) {
      throw errors.encryptionFailed(store.name, error)
    }
  }

  const toSet = (store: Named<StateStore>, item: SaveItem): StateSet => ({
    kind: 'upsert',
    ...written(store, item),
    value: item.value,
    json: item.json,
    ...(item.contentType !== undefined && { contentType: item.contentType }),
  })
  const toDelete = (store: Named<StateStore>, item: DeleteItem): StateDelete => ({
    kind: 'delete',
    ...written(store, item),
  })
  const written = (store: Named<StateStore>, item: WriteOptions) => ({
    key: storedKey(store, item.key),
    etag: item.etag === '' ? undefined : item.etag,
    // Unknown words are refused by checkOptions before the store sees them.
    concurrency: (item.concurrency || undefined) as Concurrency | undefined,
    consistency: (item.consistency || undefined) as Consistency | undefined,
    metadata: item.metadata,
  })

  return {
    appId,
    check: (store) => void settingsOf(store),

    require(name, capability) {
      const store = find(name)
      if (capability === 'transaction' && !store.component.transact) throw errors.notTransactional(name)
      if (capability === 'query' && !store.component.query) throw errors.notQueryable(name)
    },

    async get(name, request, signal) {
      const store = find(name)
      const key = storedKey(store, request.key)
      try {
        const item = await around(
          name,
          'get',
          (limit) => store.component.get({ key, consistency: readConsistency(request.consistency), metadata: request.metadata }, limit),
          signal,
        )
        return decrypt(store, item)
      } catch (error) {
        throw errors.getFailed(request.key, name, error)
      }
    },

    async save(name, items, signal) {
      const store = find(name)
      const sets = items.map((item) => {
        if (item.key === '') throw errors.emptyKey()
        return encrypt(store, toSet(store, item))
      })
      const { component } = store
      await writeAll(
        {
          store: name,
          operation: 'set',
          items: sets,
          bulk: component.bulkSet?.bind(component),
          single: component.set.bind(component),
          failed: (causes, list) => errors.saveFailed(name, causes, list),
        },
        around,
        signal,
      )
    },

    async delete(name, item, signal) {
      const store = find(name)
      const request = toDelete(store, item)
      try {
        checkOptions(request)
        await around(name, 'delete', (limit) => store.component.delete(request, limit), signal)
      } catch (error) {
        throw errors.deleteFailed(item.key, error)
      }
    },

    async bulkDelete(name, items, signal) {
      const store = find(name)
      const deletes = items.map((item) => toDelete(store, item))
      const { component } = store
      await writeAll(
        {
          store: name,
          operation: 'bulk_delete',
          items: deletes,
          bulk: component.bulkDelete?.bind(component),
          single: component.delete.bind(component),
          failed: (causes, list) => errors.bulkDeleteFailed(name, causes, list),
        },
        around,
        signal,
      )
    },

    async bulkGet(name, request, signal) {
      const store = find(name)
      const gets: StateGet[] = request.keys.map((key) => ({ key: storedKey(store, key), metadata: request.metadata }))
      if (gets.length === 0) return []
      let found: (StateItem | Error | undefined)[]
      try {
        found = await around(
          name,
          'bulk_get',
          (limit) =>
            store.component.bulkGet ? store.component.bulkGet(gets, limit) : eachGet(store.component, gets, request.parallelism, limit),
          signal,
        )
      } catch (error) {
        throw errors.bulkGetFailed(error)
      }
      const items = request.keys.map((key, index): BulkGetItem => {
        try {
          const answer = found[index]
          if (answer instanceof Error) return { key, error: answer.message }
          const item = decrypt(store, answer)
          return item ? { key, item } : { key }
        } catch (error) {
          return { key, error: messageOf(error) }
        }
      })
      // Stores that answer a whole list at once list what they found first, as they do under Dapr.
      return store.component.bulkGet
        ? [...items.filter((item) => item.item || item.error), ...items.filter((item) => !item.item && !item.error)]
        : items
    },

    async transact(name, items, metadata, signal, trace) {
      const store = find(name)
      const { transact } = store.component
      if (!transact) throw errors.notTransactional(name)
      let operations: readonly StateOperation[] = items.map((item): StateOperation => {
        if (item.operation === 'upsert' && 'value' in item) return toSet(store, item)
        if (item.operation === 'delete') return toDelete(store, item)
        storedKey(store, item.key)
        throw errors.unsupportedOperation(item.operation)
      })
      if (operations.length === 0) return
      const most = await store.component.maxTransactionSize?.()
      if (most !== undefined && operations.length > most) throw errors.tooManyOperations(name, operations.length, most)
      if (options.publishOutbox && store.properties.outboxpublishpubsub && store.properties.outboxpublishtopic)
        operations = await options.publishOutbox(store, operations, signal, trace)
      const sealed = operations.map((operation) => encrypt(store, operation))
      try {
        for (const operation of sealed) checkOptions(operation)
        await around(name, 'transaction', (limit) => transact.call(store.component, sealed, metadata, limit), signal)
      } catch (error) {
        throw errors.transactionFailed(error)
      }
    },

    async query(name, text, metadata, signal) {
      const store = find(name)
      const { query } = store.component
      if (!query) throw errors.notQueryable(name)
      try {
        if (settingsOf(store).encryption) throw new Error('cannot query encrypted store')
        const parsed = readQuery(text)
        const answer = await around(name, 'query', (limit) => query.call(store.component, parsed, metadata, limit), signal)
        return { ...answer, results: answer.results.map((result) => ({ ...result, key: originalKey(result.key) })) }
      } catch (error) {
        throw errors.queryFailed(name, error)
      }
    },
  }
}

/** Odd words are let through on reads, as Dapr does: they ask for nothing. */
function readConsistency(word: string | undefined): Consistency | undefined {
  return word === 'strong' || word === 'eventual' ? word : undefined
}
