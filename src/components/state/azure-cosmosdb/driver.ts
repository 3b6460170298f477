import { randomUUID } from 'node:crypto'
import {
  type Consistency,
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateOperation,
  type StateQuery,
  type StateQueryResult,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import { messageOf } from '../../../errors.ts'
import { type BatchOperation, type CosmosConsistency, CosmosContainer, checkContainer, checkedId } from '../../azure/cosmos-container.ts'
import { CosmosError } from '../../azure/cosmos-error.ts'
import { cosmosFields, readCosmosSettings } from '../../azure/cosmos-settings.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { type BytesAs, bytesAs, dataOf, documentOf, itemOf, type StateDocument } from './documents.ts'
import { toSql } from './query.ts'

const fields: readonly MetadataField[] = [
  ...cosmosFields,
  {
    name: 'contentType',
    kind: 'string',
    default: 'application/json',
    description:
      'What bytes are that gRPC brings: objects of JSON (and bytes otherwise), text where it is text/…, bytes where it is anything else.',
  },
]

/** Operations of one transaction. */
const MOST = 100
/** Keys that one query of a bulk read names. */
const KEYS = 100
/** Bytes of values that one query answers with. */
const LARGEST = 256 << 20

type Metadata = Readonly<Record<string, string>>

/** State in a container of Cosmos DB, a document for each key, as daprd writes them. */
class CosmosState implements StateStore {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'QUERY_API', 'TTL', 'PARTITION_KEY']
  readonly #context: ComponentContext
  readonly #name: string
  readonly #as: BytesAs
  readonly #container: CosmosContainer

  constructor(context: ComponentContext) {
    const values = parseMetadata(fields, context.properties)
    this.#context = context
    this.#name = String(values.collection)
    this.#as = bytesAs(String(values.contentType))
    this.#container = new CosmosContainer(readCosmosSettings(values))
  }

  async init(signal: AbortSignal): Promise<void> {
    checkContainer(await this.#container.facts(signal), this.#name, this.#context.log)
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#container.facts(signal)
  }

  async maxTransactionSize(): Promise<number> {
    return MOST
  }

  async get({ key, consistency, metadata }: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    try {
      const body = await this.#container.read(checkedId(key), partitionOf(key, metadata), levelOf(consistency), signal)
      return itemOf(JSON.parse(body.toString()) as StateDocument)
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  async set(item: StateSet, signal?: AbortSignal): Promise<void> {
    const partition = partitionOf(item.key, item.metadata)
    const document = documentOf(item, partition, this.#as)
    await this.#container.upsert(document, partition, conditionOf(item), signal).catch(refused)
  }

  async delete(item: StateDelete, signal?: AbortSignal): Promise<void> {
    try {
      const partition = partitionOf(item.key, item.metadata)
      await this.#container.delete(checkedId(item.key), partition, conditionOf(item), signal)
    } catch (error) {
      if (!isAbsent(error)) refused(error)
    }
  }

  /** One query for 100 keys, whatever their partitions; of documents with one id, that of the request's partition counts first. */
  async bulkGet(requests: readonly StateGet[], signal?: AbortSignal): Promise<(StateItem | Error | undefined)[]> {
    const [only, ...more] = requests
    if (only && more.length === 0) return [await this.get(only, signal)]
    const keys = [...new Set(requests.map(({ key }) => key))]
    const consistency = levelOf(requests.find(({ consistency }) => consistency === 'strong')?.consistency ?? only?.consistency)
    const found = new Map<string, StateDocument[]>()
    for (let at = 0; at < keys.length; at += KEYS) {
      const parameters = keys.slice(at, at + KEYS).map((value, index) => ({ name: `@k${index}`, value }))
      const sql = `SELECT * FROM c WHERE c.id IN (${parameters.map(({ name }) => name).join()})`
      let continuation: string | undefined
      do {
        const page = await this.#container.query({ sql, parameters, partition: undefined, continuation, consistency }, signal)
        for (const document of page.documents as StateDocument[]) found.set(document.id, [...(found.get(document.id) ?? []), document])
        continuation = page.continuation
      } while (continuation !== undefined)
    }
    return requests.map(({ key, metadata }) => {
      const documents = found.get(key)
      const document = documents?.find(({ partitionKey }) => partitionKey === partitionOf(key, metadata)) ?? documents?.[0]
      return document && itemOf(document)
    })
  }

  /** In the partition of the transaction's own metadata, as daprd has it. What is to be deleted and is not there is left out. */
  async transact(operations: readonly StateOperation[], metadata: Metadata, signal?: AbortSignal): Promise<void> {
    const partition = metadata.partitionKey ?? ''
    const left = operations.map((operation, index) => ({ operation, index, sent: this.#sent(operation, partition) }))
    while (left.length > 0) {
      const sent = left.map((one) => one.sent)
      const statuses = await this.#container.batch(sent, partition, signal)
      const failed = statuses.findIndex((status) => status !== 424 && status >= 300)
      if (failed < 0) return
      const { operation, index } = left[failed] as (typeof left)[number]
      if (statuses[failed] !== 404 || operation.kind !== 'delete' || operation.etag !== undefined)
        throw new Error(`transaction failed due to operation ${index} which failed with status code ${statuses[failed]}`)
      left.splice(failed, 1)
    }
  }

  /** A page has as many as the query's limit says: its token leaves out none. */
  async query(query: unknown, metadata: Metadata, signal?: AbortSignal): Promise<StateQueryResult> {
    const { limit, token, ...wanted } = query as StateQuery
    const results: StateQueryResult['results'] = []
    let continuation: string | undefined = token === '' ? undefined : token
    let size = 0
    do {
      const most = limit > 0 ? limit - results.length : undefined
      const question = { ...toSql(wanted), partition: metadata.partitionKey || undefined, most, continuation }
      const page = await this.#container.query(question, signal).catch(unserved)
      for (const document of page.documents as StateDocument[]) {
        const data = dataOf(document)
        size += data.length
        if (size > LARGEST) throw new Error(`the query finds more than ${LARGEST} bytes: ask for pages, by page.limit`)
        results.push({ key: document.id, data, etag: document._etag })
      }
      continuation = page.continuation
    } while (continuation !== undefined && (limit === 0 || results.length < limit))
    return { results, ...(continuation !== undefined && { token: continuation }) }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#container[Symbol.asyncDispose]()
  }

  #sent(operation: StateOperation, partition: string): BatchOperation {
    const ifMatch = conditionOf(operation)
    const common = ifMatch === undefined ? {} : { ifMatch }
    return operation.kind === 'upsert'
      ? { operationType: 'Upsert', ...common, resourceBody: documentOf(operation, partition, this.#as) }
      : { operationType: 'Delete', ...common, id: checkedId(operation.key) }
  }
}

function partitionOf(key: string, metadata: Metadata): string {
  return metadata.partitionKey ?? key
}

/** An account's consistency can only be loosened: what is strong here is to read what this sidecar wrote. */
function levelOf(consistency: Consistency | undefined): CosmosConsistency | undefined {
  return consistency && (consistency === 'strong' ? 'Session' : 'Eventual')
}

/** What no document has refuses to overwrite any, and lets a new one be made. */
function conditionOf({ etag, concurrency }: StateOperation): string | undefined {
  return etag ?? (concurrency === 'first-write' ? randomUUID() : undefined)
}

/** Not for a container that is gone. */
function isAbsent(error: unknown): boolean {
  return error instanceof CosmosError && error.status === 404 && error.substatus === 0
}

function refused(error: unknown): never {
  throw error instanceof CosmosError && error.status === 412 ? new EtagError('mismatch', messageOf(error)) : error
}

function unserved(error: unknown): never {
  if (!(error instanceof CosmosError) || error.status !== 400 || error.substatus !== 1004) throw error
  throw new Error(
    `Cosmos DB sorts no query over several partitions: name one by metadata.partitionKey, or leave sort out (${error.message})`,
    {
      cause: error,
    },
  )
}

/** state.azure.cosmosdb */
export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in a container of Azure Cosmos DB, a document for each key.',
  metadata: fields,
  create: (context) => new CosmosState(context),
}
