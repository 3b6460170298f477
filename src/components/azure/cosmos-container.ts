import type { Logger } from '../../telemetry/log.ts'
import { MetadataError } from '../metadata.ts'
import { CosmosClient } from './cosmos-client.ts'
import { CosmosError } from './cosmos-error.ts'
import type { CosmosSettings } from './cosmos-settings.ts'

export type CosmosConsistency = 'Session' | 'Eventual'

/** What Azure says of a container. */
export interface ContainerFacts {
  partitionKey?: { paths?: string[] }
  /** Seconds; absent: time to live is off, and documents that name one stay. */
  defaultTtl?: number
}

export interface BatchOperation {
  operationType: 'Upsert' | 'Delete'
  id?: string
  ifMatch?: string
  /** JSON text. */
  resourceBody?: string
}

export interface Parameter {
  name: string
  value: unknown
}

export interface Page {
  documents: unknown[]
  /** Of the next page. */
  continuation: string | undefined
}

export interface Question {
  sql: string
  parameters: readonly Parameter[]
  /** undefined: all partitions. */
  partition: string | undefined
  /** Documents of a page; undefined: as many as Azure likes. */
  most?: number | undefined
  continuation?: string | undefined
  consistency?: CosmosConsistency | undefined
}

/** The documents of one container. */
export class CosmosContainer implements AsyncDisposable {
  readonly #settings: CosmosSettings
  readonly #client: CosmosClient
  readonly #link: string
  readonly #path: string

  constructor(settings: CosmosSettings) {
    const { database, container } = settings
    this.#settings = settings
    this.#client = new CosmosClient(settings)
    this.#link = `dbs/${database}/colls/${container}`
    this.#path = `/dbs/${encodeURIComponent(database)}/colls/${encodeURIComponent(container)}`
  }

  /** Reads what the container is; rejects with a sentence that says what to do about a login that is refused or a name that is not there. */
  async facts(signal?: AbortSignal): Promise<ContainerFacts> {
    try {
      return await this.#resource<ContainerFacts>('colls', this.#link, this.#path, signal)
    } catch (error) {
      throw await this.#explained(error, signal)
    }
  }

  /** The document; rejects with a CosmosError of status 404 where there is none. */
  async read(id: string, partition: string, consistency: CosmosConsistency | undefined, signal?: AbortSignal): Promise<Buffer> {
    const { link, path } = this.#document(id)
    const headers = { ...partitionHeader(partition), ...consistencyHeader(consistency) }
    const session = consistency !== 'Eventual'
    return (await this.#client.send({ method: 'GET', type: 'docs', link, path, headers, session, repeatable: true }, signal)).body
  }

  /** Makes the document, or overwrites the one that has its id. `ifMatch` counts where one is there. */
  async upsert(document: string, partition: string, ifMatch?: string, signal?: AbortSignal): Promise<void> {
    await this.#write(document, { 'x-ms-documentdb-is-upsert': 'True', ...partitionHeader(partition), ...condition(ifMatch) }, signal)
  }

  /** Makes the document; a CosmosError of status 409 where its id is taken. */
  async create(document: string, partition: string, signal?: AbortSignal): Promise<void> {
    await this.#write(document, partitionHeader(partition), signal, false)
  }

  async delete(id: string, partition: string, ifMatch?: string, signal?: AbortSignal): Promise<void> {
    const headers = { ...partitionHeader(partition), ...condition(ifMatch) }
    await this.#client.send({ method: 'DELETE', type: 'docs', ...this.#document(id), headers, repeatable: ifMatch === undefined }, signal)
  }

  /** All operations or none, up to 100 in one partition: the status of each, where one that failed leaves 424 to the others. */
  async batch(operations: readonly BatchOperation[], partition: string, signal?: AbortSignal): Promise<number[]> {
    const headers = {
      'x-ms-cosmos-is-batch-request': 'True',
      'x-ms-cosmos-batch-atomic': 'True',
      'x-ms-cosmos-batch-ordered': 'True',
      ...partitionHeader(partition),
    }
    const { body } = await this.#write(`[${operations.map(operationText).join()}]`, headers, signal, false)
    return (JSON.parse(body.toString()) as { statusCode: number }[]).map(({ statusCode }) => statusCode)
  }

  async query({ sql, parameters, partition, most, continuation, consistency }: Question, signal?: AbortSignal): Promise<Page> {
    const across = { 'x-ms-documentdb-query-enablecrosspartition': 'True' }
    const headers: Record<string, string> = {
      'content-type': 'application/query+json',
      'x-ms-documentdb-isquery': 'True',
      ...(partition === undefined ? across : partitionHeader(partition)),
      ...consistencyHeader(consistency),
      ...(most !== undefined && { 'x-ms-max-item-count': String(most) }),
      ...(continuation && { 'x-ms-continuation': continuation }),
    }
    const request = { ...this.#collection, body: JSON.stringify({ query: sql, parameters }), headers }
    const reply = await this.#client.send({ ...request, session: consistency !== 'Eventual', repeatable: true }, signal)
    const { Documents } = JSON.parse(reply.body.toString()) as { Documents: unknown[] }
    const next = reply.headers['x-ms-continuation']
    return { documents: Documents, continuation: typeof next === 'string' && next !== '' ? next : undefined }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }

  get #collection() {
    return { method: 'POST', type: 'docs', link: this.#link, path: `${this.#path}/docs` } as const
  }

  #document(id: string) {
    return { link: `${this.#link}/docs/${id}`, path: `${this.#path}/docs/${encodeURIComponent(id)}` }
  }

  /** The answer carries no copy of what was written. */
  #write(body: string, headers: Record<string, string>, signal: AbortSignal | undefined, repeatable = headers['if-match'] === undefined) {
    return this.#client.send({ ...this.#collection, body, headers: { ...headers, prefer: 'return=minimal' }, repeatable }, signal)
  }

