import { overHttp } from '../../../blocks/state/errors.ts'
import type { BulkGetItem, SaveItem } from '../../../blocks/state/items.ts'
import type { StateBlock } from '../../../blocks/state/state.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import { type Call, type Handler, noContent, type Reply, type Route } from '../route.ts'
import { traceOf } from './publish.ts'
import { readBulkGet, readSaves, readTransaction } from './state-body.ts'

const WRITE = ['POST', 'PUT'] as const

/** The routes of the state building block. */
export function stateRoutes(block: StateBlock): Route[] {
  const handle =
    (work: (call: Call, store: string) => Promise<Reply>, operation?: 'query' | 'transaction'): Handler =>
    async (call) => {
      try {
        return await work(call, call.params.storeName as string)
      } catch (error) {
        throw overHttp(error, block.appId, operation)
      }
    }
  const route = (methods: readonly string[], path: string, name: string, handler: Handler, version = 'v1'): Route => ({
    methods,
    path,
    group: 'state',
    version,
    name,
    handler,
  })
  return [
    route(
      ['GET'],
      '/v1.0/state/:storeName/:key',
      'GetState',
      handle((call, store) => get(block, call, store)),
    ),
    route(
      WRITE,
      '/v1.0/state/:storeName',
      'SaveState',
      handle((call, store) => save(block, call, store)),
    ),
    route(
      ['DELETE'],
      '/v1.0/state/:storeName/:key',
      'DeleteState',
      handle((call, store) => remove(block, call, store)),
    ),
    route(
      WRITE,
      '/v1.0/state/:storeName/bulk',
      'GetBulkState',
      handle((call, store) => bulkGet(block, call, store)),
    ),
    route(
      WRITE,
      '/v1.0/state/:storeName/transaction',
      'ExecuteStateTransaction',
      handle((call, store) => transact(block, call, store), 'transaction'),
    ),
    route(
      WRITE,
      '/v1.0-alpha1/state/:storeName/query',
      'QueryStateAlpha1',
      handle((call, store) => query(block, call, store), 'query'),
      'v1alpha1',
    ),
  ]
}

async function get(block: StateBlock, call: Call, store: string): Promise<Reply> {
  const consistency = call.query.get('consistency') ?? undefined
  const item = await block.get(store, { key: call.params.key as string, consistency, metadata: call.metadata() }, call.signal)
  if (!item) return noContent
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (item.etag !== undefined) headers.etag = item.etag
  for (const [name, value] of Object.entries(item.metadata ?? {})) headers[`metadata.${name}`] = value
  return { status: 200, headers, body: item.data }
}

async function save(block: StateBlock, call: Call, store: string): Promise<Reply> {
  block.require(store)
  const items = refusing('', readSaves, await text(call))
  const metadata = call.metadata()
  for (const item of items) {
    if (item.key === '') throw malformed('"key" is a required field', 'give every item a key')
    item.metadata = { ...item.metadata, ...metadata }
  }
  await block.save(store, items as SaveItem[], call.signal)
  return noContent
}

async function remove(block: StateBlock, call: Call, store: string): Promise<Reply> {
  const item = {
    key: call.params.key as string,
    etag: call.headers['if-match'],
    concurrency: call.query.get('concurrency') ?? undefined,
    consistency: call.query.get('consistency') ?? undefined,
    metadata: call.metadata(),
  }
  await block.delete(store, item, call.signal)
  return noContent
}

async function bulkGet(block: StateBlock, call: Call, store: string): Promise<Reply> {
  block.require(store)
  const request = refusing('failed deserializing HTTP body: ', readBulkGet, await text(call))
  const items = await block.bulkGet(store, { ...request, metadata: { ...request.metadata, ...call.metadata() } }, call.signal)
  return { status: 200, body: `[${items.map(bulkItem).join(',')}]` }
}

async function transact(block: StateBlock, call: Call, store: string): Promise<Reply> {
  block.require(store, 'transaction')
  const request = refusing('failed deserializing HTTP body: ', readTransaction, await text(call))
  const own = call.metadata()
  for (const operation of request.operations) operation.metadata = { ...operation.metadata, ...own }
  await block.transact(store, request.operations, { ...request.metadata, ...own }, call.signal, traceOf(call))
  return noContent
}

async function query(block: StateBlock, call: Call, store: string): Promise<Reply> {
  block.require(store, 'query')
  const answer = await block.query(store, await text(call), call.metadata(), call.signal)
  if (answer.results.length === 0) return noContent
  const results = answer.results.map(
    (result) =>
      `{${[member('key', result.key), dataMember(result.data), member('etag', result.etag), member('error', result.error)].filter(Boolean).join(',')}}`,
  )
  const rest = [
    member('token', answer.token),
    answer.metadata && Object.keys(answer.metadata).length ? `"metadata":${JSON.stringify(answer.metadata)}` : '',
  ]
  return { status: 200, body: `{${[`"results":[${results.join(',')}]`, ...rest].filter(Boolean).join(',')}}` }
}

async function text(call: Call): Promise<string> {
  try {
    return (await call.body()).toString()
  } catch (error) {
    // A body over the limit is 400 here, as clients of Dapr know it.
    if (error instanceof OutriderError && error.http === 413)
      throw malformed(error.message, error.hint ?? 'send less at once, or raise --max-body-size')
    throw error
  }
}

function refusing<T>(prefix: string, read: (text: string) => T, given: string): T {
  try {
    return read(given)
  } catch (error) {
    if (error instanceof OutriderError) throw error
    throw malformed(prefix + messageOf(error), 'check the body against the state API reference')
  }
}

function malformed(message: string, hint: string): OutriderError {
  return new OutriderError({ code: 'ERR_MALFORMED_REQUEST', http: 400, grpc: Code.InvalidArgument, message, hint })
}

/** Stored data goes out as it is; only where it is no JSON (bytes written over gRPC) it becomes a Base64 string, to keep the answer JSON. */
function dataMember(data: Buffer): string {
  if (data.length === 0) return ''
  const stored = data.toString()
  try {
    JSON.parse(stored)
    return `"data":${stored}`
  } catch {
    return `"data":${JSON.stringify(data.toString('base64'))}`
  }
}

function bulkItem({ key, item, error }: BulkGetItem): string {
  const metadata = item?.metadata && Object.keys(item.metadata).length ? `"metadata":${JSON.stringify(item.metadata)}` : ''
  return `{${[`"key":${JSON.stringify(key)}`, item ? dataMember(item.data) : '', member('etag', item?.etag), metadata, member('error', error)].filter(Boolean).join(',')}}`
}

function member(name: string, value: string | undefined): string {
  return value ? `"${name}":${JSON.stringify(value)}` : ''
}
