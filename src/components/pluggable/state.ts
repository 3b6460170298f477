import type {
  Filter,
  StateDelete,
  StateFeature,
  StateGet,
  StateItem,
  StateOperation,
  StateQuery,
  StateQueryResult,
  StateSet,
  StateStore,
} from '../../blocks/state/driver.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { InputOf, MessageOf, MessageType } from '../../transport/grpc/message.ts'
import type { ComponentContext } from '../component.ts'
import { Nothing } from './common-messages.ts'
import { Connection } from './connection.ts'
import { stateError } from './state-errors.ts'
import * as messages from './state-messages.ts'

const CONCURRENCY = { 'first-write': 1, 'last-write': 2 } as const
const CONSISTENCY = { eventual: 1, strong: 2 } as const
const MAX_SIZE_TIMEOUT = 5000

/** A state store behind a socket. */
export class PluggableState implements StateStore {
  features: readonly StateFeature[] = []
  transact?: StateStore['transact']
  readonly #connection: Connection
  readonly #log: Logger
  #maxSize: Promise<number | undefined> | undefined

  constructor(socket: string, context: ComponentContext) {
    this.#log = context.log
    this.#connection = new Connection({
      socket,
      instance: context.name,
      start: async (connection, signal) => {
        await connection.init('StateStore', context.properties, signal)
        this.features = (await connection.features('StateStore', signal)) as StateFeature[]
        if (this.features.includes('TRANSACTIONAL')) this.transact = this.#transact
        else delete this.transact
        this.#maxSize = undefined
      },
    })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#connection.ready(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#connection.ping('StateStore', signal)
  }

  async get(request: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    return itemOf(await this.#call('StateStore/Get', messages.GetRequest, messages.GetResponse, toGet(request), signal))
  }

  async set(item: StateSet, signal?: AbortSignal): Promise<void> {
    await this.#call('StateStore/Set', messages.SetRequest, Nothing, toSet(item), signal)
  }

  async delete(item: StateDelete, signal?: AbortSignal): Promise<void> {
    await this.#call('StateStore/Delete', messages.DeleteRequest, Nothing, toDelete(item), signal)
  }

  async bulkGet(requests: readonly StateGet[], signal?: AbortSignal): Promise<(StateItem | Error | undefined)[]> {
    const request = { items: requests.map(toGet), options: {} }
    const { items } = await this.#call('StateStore/BulkGet', messages.BulkGetRequest, messages.BulkGetResponse, request, signal)
    const found = new Map(items.map((item) => [item.key, item]))
    return requests.map(({ key }) => {
      const item = found.get(key)
      return item?.error ? new Error(item.error) : item && itemOf(item)
    })
  }

  async bulkSet(items: readonly StateSet[], signal?: AbortSignal): Promise<void> {
    await this.#call('StateStore/BulkSet', messages.BulkSetRequest, Nothing, { items: items.map(toSet), options: {} }, signal)
  }

  async bulkDelete(items: readonly StateDelete[], signal?: AbortSignal): Promise<void> {
    await this.#call('StateStore/BulkDelete', messages.BulkDeleteRequest, Nothing, { items: items.map(toDelete), options: {} }, signal)
  }

  /** Asked of every store; one that cannot answers so. */
  async query(given: unknown, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<StateQueryResult> {
    const request = { query: toQuery(given as StateQuery), metadata }
    const reply = await this.#call('QueriableStateStore/Query', messages.QueryRequest, messages.QueryResponse, request, signal)
    return {
      results: reply.items.map(({ key, data, etag, error }) => ({
        key,
        data,
        ...(etag ? { etag: etag.value } : {}),
        ...(error ? { error } : {}),
      })),
      token: reply.token,
      metadata: reply.metadata,
    }
  }

  /** Operations that one transaction may have; undefined: any number. */
  maxTransactionSize(): Promise<number | undefined> {
    this.#maxSize ??= this.#connection
      .call(
        'TransactionalStoreMultiMaxSize/MultiMaxSize',
        Nothing,
        messages.MultiMaxSizeResponse,
        {},
        AbortSignal.timeout(MAX_SIZE_TIMEOUT),
      )
      .then(
        ({ maxSize }) => (maxSize > 0 ? maxSize : undefined),
        (error: unknown) => {
          this.#log.debug(`the component does not tell how large a transaction may be: ${error}`)
          return undefined
        },
      )
    return this.#maxSize
  }

  async #transact(operations: readonly StateOperation[], metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<void> {
    const request = {
      operations: operations.map((operation) =>
        operation.kind === 'upsert' ? { set: toSet(operation) } : { delete: toDelete(operation) },
      ),
      metadata,
    }
    await this.#call('TransactionalStateStore/Transact', messages.TransactRequest, Nothing, request, signal)
  }

  async #call<I, T, RI>(method: string, request: MessageType<unknown, I>, response: MessageType<T, RI>, value: I, signal?: AbortSignal) {
    try {
      return await this.#connection.call(method, request, response, value, signal)
    } catch (error) {
      throw stateError(error, method)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#connection[Symbol.asyncDispose]()
  }
}

type Item = Pick<MessageOf<typeof messages.GetResponse>, 'data' | 'etag' | 'metadata' | 'contentType'>

/** An answer without data and ETag is that of a missing key. */
function itemOf({ data, etag, metadata, contentType }: Item): StateItem | undefined {
  if (data.length === 0 && !etag) return undefined
  return { data, etag: etag?.value, metadata, contentType: contentType || undefined }
}

function toGet({ key, metadata, consistency }: StateGet): InputOf<typeof messages.GetRequest> {
  return { key, metadata, consistency: consistency && CONSISTENCY[consistency] }
}

function toSet(item: StateSet): InputOf<typeof messages.SetRequest> {
  if (item.json && item.value.equals(NULL)) throw new Error('an attempt to set a nil value was received, try to use Delete instead')
  return { value: item.value, ...written(item), contentType: item.metadata.contentType }
}

const NULL = Buffer.from('null')

function toDelete(item: StateDelete): InputOf<typeof messages.DeleteRequest> {
  return written(item)
}

function written({ key, etag, metadata, concurrency, consistency }: StateOperation) {
  return {
    key,
    metadata,
    etag: etag === undefined ? undefined : { value: etag },
    options: { concurrency: concurrency && CONCURRENCY[concurrency], consistency: consistency && CONSISTENCY[consistency] },
  }
}

function toQuery({ filter, sort, limit, token }: StateQuery): NonNullable<InputOf<typeof messages.QueryRequest>['query']> {
  const [entry] = filter ? Object.entries(filterJson(filter)) : []
  return {
    filter: entry ? { [entry[0]]: { value: Buffer.from(JSON.stringify(entry[1])) } } : {},
    sort: sort.map(({ key, descending }) => ({ key, order: descending ? 1 : 0 })),
    pagination: { limit, token },
  }
}

/** A filter as the app wrote it. */
function filterJson(filter: Filter): Record<string, unknown> {
  if ('filters' in filter) return { [filter.op]: filter.filters.map(filterJson) }
  return { [filter.op]: { [filter.key]: 'values' in filter ? filter.values : filter.value } }
}
