import { messageOf } from '../../errors.ts'
import type { BlobSettings } from './blob-settings.ts'
import { type StorageClient, StorageError } from './storage-client.ts'

/** Makes the container where it is not there, unless somebody else manages it. */
export async function openContainer(client: StorageClient, settings: BlobSettings, signal: AbortSignal): Promise<void> {
  const { managed, name, publicAccess, entra } = settings
  await entra?.token(signal)
  if (!managed) return
  const headers: Record<string, string> = publicAccess === undefined ? {} : { 'x-ms-blob-public-access': publicAccess }
  try {
    await client.send({ method: 'PUT', query: [['restype', 'container']], headers }, signal)
  } catch (error) {
    if (error instanceof StorageError && /^(Container|Resource)AlreadyExists$/.test(error.code)) return
    throw new Error(`failed to create Azure Storage container ${name}: ${messageOf(error)}`, { cause: error })
  }
}

export async function pingContainer(client: StorageClient, { place }: BlobSettings, signal?: AbortSignal): Promise<void> {
  try {
    await client.send({ method: 'GET', query: [['restype', 'container']] }, signal)
  } catch (error) {
    throw new Error(`error connecting to Azure Blob Storage at '${place.href}': ${messageOf(error)}`, { cause: error })
  }
}
