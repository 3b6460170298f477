import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { Readable } from 'node:stream'
import { refusal } from './access.ts'
import { type Collection, expire, onePartition, openStore, orNothing, type Params, partitionOf } from './store.ts'

// node serve.ts PORT [CERTIFICATE KEY]: Cosmos DB for tests. Documents, ETags, routes and SQL are of @vercel/cosmosdb-server; signatures,
// partitions, TTL, atomic batches, limits and session tokens, which it has not, are added here from what Azure documents.

interface Answer {
  status: number
  body?: unknown
  headers?: Record<string, string>
}

/** Bytes of one item. */
const LARGEST = 2 << 20
const [port, cert, key] = process.argv.slice(2) as [string, string?, string?]
const { account, routeOf } = openStore('127.0.0.1', Number(port))
/** Writes so far, which is what session tokens count here. */
let lsn = 1

async function answer(request: IncomingMessage, body: Buffer): Promise<Answer> {
  const { method = 'GET', url = '/', headers } = request
  const path = url.split('?')[0] as string
  const refused = refusal(method, path, headers)
  if (refused) return { status: 401, body: { code: 'Unauthorized', message: refused } }
  if (path === '/' || path === '') return { status: 200, body: described(headers.host ?? '') }
  const route = routeOf({ method, url, headers })
  if (!route) return { status: 400, body: { code: 'BadRequest', message: 'no route' } }
  const [params, handler] = route
  const run = async (sent: Buffer): Promise<Answer> => {
    const response = { statusCode: 200, setHeader() {} }
    const wanted = Object.assign(Readable.from([sent]), { method, url, headers: { ...headers, 'content-length': undefined } })
    const result = await handler(account, wanted, response, params)
    return { status: response.statusCode, body: result }
  }
  if (!path.includes('/docs')) return run(body)
  const collection = account.database(params.dbId).collection(params.collId ?? '')
  if (!collection.read()) return missing('Owner resource does not exist', { 'x-ms-substatus': '1003' })
  return documents(request, body, params, collection, run)
}

