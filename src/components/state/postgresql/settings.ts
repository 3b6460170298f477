import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { connectionFields, type PostgresConnection, readConnection } from '../../postgres/connection.ts'

export const fields: readonly MetadataField[] = [
  ...connectionFields,
  { name: 'tableName', kind: 'string', default: 'state', description: 'v1: table of the items, may be schema.table.' },
  { name: 'tablePrefix', kind: 'string', default: '', description: 'v2: stands before the name of the table, state; may hold a schema.' },
  {
    name: 'metadataTableName',
    kind: 'string',
    default: 'dapr_metadata',
    description: 'Table where stores note their schema level, may be schema.table.',
  },
  {
    name: 'cleanupInterval',
    aliases: ['cleanupIntervalInSeconds'],
    kind: 'duration',
    default: '1h',
    description: 'How often expired rows are removed; 0 or less leaves them, unseen.',
  },
]

export interface PostgresSettings extends PostgresConnection {
  version: 'v1' | 'v2'
  table: string
  tablePrefix: string
  metadataTable: string
  cleanupInterval: number
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>, version: string): PostgresSettings {
  const values = parseMetadata(fields, properties)
  const v2 = version === 'v2'
  const prefix = v2 ? identifier('tablePrefix', values.tablePrefix as string, true) : ''
  return {
    version: v2 ? 'v2' : 'v1',
    ...readConnection(values, properties),
    table: v2 ? `${prefix}state` : identifier('tableName', values.tableName as string),
    tablePrefix: prefix,
    metadataTable: identifier('metadataTableName', values.metadataTableName as string),
    cleanupInterval: values.cleanupInterval as number,
  }
}

function identifier(field: string, text: string, empty = false): string {
  if ((empty && text === '') || /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_]?[A-Za-z0-9_]*)?$/.test(text)) return text
  throw new MetadataError(
    `metadata field ${field}: ${JSON.stringify(text)} is no identifier of letters, digits and underscores, with or without a schema`,
  )
}
