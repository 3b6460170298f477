import type { KeyObject } from 'node:crypto'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'
import { readMasterKey } from './cosmos-key.ts'
import { Entra } from './entra.ts'
import { entraFields, environmentField, readEntra } from './entra-settings.ts'

/** What Dapr's components on Cosmos DB say of the account and container. */
export const cosmosFields: readonly MetadataField[] = [
  {
    name: 'url',
    kind: 'string',
    required: true,
    missing: 'url is required',
    description: 'Address of the account, e.g. https://myaccount.documents.azure.com:443/.',
  },
  {
    name: 'masterKey',
    kind: 'string',
    sensitive: true,
    description: 'Primary or secondary key of the account; without it Microsoft Entra ID is signed in to.',
  },
  { name: 'database', kind: 'string', required: true, missing: 'database is required', description: 'Name of the database.' },
  {
    name: 'collection',
    kind: 'string',
    required: true,
    missing: 'collection is required',
    description: 'Name of the container, which is not made.',
  },
  environmentField,
  ...entraFields,
]

export interface CosmosSettings {
  url: URL
  database: string
  container: string
  /** Signs requests; without it `entra` does. */
  key: KeyObject | undefined
  entra: Entra | undefined
}

/** Throws MetadataError, with Dapr's words where it has some; none shows the key. */
export function readCosmosSettings(values: MetadataValues): CosmosSettings {
  const text = String(values.url)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) throw new MetadataError(`metadata field url: "${text}" is not an http or https URL`)
  const key = values.masterKey === undefined ? undefined : readMasterKey(String(values.masterKey))
  return {
    url,
    database: String(values.database),
    container: String(values.collection),
    key,
    entra: key ? undefined : new Entra(readEntra(values), `${url.protocol}//${url.hostname}`),
  }
}