async function documents(
  { method, headers }: IncomingMessage,
  body: Buffer,
  params: Params,
  collection: Collection,
  run: (sent: Buffer) => Promise<Answer>,
): Promise<Answer> {
  expire(collection)
  const is = (name: string) => String(headers[name]).toLowerCase() === 'true'
  const isQuery = is('x-ms-documentdb-isquery') || is('x-ms-documentdb-query') || headers['content-type'] === 'application/query+json'
  const partition = partitionHeader(headers['x-ms-documentdb-partitionkey'])
  if (params.docId !== undefined && partition !== undefined && !collection.document(params.docId, partition).read())
    return missing('Resource Not Found. Learn more: https://aka.ms/cosmosdb-tsg-not-found')
  if (isQuery) return query(headers, body, collection, partition)
  const token = Number(/#(\d+)/.exec(String(headers['x-ms-session-token'] ?? ''))?.[1] ?? 0)
  if (method === 'GET' && token > lsn)
    return missing('The read session is not available for the input session token.', { 'x-ms-substatus': '1002' })
  if (is('x-ms-cosmos-is-batch-request')) return batch(String(headers['x-ms-documentdb-partitionkey']), body, collection, run)
  if (method === 'POST') {
    const wrong = unfit(body, partition, collection)
    if (wrong) return wrong
  }
  const result = await run(body)
  if (method !== 'GET' && result.status < 300) lsn++
  const etag = (result.body as { _etag?: string } | undefined)?._etag
  const minimal = headers.prefer === 'return=minimal' && method !== 'GET' && result.status < 300
  return { ...result, body: minimal ? undefined : result.body, headers: { ...result.headers, ...(etag && { etag }) } }
}

function query(headers: IncomingMessage['headers'], body: Buffer, collection: Collection, partition: string | undefined): Answer {
  const across = String(headers['x-ms-documentdb-query-enablecrosspartition']).toLowerCase() === 'true'
  const range = headers['x-ms-documentdb-partitionkeyrangeid'] !== undefined
  if (partition === undefined && !across && !range)
    return { status: 400, body: { code: 'BadRequest', message: 'Cross partition query is required but disabled.' } }
  const view = partition === undefined ? collection.documents : onePartition(collection, partition)
  const asked = Number(headers['x-ms-max-item-count'] ?? 100)
  const given = headers['x-ms-continuation']
  try {
    const continuation = given === undefined ? undefined : JSON.parse(String(given))
    const found = view.query(JSON.parse(body.toString()), { maxItemCount: asked > 0 ? asked : 100, continuation })
    const more: Record<string, string> = found.continuation ? { 'x-ms-continuation': JSON.stringify(found.continuation) } : {}
    const count = found.result.length
    return { status: 200, body: { Documents: found.result, _count: count }, headers: { ...more, 'x-ms-item-count': String(count) } }
  } catch (error) {
    return { status: 400, body: { code: 'BadRequest', message: (error as Error).message } }
  }
}

/** All of it or nothing: 200, or 207 where the one that failed has its status and the others 424. */
async function batch(partition: string, body: Buffer, collection: Collection, run: (sent: Buffer) => Promise<Answer>): Promise<Answer> {
  const operations = JSON.parse(body.toString()) as Record<string, unknown>[]
  if (operations.length > 100)
    return { status: 400, body: { code: 'BadRequest', message: 'Batch request has more operations than what is supported.' } }
  const named = operations.map((operation) => ({ ...operation, partitionKey: partition }))
  const isWrong = ({ statusCode }: { statusCode: number }) => statusCode >= 400
  const outcome = await orNothing(
    collection,
    () => run(Buffer.from(JSON.stringify(named))),
    ({ body: results }) => !Array.isArray(results) || results.some(isWrong),
  )
  if (!Array.isArray(outcome.body)) return outcome
  const results = outcome.body as { statusCode: number; resourceBody?: unknown }[]
  if (!results.some(isWrong)) {
    lsn++
    return { status: 200, body: results.map(({ resourceBody: _, ...rest }) => rest) }
  }
  return { status: 207, body: results.map((result) => ({ statusCode: isWrong(result) ? result.statusCode : 424, requestCharge: 0 })) }
}

/** What Azure refuses of a document and the package does not. */
function unfit(body: Buffer, partition: string | undefined, collection: Collection): Answer | undefined {
  const bad = (message: string): Answer => ({ status: 400, body: { code: 'BadRequest', message } })
  if (body.length > LARGEST) return { status: 413, body: { code: 'RequestEntityTooLarge', message: 'Request size is too large' } }
  let document: Record<string, unknown>
  try {
    document = JSON.parse(body.toString())
  } catch {
    return bad('The request payload is invalid. Ensure to provide a valid request payload.')
  }
  if (typeof document.id !== 'string' || document.id === '' || /[/\\]/.test(document.id)) return bad('The input content is invalid: id')
  if (document.ttl !== undefined && !(Number.isInteger(document.ttl) && (document.ttl === -1 || Number(document.ttl) > 0)))
    return bad(`The input ttl '${document.ttl}' is invalid. Ensure to provide a nonzero positive integer value or -1 (never expires).`)
  if (partition !== partitionOf(document, collection))
    return bad("PartitionKey extracted from document doesn't match the one specified in the header.")
  return undefined
}

function missing(message: string, headers: Record<string, string> = {}): Answer {
  return { status: 404, body: { code: 'NotFound', message }, headers }
}

function partitionHeader(text: string | string[] | undefined): string | undefined {
  return text === undefined ? undefined : (JSON.parse(String(text)) as string[])[0]
}

/** The account, whose only region is here. */
function described(host: string): unknown {
  const locations = [{ name: 'Here', databaseAccountEndpoint: `${cert ? 'https' : 'http'}://${host}/` }]
  return { ...account.read(), writableLocations: locations, readableLocations: locations }
}

function listen(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    answer(request, Buffer.concat(chunks))
      .catch((error: Error): Answer => ({ status: 500, body: { code: 'InternalServerError', message: error.message } }))
      .then(({ status, body, headers = {} }) => {
        const common = { 'content-type': 'application/json', 'x-ms-request-charge': '1', 'x-ms-session-token': `0:-1#${lsn}` }
        response.writeHead(status, { ...common, ...headers })
        response.end(status === 204 || body === undefined ? undefined : JSON.stringify(body))
      })
  })
}

const server = cert && key ? createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, listen) : createServer(listen)
server.listen(Number(port), '127.0.0.1', () => console.log('ready'))
