import { type AwsSettings, accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'table',
    kind: 'string',
    required: true,
    description: 'Table, whose partition key is a text and which has no sort key; it is not created.',
  },
  ...accountFields,
  endpointField,
  {
    name: 'ttlAttributeName',
    kind: 'string',
    description: "The table's TTL attribute; without it `ttlInSeconds` is passed over, and TTL is not among the capabilities.",
  },
  { name: 'partitionKey', kind: 'string', default: 'key', description: "Name of the table's partition key." },
]

export interface DynamoSettings {
  account: AwsSettings
  table: string
  /** undefined: none. */
  ttl: string | undefined
  partitionKey: string
}

export function readSettings(properties: Readonly<Record<string, string>>): DynamoSettings {
  const values = parseMetadata(fields, properties)
  return {
    account: readAccount(values, properties),
    table: String(values.table),
    ttl: values.ttlAttributeName === undefined ? undefined : String(values.ttlAttributeName),
    partitionKey: String(values.partitionKey),
  }
}
