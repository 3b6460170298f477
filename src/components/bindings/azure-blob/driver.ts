import { randomUUID } from 'node:crypto'
import type { Binding, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { headersOf } from '../../azure/blob-headers.ts'
import { blobFields, readBlobSettings } from '../../azure/blob-settings.ts'
import type { DriverModule } from '../../component.ts'
import { isTruthy, type MetadataField, parseMetadata } from '../../metadata.ts'
import { operationsOf } from '../acts.ts'
import { unquoted } from '../unquoted.ts'
import { bulkCreate, bulkDelete, bulkGet, checkedSnapshots } from './bulk.ts'
import { Container } from './container.ts'
import { listed } from './listing.ts'

const fields: readonly MetadataField[] = [
  ...blobFields,
  { name: 'decodeBase64', kind: 'bool', default: 'false', description: 'Content to be saved is Base64.' },
]

/** Blobs of one list. */
const MOST = 5000

/** bindings.azure.blobstorage: blobs of one container. */
export const driver: DriverModule<Binding> = {
  summary: 'Reads and writes blobs of a container in Azure Blob Storage.',
  metadata: fields,
  create(context) {
    const container = new Container(readBlobSettings(context.properties))
    const base64 = parseMetadata(fields, context.properties).decodeBase64 === true

    const json = (value: unknown, metadata?: Record<string, string>): BindingResponse => ({
      data: Buffer.from(JSON.stringify(value)),
      ...(metadata && { metadata }),
    })
    const many = (results: readonly unknown[]) => json(results, { number: String(results.length) })

    const create = async ({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const { blobName: wanted, signTTL, ...rest } = metadata
      const blobName = wanted || randomUUID()
      const headers = headersOf(rest)
      const presignURL = signTTL ? container.presigned(blobName, signTTL) : undefined
      await container.put(blobName, { data: unquoted(data) }, base64, headers, signal).catch((error: unknown) => {
        const undecoded = error instanceof Error && /^illegal base64/.test(error.message)
        throw undecoded ? error : new Error(`error uploading az blob: ${messageOf(error)}`, { cause: error })
      })
      return json({ blobURL: container.urlOf(blobName), blobName, ...(presignURL && { presignURL }) }, { blobName })
    }

    const get = async ({ metadata }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const name = nameOf(metadata)
      const failed = (error: unknown): never => {
        if (messageOf(error) === 'blob not found') throw error
        throw new Error(`error downloading az blob: ${messageOf(error)}`, { cause: error })
      }
      if (metadata.filePath) {
        await container.save(name, metadata.filePath, signal).catch(failed)
        return { metadata: { filePath: metadata.filePath } }
      }
      const found = await container.get(name, signal).catch(failed)
      return { data: found.data, ...(isTruthy(metadata.includeMetadata) && { metadata: found.metadata }) }
    }

    const remove = async ({ metadata }: BindingRequest, signal?: AbortSignal) => {
      await container.delete(nameOf(metadata), checkedSnapshots(metadata.deleteSnapshots ?? ''), signal)
      return undefined
    }

    const list = async ({ data }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse> => {
      const { query, most, marker } = listQuery(data)
      const found: unknown[] = []
      let pages = 0
      let next = marker
      do {
        const page = await container.page(query, next, signal).catch((error: unknown) => {
          throw new Error(`error listing blobs: ${messageOf(error)}`, { cause: error })
        })
        found.push(...page.blobs.map(listed))
        next = page.next
        pages++
      } while (next !== '' && found.length < most)
      return json(found, { marker: next, number: String(found.length), pagesTraversed: String(pages) })
    }

    const presign = async ({ metadata }: BindingRequest): Promise<BindingResponse> => {
      const name = nameOf(metadata)
      if (!metadata.signTTL) throw new Error('signTTL is a required attribute for presign operations')
      return json({ presignURL: container.presigned(name, metadata.signTTL) })
    }

    const operations = operationsOf({
      create,
      get,
      delete: remove,
      list,
      bulkGet: async ({ data }, signal) => many(await bulkGet(container, data, signal)),
      bulkCreate: async ({ data }, signal) => many(await bulkCreate(container, data, base64, signal)),
      bulkDelete: async ({ data }, signal) => many(await bulkDelete(container, data, signal)),
      presign,
    })

    return {
      ...operations,
      init: (signal) => container.open(signal),
      ping: (signal) => container.ping(signal),
      [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
    }
  },
}

function nameOf({ blobName }: Readonly<Record<string, string>>): string {
  if (!blobName) throw new Error('blobName is a required attribute')
  return blobName
}

function listQuery(data: Buffer): { query: [string, string][]; most: number; marker: string } {
  let payload: Record<string, unknown> | null
  try {
    payload = data.length === 0 ? {} : (JSON.parse(data.toString()) as Record<string, unknown> | null)
  } catch (error) {
    throw new Error(`error parsing list payload: ${messageOf(error)}`)
  }
  if (payload === null) payload = {}
  if (typeof payload !== 'object' || Array.isArray(payload)) throw new Error('error parsing list payload: it is no object')
  const { marker = '', prefix = '', maxResults = 0, include } = payload
  if (typeof marker !== 'string' || typeof prefix !== 'string' || typeof maxResults !== 'number')
    throw new Error('error parsing list payload: marker and prefix are texts, maxResults is a number')
  const most = maxResults > 0 ? Math.floor(maxResults) : MOST
  const asked = Object.entries((include ?? {}) as object).filter(([name, on]) => on === true && INCLUDES.has(name))
  const query: [string, string][] = [['maxresults', String(most)]]
  if (prefix !== '') query.push(['prefix', prefix])
  if (asked.length > 0) query.push(['include', asked.map(([name]) => name.toLowerCase()).join(',')])
  return { query, most, marker }
}

const INCLUDES = new Set(['copy', 'metadata', 'snapshots', 'uncommittedBlobs', 'deleted'])
