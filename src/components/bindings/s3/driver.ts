import { randomUUID } from 'node:crypto'
import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { type Account, openAccount } from '../../aws/open.ts'
import type { DriverModule } from '../../component.ts'
import { parseDuration } from '../../metadata.ts'
import { operationsOf } from '../acts.ts'
import { Bucket } from './bucket.ts'
import { bulkCreate, bulkDelete, bulkGet } from './bulk.ts'
import { listingJson } from './listing.ts'
import { fields, merged, readSettings } from './settings.ts'

/** bindings.aws.s3: objects of one bucket. */
export const driver: DriverModule<Binding> = {
  summary: 'Reads and writes objects of a bucket in AWS S3, or in a service of its protocol.',
  metadata: fields,
  create(context) {
    const settings = readSettings(context.properties)
    let account: Account | undefined
    let bucket: Bucket

    const json = (value: unknown): BindingResponse => ({ data: Buffer.from(JSON.stringify(value)) })
    const keyOf = ({ metadata }: BindingRequest): string => required(metadata.key, 'key')
    const presigned = async (key: string, ttl: string, signal?: AbortSignal) => {
      const duration = /^\s*[\d.]+\s*$/.test(ttl) ? undefined : parseDuration(ttl)
      if (duration === undefined) throw new Error(`s3 binding error: cannot parse duration ${ttl}: write it as 15m`)
      return bucket.presign(key, Math.floor(duration / 1000), signal)
    }

    const create = async (request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const own = merged(settings, request.metadata)
      const key = request.metadata.key || randomUUID()
      const type = request.metadata['Content-Type']?.trim()
      const tags = request.metadata.tags
      const headers = {
        ...(type && { 'content-type': type }),
        ...(own.storageClass && { 'x-amz-storage-class': own.storageClass }),
        ...(tags !== undefined && { 'x-amz-tagging': taggingOf(tags) }),
      }
      const source = own.filePath ? { file: own.filePath } : { data: unquoted(request.data) }
      const { location, version } = await bucket.put(key, source, own.decodeBase64, headers, signal).catch((error: unknown) => {
        const unread = own.filePath !== '' && error instanceof Error && 'syscall' in error && error.syscall === 'open'
        throw new Error(`s3 binding error: ${unread ? 'file read error' : 'uploading failed'}: ${messageOf(error)}`, { cause: error })
      })
      const url = own.presignTTL ? await presigned(key, own.presignTTL, signal) : undefined
      return { ...json({ location, versionID: version, ...(url && { presignURL: url }) }), metadata: { key } }
    }

    const get = async (request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const data = await bucket.get(keyOf(request), signal).catch((error: unknown) => {
        if (messageOf(error) === 'object not found') throw error
        throw new Error(`s3 binding error: error downloading S3 object: ${messageOf(error)}`, { cause: error })
      })
      return { data: merged(settings, request.metadata).encodeBase64 ? Buffer.from(data.toString('base64')) : data }
    }

    const remove = async (request: BindingRequest, signal?: AbortSignal) => {
      await bucket.delete(keyOf(request), signal).catch((error: unknown) => {
        throw new Error(`s3 binding error: delete operation failed: ${messageOf(error)}`, { cause: error })
      })
      return undefined
    }

    const list = async ({ data }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const query = listQuery(data)
      const found = await bucket.list(query, signal).catch((error: unknown) => {
        throw new Error(`s3 binding error: list operation failed: ${messageOf(error)}`, { cause: error })
      })
      return { data: Buffer.from(listingJson(found)) }
    }

    const presign = async (request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const key = keyOf(request)
      const ttl = required(merged(settings, request.metadata).presignTTL, 'presignTTL')
      return json({ presignURL: await presigned(key, ttl, signal) })
    }

    const operations = operationsOf({
      create,
      get,
      delete: remove,
      list,
      presign,
      bulkGet: async ({ data, metadata }, signal) => json(await bulkGet(bucket, data, merged(settings, metadata), signal)),
      bulkCreate: async ({ data, metadata }, signal) => json(await bulkCreate(bucket, data, merged(settings, metadata), signal)),
      bulkDelete: async ({ data }, signal) => json(await bulkDelete(bucket, data, signal)),
    })

    return {
      ...operations,
      async init() {
        account = openAccount(settings.account)
        bucket = new Bucket(account, settings)
      },
      async [Symbol.asyncDispose]() {
        await account?.[Symbol.asyncDispose]()
      },
    }
  },
}

function required(value: string | undefined, name: string): string {
  if (!value) throw new Error(`s3 binding error: required metadata '${name}' missing`)
  return value
}

/** A JSON text is saved without its quotes. */
function unquoted(data: Buffer): Buffer {
  if (data.length < 2 || data[0] !== 0x22 || data.at(-1) !== 0x22) return data
  try {
    const text: unknown = JSON.parse(data.toString())
    return typeof text === 'string' ? Buffer.from(text) : data
  } catch {
    return data
  }
}

/** `a=1,b=2` as S3 takes tags. */
function taggingOf(tags: string): string {
  const pairs = tags.split(',').map((tag) => {
    const [, name, value] = /^\s*([^=]*?)\s*=\s*(.*?)\s*$/s.exec(tag) ?? []
    if (!name || !value) throw new Error(`s3 binding error: parsing tags falied error: invalid tag format: '${tag}' (expected key=value)`)
    return `${encodeURIComponent(name)}=${encodeURIComponent(value)}`
  })
  return pairs.join('&')
}

function listQuery(data: Buffer): [string, string][] {
  let payload: Record<string, unknown>
  try {
    const found: unknown = data.length === 0 ? null : JSON.parse(data.toString())
    if (typeof found !== 'object' || Array.isArray(found)) throw new Error('it is no object')
    payload = { ...found }
  } catch (error) {
    throw new Error(`s3 binding (List Operation) - unable to parse Data property - ${messageOf(error)}`)
  }
  const text = (name: string) => (typeof payload[name] === 'string' ? (payload[name] as string) : '')
  const most = typeof payload.maxResults === 'number' && payload.maxResults >= 1 ? Math.floor(payload.maxResults) : 1000
  return [
    ['delimiter', text('delimiter')],
    ['marker', text('marker')],
    ['max-keys', String(most)],
    ['prefix', text('prefix')],
  ]
}
