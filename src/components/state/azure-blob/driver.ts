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
import { openContainer, pingContainer } from '../../azure/blob-container.ts'
import { headersOf } from '../../azure/blob-headers.ts'
import { type BlobSettings, blobFields, readBlobSettings } from '../../azure/blob-settings.ts'
import { StorageClient, StorageError } from '../../azure/storage-client.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'

/** A blob for each key. Version 1 leaves the prefix of the key out, so that apps share what they keep. */
class BlobState implements StateStore {
  readonly features: readonly StateFeature[] = ['ETAG']
  private readonly settings: BlobSettings
  private readonly client: StorageClient
  private readonly nameOf: (key: string) => string

  constructor(context: ComponentContext) {
    this.settings = readBlobSettings(context.properties)
    this.client = new StorageClient(this.settings)
    this.nameOf = context.version === 'v2' ? checked : (key) => checked(withoutPrefix(key))
  }

  init(signal: AbortSignal): Promise<void> {
    return openContainer(this.client, this.settings, signal)
  }

  ping(signal?: AbortSignal): Promise<void> {
    return pingContainer(this.client, this.settings, signal)
  }

  async get({ key }: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    try {
      const { body, headers } = await this.client.send({ method: 'GET', blob: this.nameOf(key) }, signal)
      return { data: body, etag: headers.etag, contentType: headers['content-type'] }
    } catch (error) {
      if (error instanceof StorageError && error.code === 'BlobNotFound') return undefined
      throw error
    }
  }

  async set({ key, value, etag, concurrency, metadata, contentType }: StateSet, signal?: AbortSignal): Promise<void> {
    const condition: Record<string, string> =
      etag !== undefined ? { 'if-match': etag } : concurrency === 'first-write' ? { 'if-none-match': '*' } : {}
    const headers = { ...headersOf(metadata, contentType), ...condition }
    try {
      await this.client.send({ method: 'PUT', blob: this.nameOf(key), headers, body: value }, signal)
    } catch (error) {
      if (etag !== undefined && isConflict(error)) throw new EtagError('mismatch', messageOf(error))
      throw new Error(`error uploading blob: ${messageOf(error)}`, { cause: error })
    }
  }

  async delete({ key, etag }: StateDelete, signal?: AbortSignal): Promise<void> {
    try {
      const headers: Record<string, string> = etag === undefined ? {} : { 'if-match': etag }
      await this.client.send({ method: 'DELETE', blob: this.nameOf(key), headers }, signal)
    } catch (error) {
      if (etag !== undefined && isConflict(error)) throw new EtagError('mismatch', messageOf(error))
      if (!(error instanceof StorageError && error.code === 'BlobNotFound')) throw error
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.client[Symbol.asyncDispose]()
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof StorageError && error.code === 'ConditionNotMet'
}

/** Azure takes a backslash for a slash: two keys would be one. */
function checked(key: string): string {
  if (key.includes('\\')) throw new Error(`key ${key} has a backslash, which Azure Blob Storage takes for a slash: choose another key`)
  return key
}

function withoutPrefix(key: string): string {
  const parts = key.split('||')
  return (parts.length === 2 ? parts[1] : parts[0]) as string
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Azure Blob Storage, a blob for each key.',
  metadata: blobFields,
  create: (context) => new BlobState(context),
}
