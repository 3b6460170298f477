import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'
import { Entra } from './entra.ts'
import { readEntra } from './entra-settings.ts'
import type { StoragePlace } from './storage-client.ts'

/** Whose account it is, as Dapr's components on Azure Storage say it. */
export const accountNameField: MetadataField = {
  name: 'accountName',
  kind: 'string',
  aliases: ['storageAccount', 'storageAccountName'],
  description: 'Storage account. Required.',
}

export const accountKeyField: MetadataField = {
  name: 'accountKey',
  kind: 'string',
  aliases: ['accessKey', 'storageAccessKey', 'storageAccountKey'],
  sensitive: true,
  description: "The account's key; without it Microsoft Entra ID is signed in to.",
}

/** Whom a token for Storage is for. */
export const STORAGE = 'https://storage.azure.com'

export const SUFFIXES: Readonly<Record<string, string>> = {
  AzureChina: 'core.chinacloudapi.cn',
  AzureUSGovernment: 'core.usgovcloudapi.net',
  AzurePublic: 'core.windows.net',
}

/** A field that has to be given. Throws MetadataError, in Dapr's words. */
export function given(values: MetadataValues, name: string): string {
  const text = values[name] === undefined ? '' : String(values[name])
  if (text === '') throw new MetadataError(`missing or empty ${name} field from metadata`)
  return text
}

/** The account's key, or else how Entra ID is signed in to. */
export function signingOf(values: MetadataValues, resource = STORAGE): Pick<StoragePlace, 'key' | 'signature' | 'entra'> {
  const account = given(values, 'accountName')
  const key = values.accountKey === undefined ? undefined : { account, key: String(values.accountKey) }
  return { key, signature: '', entra: key ? undefined : new Entra(readEntra(values), resource) }
}
