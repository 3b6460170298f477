import { masterKeySignature, readMasterKey } from './cosmos-key.ts'

/** The key of the stand-in, which Microsoft documents for its own emulator. */
export const COSMOS_KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=='

/** Settings of a component on a container of the stand-in. */
export function cosmosOf(url: string, database: string, collection = 'items'): Record<string, string> {
  return { url, masterKey: COSMOS_KEY, database, collection }
}

/** Asks for what the components do not: to make databases and containers, and to look at documents. `link`: where. */
export async function askCosmos(address: string, method: string, link: string, type: string, body?: unknown): Promise<unknown> {
  const date = new Date().toUTCString()
  const authorization = masterKeySignature(method, type, link, date, readMasterKey(COSMOS_KEY))
  const isQuery = (body as { query?: string } | undefined)?.query !== undefined
  const headers = {
    authorization,
    'x-ms-date': date,
    'x-ms-version': '2020-11-05',
    'content-type': isQuery ? 'application/query+json' : 'application/json',
    ...(isQuery && { 'x-ms-documentdb-query-enablecrosspartition': 'True' }),
  }
  const path = body === undefined ? link : [link, type].filter(Boolean).join('/')
  const reply = await fetch(`${address}/${path}`, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
  if (!reply.ok && reply.status !== 409) throw new Error(`${method} ${path}: ${reply.status} ${await reply.text()}`)
  return reply.json()
}

/** Makes database and container, unless they are there; with Dapr's partition key and time to live switched on unless `more` says otherwise. */
export async function makeContainer(address: string, database: string, id = 'items', more: Record<string, unknown> = {}): Promise<void> {
  await askCosmos(address, 'POST', '', 'dbs', { id: database })
  const container = { id, partitionKey: { paths: ['/partitionKey'], kind: 'Hash' }, defaultTtl: -1, ...more }
  await askCosmos(address, 'POST', `dbs/${database}`, 'colls', container)
}
