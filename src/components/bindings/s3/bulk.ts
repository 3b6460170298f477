import { writeFile } from 'node:fs/promises'
import { messageOf } from '../../../errors.ts'
import { each } from '../each.ts'
import type { Bucket } from './bucket.ts'
import type { RequestSettings } from './settings.ts'

/** What became of one key. */
interface ItemResult {
  key: string
  data?: string
  location?: string
  error?: string
}

/** Keys that S3 deletes in one request. */
const BATCH = 1000
/** Bytes of all that one bulkGet answers with. */
const LARGEST = 256 << 20

/** Objects read at once, into the answer or into files of the sidecar's disk. */
export async function bulkGet(bucket: Bucket, data: Buffer, settings: RequestSettings, signal?: AbortSignal): Promise<ItemResult[]> {
  const { items, concurrency } = itemsOf(data, 'bulkGet', ['key', 'filePath'])
  let left = LARGEST
  return eachItem(items, concurrency, async ({ key, filePath }) => {
    const bytes = await bucket.get(key, signal)
    const content = settings.encodeBase64 ? Buffer.from(bytes.toString('base64')) : bytes
    if (filePath !== undefined) {
      await writeFile(filePath, content)
      return { key }
    }
    left -= content.length
    if (left < 0) throw new Error(`the objects together are larger than ${LARGEST} bytes: ask for fewer, or give filePath`)
    return { key, ...(content.length > 0 && { data: content.toString() }) }
  })
}

/** Objects saved at once, from the request or from files of the sidecar's disk. */
export async function bulkCreate(bucket: Bucket, data: Buffer, settings: RequestSettings, signal?: AbortSignal): Promise<ItemResult[]> {
  const { items, concurrency } = itemsOf(data, 'bulkCreate', ['key', 'data', 'contentType', 'filePath'])
  return eachItem(items, concurrency, async ({ key, data: text, contentType, filePath }) => {
    if (filePath === undefined && text === undefined) throw new Error('either data or filePath is required')
    const source = filePath === undefined ? { data: Buffer.from(text ?? '') } : { file: filePath }
    const headers: Record<string, string> = contentType === undefined ? {} : { 'content-type': contentType }
    const { location } = await bucket.put(key, source, settings.decodeBase64, headers, signal)
    return { key, location }
  })
}

/** Keys deleted by the thousand; one that is not there counts as deleted. */
export async function bulkDelete(bucket: Bucket, data: Buffer, signal?: AbortSignal): Promise<ItemResult[]> {
  const { keys } = payloadOf(data, 'bulkDelete')
  if (keys !== undefined && keys !== null && !(Array.isArray(keys) && keys.every((key) => typeof key === 'string')))
    throw new Error('s3 binding error: invalid bulkDelete payload: keys is a list of texts')
  const all = (keys ?? []) as string[]
  if (all.length === 0) throw new Error('s3 binding error: bulkDelete requires at least one key')
  const wanted = [...new Set(all.filter((key) => key.trim() !== ''))]
  const errors = new Map<string, string>()
  for (let start = 0; start < wanted.length; start += BATCH) {
    const batch = wanted.slice(start, start + BATCH)
    try {
      for (const [key, error] of await bucket.deleteMany(batch, signal)) errors.set(key, error)
    } catch (error) {
      for (const key of batch) errors.set(key, messageOf(error))
    }
  }
  return all.map((key) => {
    const error = key.trim() === '' ? 'key is required' : errors.get(key)
    return { key, ...(error !== undefined && { error }) }
  })
}

type Item = { key: string } & Partial<Record<'data' | 'contentType' | 'filePath', string>>

function payloadOf(data: Buffer, operation: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(data.toString())
    if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Record<string, unknown>
    if (found === null) return {}
  } catch (error) {
    throw new Error(`s3 binding error: invalid ${operation} payload: ${messageOf(error)}`)
  }
  throw new Error(`s3 binding error: invalid ${operation} payload: it is no object`)
}

function itemsOf(data: Buffer, operation: string, members: readonly string[]): { items: Item[]; concurrency: number } {
  const { items, concurrency } = payloadOf(data, operation)
  const fail = (what: string) => new Error(`s3 binding error: invalid ${operation} payload: ${what}`)
  if (items !== undefined && items !== null && !Array.isArray(items)) throw fail('items is a list')
  const read = ((items ?? []) as unknown[]).map((item): Item => {
    if (typeof item !== 'object' || item === null) throw fail('an item is an object')
    const entries = Object.entries(item).filter(([name, value]) => members.includes(name) && value !== null)
    const odd = entries.find(([, value]) => typeof value !== 'string')
    if (odd) throw fail(`${odd[0]} is a text`)
    return { key: '', ...(Object.fromEntries(entries) as Partial<Item>) }
  })
  if (read.length === 0) throw new Error(`s3 binding error: ${operation} requires at least one item`)
  if (concurrency === undefined || concurrency === null) return { items: read, concurrency: 10 }
  if (typeof concurrency !== 'number' || !Number.isInteger(concurrency)) throw fail('concurrency is a whole number')
  if (concurrency <= 0) throw new Error(`s3 binding error: concurrency must be greater than 0, got ${concurrency}`)
  return { items: read, concurrency }
}

/** What became of each; one that fails says so and leaves the others alone. */
function eachItem(items: readonly Item[], concurrency: number, act: (item: Item) => Promise<ItemResult>): Promise<ItemResult[]> {
  return each(items, concurrency, async (item) => {
    if (item.key === '') return { key: '', error: 'key is required' }
    return act(item).catch((error: unknown) => ({ key: item.key, error: messageOf(error) }))
  })
}
