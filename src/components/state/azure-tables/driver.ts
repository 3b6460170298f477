import { isUtf8 } from 'node:buffer'
import {
  EtagError,
  type StateDelete,
  type StateFeature,
  type StateGet,
  type StateItem,
  type StateSet,
  type StateStore,
} from '../../../blocks/state/driver.ts'
import { messageOf } from '../../../errors.ts'
import { percentEncoded } from '../../aws/sign.ts'
import { StorageClient, StorageError, type StorageRequest } from '../../azure/storage-client.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { fields, readTableSettings, type TableSettings } from './settings.ts'

interface Entity {
  Value?: unknown
  'Value@odata.type'?: string
}

/** What Cosmos DB's table API has in place of an empty row key, by daprd's name. */
const EMPTY_ROW = '_dapr_empty_row_key_value_'
const JSON_HEADERS = {
  accept: 'application/json;odata=minimalmetadata',
  dataserviceversion: '3.0',
  'content-type': 'application/json',
  prefer: 'return-no-content',
}

/** An entity for each key, as daprd lays it out: the app before `||` is the partition, the rest the row, and `Value` a text. Bytes that are no text, which daprd spoils, are kept as bytes. */
class TableState implements StateStore {
  readonly features: readonly StateFeature[] = ['ETAG']
  readonly #settings: TableSettings
  readonly #client: StorageClient

  constructor(context: ComponentContext) {
    this.#settings = readTableSettings(context.properties)
    this.#client = new StorageClient(this.#settings)
  }

  async init(signal: AbortSignal): Promise<void> {
    const { managed, name, entra } = this.#settings
    await entra?.token(signal)
    if (!managed) return
    try {
      await this.#send({ method: 'POST', path: 'Tables', body: Buffer.from(JSON.stringify({ TableName: name })) }, signal)
    } catch (error) {
      if (hasCode(error, 'TableAlreadyExists')) return
      throw new Error(`failed to create Azure table ${name}: ${messageOf(error)}`, { cause: error })
    }
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#entity('outrider-ping', signal)
  }

  async get({ key }: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    const found = await this.#entity(key, signal)
    if (!found) return undefined
    const { Value: value, 'Value@odata.type': type } = JSON.parse(found.body.toString()) as Entity
    const etag = found.headers.etag
    if (value === undefined || value === null) return { data: Buffer.alloc(0), etag }
    if (typeof value !== 'string') throw new Error("expected string in column 'Value'")
    return { data: Buffer.from(value, type === 'Edm.Binary' ? 'base64' : 'utf8'), etag }
  }

  /** With an ETag or without a condition it is one request; where nothing is there for an ETag to name, the item is made, as in daprd. */
  async set(item: StateSet, signal?: AbortSignal): Promise<void> {
    const { key, etag, concurrency } = item
    const body = Buffer.from(JSON.stringify({ ...this.#names(key), ...contentOf(item) }))
    const update = (headers: Record<string, string>) => this.#send({ method: 'PUT', path: this.#pathOf(key), headers, body }, signal)
    try {
      if (etag === undefined && concurrency !== 'first-write') await update({})
      else if (etag === undefined) await this.#insert(body, signal)
      else await update({ 'if-match': etag }).catch((error) => (isMissing(error) ? this.#insert(body, signal) : Promise.reject(error)))
    } catch (error) {
      if (hasCode(error, 'UpdateConditionNotSatisfied')) throw new EtagError('mismatch', messageOf(error))
      if (hasCode(error, 'EntityAlreadyExists')) throw new EtagError('mismatch', 'update with Concurrency.FirstWrite without ETag')
      throw error
    }
  }

  async delete({ key, etag }: StateDelete, signal?: AbortSignal): Promise<void> {
    try {
      await this.#send({ method: 'DELETE', path: this.#pathOf(key), headers: { 'if-match': etag ?? '*' } }, signal)
    } catch (error) {
      if (etag !== undefined && error instanceof StorageError) throw new EtagError('mismatch', messageOf(error))
      if (!isMissing(error)) throw error
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }

  async #entity(key: string, signal?: AbortSignal) {
    try {
      return await this.#send({ method: 'GET', path: this.#pathOf(key) }, signal)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  #insert(body: Buffer, signal?: AbortSignal) {
    return this.#send({ method: 'POST', path: encodeURIComponent(this.#settings.name), body }, signal)
  }

  #send(request: StorageRequest, signal?: AbortSignal) {
    return this.#client.send({ ...request, headers: { ...JSON_HEADERS, ...request.headers } }, signal)
  }

  /** Cut at the first `||`: daprd leaves out all after a second one, and so mixes keys up. */
  #names(key: string): { PartitionKey: string; RowKey: string } {
    const wrong = /[/\\#?\p{Cc}]/u.exec(key)?.[0]
    if (wrong !== undefined)
      throw new Error(`key ${key} has the character ${JSON.stringify(wrong)}, which Azure's tables do not take: choose another key`)
    const at = key.indexOf('||')
    if (at < 0) return { PartitionKey: key, RowKey: this.#settings.cosmos ? EMPTY_ROW : '' }
    return { PartitionKey: key.slice(0, at), RowKey: key.slice(at + 2) }
  }

  #pathOf(key: string): string {
    const { PartitionKey, RowKey } = this.#names(key)
    return `${encodeURIComponent(this.#settings.name)}(PartitionKey='${quoted(PartitionKey)}',RowKey='${quoted(RowKey)}')`
  }
}

function quoted(text: string): string {
  return percentEncoded(text.replaceAll("'", "''"))
}

function contentOf({ value, json }: StateSet): Entity {
  if (json || isUtf8(value)) return { Value: value.toString() }
  return { Value: value.toString('base64'), 'Value@odata.type': 'Edm.Binary' }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof StorageError && error.code === code
}

/** No such entity; a table that is not there is an error. */
function isMissing(error: unknown): boolean {
  return hasCode(error, 'ResourceNotFound') || hasCode(error, 'EntityNotFound')
}

/** state.azure.tablestorage */
export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in a table of Azure Storage, an entity for each key.',
  metadata: fields,
  create: (context) => new TableState(context),
}
