import { cloudOf, entraFields, environmentField } from '../../azure/entra-settings.ts'
import { accountKeyField, accountNameField, given, STORAGE, SUFFIXES, signingOf } from '../../azure/storage-account.ts'
import type { StoragePlace } from '../../azure/storage-client.ts'
import { sharedKeyLite } from '../../azure/storage-key.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  accountNameField,
  accountKeyField,
  {
    name: 'tableName',
    kind: 'string',
    aliases: ['table', 'storageAccountTable'],
    description: 'Table of the items, made where it is not there. Required.',
  },
  { name: 'cosmosDbMode', kind: 'bool', default: 'false', description: "It is the account's table API of Cosmos DB, not Table Storage." },
  {
    name: 'serviceURL',
    kind: 'string',
    description: 'Address in place of Azure, e.g. http://127.0.0.1:10002/devstoreaccount1 for Azurite.',
  },
  { name: 'skipCreateTable', kind: 'bool', default: 'false', description: 'The table exists; it is not made.' },
  environmentField,
  ...entraFields,
]

export interface TableSettings extends StoragePlace {
  cosmos: boolean
  managed: boolean
}

const COSMOS = 'https://cosmos.azure.com'
const RETRIES = 3

/** Throws MetadataError, with Dapr's words where it has some; none shows a key. */
export function readTableSettings(properties: Readonly<Record<string, string>>): TableSettings {
  const values = parseMetadata(fields, properties)
  const account = given(values, 'accountName')
  const cosmos = values.cosmosDbMode === true
  const standard = `https://${account}.table.${cosmos ? 'cosmos.azure.com' : SUFFIXES[cloudOf(values)]}`
  const base = String(values.serviceURL ?? standard).replace(/\/+$/, '')
  if (!URL.canParse(base) || !/^https?:/.test(base)) throw new MetadataError('metadata field serviceURL is not an http or https URL')
  return {
    place: new URL(base),
    name: given(values, 'tableName'),
    ...signingOf(values, cosmos ? COSMOS : STORAGE),
    sign: sharedKeyLite,
    retries: RETRIES,
    cosmos,
    managed: values.skipCreateTable !== true,
  }
}