  async #resource<T>(type: 'dbs' | 'colls', link: string, path: string, signal?: AbortSignal): Promise<T> {
    return JSON.parse((await this.#client.send({ method: 'GET', type, link, path, repeatable: true }, signal)).body.toString()) as T
  }

  async #explained(error: unknown, signal?: AbortSignal): Promise<unknown> {
    if (!(error instanceof CosmosError)) return error
    const { url, database, container, key } = this.#settings
    const say = (words: string) => new Error(`${words} (${error.message})`, { cause: error })
    if (error.status === 401 && key)
      return say(
        `Cosmos DB at ${url.host} refuses masterKey: give a primary or secondary key of this account, and see that the clock is right`,
      )
    if (error.status === 401 || error.status === 403)
      return say(
        key
          ? `Cosmos DB at ${url.host} lets nobody in from here: look at the account's firewall, and whether it takes keys at all`
          : `Cosmos DB at ${url.host} does not let this identity in: give it the account's role Cosmos DB Built-in Data Contributor`,
      )
    if (error.status !== 404) return error
    const there = await this.#resource('dbs', `dbs/${database}`, `/dbs/${encodeURIComponent(database)}`, signal).then(
      () => true,
      () => false,
    )
    return there
      ? say(
          `database ${database} at ${url.host} has no container ${container}: make it with the partition key /partitionKey, or correct collection`,
        )
      : say(`Cosmos DB at ${url.host} has no database ${database}: make it, or correct the metadata field database`)
  }
}

/** That documents as Dapr lays them out fit the container. Throws MetadataError. */
export function checkContainer({ partitionKey, defaultTtl }: ContainerFacts, name: string, log: Logger): void {
  const paths = partitionKey?.paths ?? []
  const right = 'the partition key /partitionKey, by which Dapr tells documents apart'
  if (paths.length !== 1) {
    const has = paths.length === 0 ? 'no partition key' : `the partition keys ${paths.join(' and ')}`
    throw new MetadataError(`container ${name} has ${has}: make one with ${right}`)
  }
  if (paths[0] === '/id') log.warn(`container ${name} has the partition key /id: there are no transactions, nor metadata.partitionKey`)
  else if (paths[0] !== '/partitionKey')
    throw new MetadataError(`container ${name} has the partition key ${paths[0]}: make one with ${right}`)
  if (defaultTtl === undefined) log.info(`container ${name} has time to live switched off: items with ttlInSeconds stay until it is on`)
}

/** The id as Azure takes it. */
export function checkedId(id: string): string {
  const wrong = /[/\\#]/.exec(id)?.[0]
  if (wrong !== undefined)
    throw new Error(`key ${id} has a ${wrong}, which Cosmos DB does not take in the id of a document: choose another key`)
  return id
}

/** JSON, whose other than ASCII characters no header carries as they are. */
function partitionHeader(partition: string): Record<string, string> {
  const text = JSON.stringify([partition]).replace(/[\u007f-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return { 'x-ms-documentdb-partitionkey': text }
}

function consistencyHeader(consistency: CosmosConsistency | undefined): Record<string, string> {
  return consistency === undefined ? {} : { 'x-ms-consistency-level': consistency }
}

function condition(ifMatch: string | undefined): Record<string, string> {
  return ifMatch === undefined ? {} : { 'if-match': ifMatch }
}

function operationText({ resourceBody, ...rest }: BatchOperation): string {
  const text = JSON.stringify(rest)
  return resourceBody === undefined ? text : `${text.slice(0, -1)},"resourceBody":${resourceBody}}`
}
