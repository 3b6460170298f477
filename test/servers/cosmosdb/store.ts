import { createRequire } from 'node:module'

export type Document = Record<string, unknown> & { id: string; _etag: string; _ts: number; ttl?: number }
type Kept = Map<string, { read(): Document }>

export interface Collection {
  read(): { id: string; partitionKey?: { paths: string[] }; defaultTtl?: number } | undefined
  document(id: string, partition: string): { read(): Document | undefined }
  documents: {
    _data: Kept
    _index: Map<string, string>
    delete(id: string, partition: string): void
    query(query: unknown, page: { maxItemCount: number | null; continuation: unknown }): { result: Document[]; continuation?: unknown }
  }
}

export interface Account {
  database(id: string): { collection(id: string): Collection; read(): unknown }
  read(): Record<string, unknown>
}

export interface Params {
  dbId: string
  collId?: string
  docId?: string
}

type Handler = (account: Account, request: unknown, response: { statusCode: number }, params: Params) => Promise<unknown> | unknown

const load = createRequire(import.meta.url)

/** The store and its routes as the package has them; its own server around them takes any signature. */
export function openStore(host: string, port: number) {
  const Store = load('@vercel/cosmosdb-server/lib/account').default as new (host: string, port: number) => Account
  const routeOf = load('@vercel/cosmosdb-server/lib/routes').default as (request: unknown) => [Params, Handler] | undefined
  return { account: new Store(host, port), routeOf }
}

/** The value of the container's partition key in a document. */
export function partitionOf(document: Record<string, unknown>, collection: Collection): unknown {
  const path = collection.read()?.partitionKey?.paths[0] ?? '/id'
  return path
    .slice(1)
    .split('/')
    .reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], document)
}

/** Takes out what has expired, where the container has time to live switched on. */
export function expire(collection: Collection): void {
  const standard = collection.read()?.defaultTtl
  if (standard === undefined) return
  for (const held of [...collection.documents._data.values()]) {
    const document = held.read()
    const ttl = document.ttl ?? standard
    if (ttl > 0 && Date.now() >= (document._ts + ttl) * 1000)
      collection.documents.delete(document.id, partitionOf(document, collection) as string)
  }
}

/** Runs `work` and, when it says so, puts every document back as it was. */
export async function orNothing<T>({ documents }: Collection, work: () => Promise<T>, failed: (result: T) => boolean): Promise<T> {
  const before = [new Map(documents._data), new Map(documents._index)] as const
  const result = await work()
  if (failed(result)) [documents._data, documents._index] = before
  return result
}

/** The documents of one partition, for a query that asks no other. */
export function onePartition(collection: Collection, partition: unknown): Collection['documents'] {
  const view = Object.create(collection.documents) as Collection['documents']
  view._data = new Map([...collection.documents._data].filter(([, held]) => partitionOf(held.read(), collection) === partition))
  return view
}
