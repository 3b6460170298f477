import { join, posix } from 'node:path'
import { messageOf } from '../../../errors.ts'
import { each } from '../each.ts'
import { type Container, DELETE_SNAPSHOTS } from './container.ts'

interface Result {
  blobName: string
  filePath?: string
  blobURL?: string
  /** Base64. */
  data?: string
  error?: string
}

type Item = Partial<Record<'blobName' | 'filePath' | 'sourcePath' | 'data' | 'contentType', string>>

const CONCURRENCY = 10
/** Bytes of all that one bulkGet answers with. */
const LARGEST = 256 << 20

/** Blobs read at once, into the answer or into files of the sidecar's disk. */
export async function bulkGet(container: Container, data: Buffer, signal?: AbortSignal): Promise<Result[]> {
  const payload = payloadOf(data, 'bulkGet')
  const concurrency = concurrencyOf(payload)
  const wanted = itemsOf(payload, 'bulkGet').filter(({ blobName }) => blobName)
  const prefix = textOf(payload, 'prefix')
  if (prefix !== '') {
    const directory = textOf(payload, 'destinationDir')
    if (directory === '') throw new Error('destinationDir is required when using prefix')
    const known = new Set(wanted.map(({ blobName }) => blobName))
    for (const blobName of await container.names(prefix, signal)) {
      // No name leads out of the folder.
      if (!known.has(blobName)) wanted.push({ blobName, filePath: join(directory, posix.join('/', blobName)) })
    }
  }
  if (wanted.length === 0) throw new Error('at least one of items or prefix is required')
  let left = LARGEST
  return eachItem(wanted, concurrency, async ({ blobName = '', filePath }) => {
    if (filePath) {
      await container.save(blobName, filePath, signal)
      return { blobName, filePath }
    }
    const { data: bytes } = await container.get(blobName, signal)
    left -= bytes.length
    if (left < 0) throw new Error(`the blobs together are larger than ${LARGEST} bytes: ask for fewer, or give filePath`)
    return { blobName, ...(bytes.length > 0 && { data: bytes.toString('base64') }) }
  })
}

/** Blobs saved at once, from the request or from files of the sidecar's disk. */
export async function bulkCreate(container: Container, data: Buffer, base64: boolean, signal?: AbortSignal): Promise<Result[]> {
  const payload = payloadOf(data, 'bulkCreate')
  const items = itemsOf(payload, 'bulkCreate')
  if (items.length === 0) throw new Error('items array must not be empty')
  for (const [index, { blobName, data: text, sourcePath }] of items.entries()) {
    if (!blobName) throw new Error(`item at index ${index} is missing blobName`)
    if (text === undefined && !sourcePath) throw new Error(`item at index ${index} is missing both data and sourcePath`)
  }
  return eachItem(items, concurrencyOf(payload), async ({ blobName = '', data: text, sourcePath = '', contentType }) => {
    const source = text === undefined ? { file: sourcePath } : { data: Buffer.from(text) }
    const headers = { 'x-ms-blob-type': 'BlockBlob', ...(contentType && { 'x-ms-blob-content-type': contentType }) }
    await container.put(blobName, source, base64, headers, signal).catch((error: unknown) => {
      const unread = error instanceof Error && 'syscall' in error && error.syscall === 'open'
      throw new Error(`${unread ? 'error opening source file' : 'error uploading blob'}: ${messageOf(error)}`, { cause: error })
    })
    return { blobName, blobURL: container.urlOf(blobName) }
  })
}

/** Blobs deleted at once, by name and by prefix. */
export async function bulkDelete(container: Container, data: Buffer, signal?: AbortSignal): Promise<Result[]> {
  const payload = payloadOf(data, 'bulkDelete')
  const snapshots = checkedSnapshots(textOf(payload, 'deleteSnapshots'))
  const { blobNames } = payload
  const given = blobNames === undefined || blobNames === null ? [] : blobNames
  if (!Array.isArray(given) || given.some((name) => typeof name !== 'string'))
    throw new Error('error parsing bulkDelete payload: blobNames is a list of texts')
  const prefix = textOf(payload, 'prefix')
  const names = new Set([...(given as string[]).filter((name) => name !== ''), ...(prefix ? await container.names(prefix, signal) : [])])
  if (names.size === 0) throw new Error('at least one of prefix or blobNames is required')
  const items = [...names].map((blobName) => ({ blobName }))
  return eachItem(items, concurrencyOf(payload), async ({ blobName = '' }) => {
    await container.delete(blobName, snapshots, signal)
    return { blobName }
  })
}

export function checkedSnapshots(option: string): string {
  if (option === '' || DELETE_SNAPSHOTS.includes(option)) return option
  throw new Error(`invalid delete snapshot option type: ${option}; allowed: [${DELETE_SNAPSHOTS.join(' ')}]`)
}

function payloadOf(data: Buffer, operation: string): Record<string, unknown> {
  let found: unknown
  try {
    found = data.length === 0 ? {} : JSON.parse(data.toString())
  } catch (error) {
    throw new Error(`error parsing ${operation} payload: ${messageOf(error)}`)
  }
  if (found === null) return {}
  if (typeof found !== 'object' || Array.isArray(found)) throw new Error(`error parsing ${operation} payload: it is no object`)
  return found as Record<string, unknown>
}

function textOf(payload: Record<string, unknown>, name: string): string {
  const value = payload[name] ?? ''
  if (typeof value !== 'string') throw new Error(`error parsing payload: ${name} is a text`)
  return value
}

function concurrencyOf({ concurrency }: Record<string, unknown>): number {
  if (concurrency === undefined || concurrency === null) return CONCURRENCY
  if (typeof concurrency !== 'number' || !Number.isInteger(concurrency))
    throw new Error('error parsing payload: concurrency is a whole number')
  if (concurrency <= 0) throw new Error('concurrency must be greater than 0')
  return concurrency
}

function itemsOf({ items }: Record<string, unknown>, operation: string): Item[] {
  const fail = (what: string) => new Error(`error parsing ${operation} payload: ${what}`)
  if (items === undefined || items === null) return []
  if (!Array.isArray(items)) throw fail('items is a list')
  return items.map((item: unknown) => {
    if (typeof item !== 'object' || item === null) throw fail('an item is an object')
    const entries = Object.entries(item).filter(([, value]) => value !== null)
    const odd = entries.find(([, value]) => typeof value !== 'string')
    if (odd) throw fail(`${odd[0]} is a text`)
    return Object.fromEntries(entries) as Item
  })
}

/** What became of each; one that fails says so and leaves the others alone. */
function eachItem(items: readonly Item[], concurrency: number, act: (item: Item) => Promise<Result>): Promise<Result[]> {
  return each(items, concurrency, (item) =>
    act(item).catch((error: unknown) => ({ blobName: item.blobName ?? '', error: messageOf(error) })),
  )
}
