import { MetadataError, type MetadataField, parseMetadata } from '../metadata.ts'
import { Entra } from './entra.ts'
import { cloudOf, entraFields, environmentField, readEntra } from './entra-settings.ts'
import { accountKeyField, accountNameField, given as required, STORAGE, SUFFIXES } from './storage-account.ts'
import type { StoragePlace } from './storage-client.ts'

/** What Dapr's components on Blob Storage say of the account and container. */
export const blobFields: readonly MetadataField[] = [
  {
    name: 'containerName',
    kind: 'string',
    aliases: ['container', 'storageAccountContainer'],
    description: 'Container of the blobs, made unless disableEntityManagement says otherwise. Required.',
  },
  { ...accountNameField, description: 'Storage account; needed without connectionString.' },
  { ...accountKeyField, description: "The account's key; without it, and without connectionString, Microsoft Entra ID is signed in to." },
  {
    name: 'connectionString',
    kind: 'string',
    sensitive: true,
    description: 'In place of account and key; with a key, or with a shared access signature.',
  },
  {
    name: 'endpoint',
    kind: 'string',
    aliases: ['storageEndpoint', 'storageAccountEndpoint'],
    description: 'Address in place of Azure, e.g. http://127.0.0.1:10000 for Azurite; the account is appended.',
  },
  environmentField,
  ...entraFields,
  {
    name: 'publicAccessLevel',
    kind: 'enum',
    values: ['none', 'blob', 'container'],
    default: 'none',
    description: 'What anyone may read of a container that is made.',
  },
  {
    name: 'retryCount',
    kind: 'int',
    aliases: ['getBlobRetryCount'],
    default: '3',
    min: 0,
    max: 20,
    description: 'How often a request is repeated that fails with 5xx, is throttled or finds nobody.',
  },
  { name: 'disableEntityManagement', kind: 'bool', default: 'false', description: 'The container exists; it is not made.' },
]

export interface BlobSettings extends StoragePlace {
  publicAccess: 'blob' | 'container' | undefined
  managed: boolean
}

/** The account that every Azurite has, as Azure documents it. */
const DEVELOPMENT: Record<string, string> = {
  AccountName: 'devstoreaccount1',
  AccountKey: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
  BlobEndpoint: 'http://127.0.0.1:10000/devstoreaccount1',
}

/** Throws MetadataError, with Dapr's words where it has some; none shows a key. */
export function readBlobSettings(properties: Readonly<Record<string, string>>): BlobSettings {
  const values = parseMetadata(blobFields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const given = connectionOf(text('connectionString'))
  const account = given ? (given.AccountName ?? '') : required(values, 'accountName')
  const name = required(values, 'containerName')
  const key = given ? given.AccountKey : text('accountKey')
  const signature = (given?.SharedAccessSignature ?? '').replace(/^\?/, '')
  const suffix = given?.EndpointSuffix ?? SUFFIXES[cloudOf(values)]
  const standard = `${given?.DefaultEndpointsProtocol ?? 'https'}://${account}.blob.${suffix}`
  const own = text('endpoint') === '' ? undefined : `${text('endpoint').replace(/\/+$/, '')}/${account}`
  const base = (given?.BlobEndpoint ?? own ?? standard).replace(/\/+$/, '')
  if (!URL.canParse(base) || !/^https?:/.test(base))
    throw new MetadataError(`metadata field ${given ? 'connectionString: its endpoint' : 'endpoint'} is not an http or https URL`)
  return {
    place: new URL(`${base}/${encodeURIComponent(name)}`),
    name,
    key: key ? { account, key } : undefined,
    signature,
    entra: key || signature ? undefined : new Entra(readEntra(values), STORAGE),
    publicAccess: values.publicAccessLevel === 'none' ? undefined : (values.publicAccessLevel as 'blob' | 'container'),
    retries: Number(values.retryCount),
    managed: values.disableEntityManagement !== true,
  }
}

function connectionOf(text: string): Record<string, string> | undefined {
  if (text === '') return undefined
  const parts = text
    .split(';')
    .filter((part) => part.trim() !== '')
    .map((part) => [part.slice(0, part.indexOf('=')).trim(), part.slice(part.indexOf('=') + 1).trim()])
  const found = Object.fromEntries(parts) as Record<string, string>
  if (found.UseDevelopmentStorage === 'true') return DEVELOPMENT
  if (!found.BlobEndpoint && !found.AccountName)
    throw new MetadataError('metadata field connectionString: it has neither AccountName nor BlobEndpoint')
  return { AccountName: '', ...found }
}
