import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { type MysqlAddress, readDsn } from '../../mysql/dsn.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    required: true,
    sensitive: true,
    description:
      'Server and login in the form of Go programs, without a database: `user:password@tcp(host:3306)/?allowNativePasswords=true`; add `&tls=custom` with pemPath, or `&tls=true`.',
  },
  { name: 'schemaName', kind: 'string', default: 'dapr_state_store', description: 'Database of the tables; made when it is not there.' },
  { name: 'tableName', kind: 'string', default: 'state', description: 'Table of the items; made when it is not there.' },
  {
    name: 'metadataTableName',
    kind: 'string',
    default: 'dapr_metadata',
    description: 'Table where stores note when they last cleaned up.',
  },
  {
    name: 'timeoutInSeconds',
    kind: 'int',
    default: '20',
    description: 'Longest time for one operation, waiting for a connection included; 0 or less: 20.',
  },
  { name: 'pemPath', kind: 'string', description: 'File with the authorities that the server must be signed by, for `tls=custom`.' },
  {
    name: 'cleanupInterval',
    kind: 'duration',
    default: '1h',
    description: 'How often expired rows are removed; 0 or less leaves them, unseen.',
  },
]

export interface MysqlSettings {
  address: MysqlAddress
  schema: string
  table: string
  metadataTable: string
  /** Milliseconds. */
  timeout: number
  cleanupInterval: number
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): MysqlSettings {
  const values = parseMetadata(fields, properties)
  const seconds = values.timeoutInSeconds as number
  return {
    address: readDsn('connectionString', values.connectionString as string, values.pemPath as string | undefined),
    schema: identifier('schemaName', values.schemaName as string),
    table: identifier('tableName', values.tableName as string),
    metadataTable: identifier('metadataTableName', values.metadataTableName as string),
    timeout: (seconds > 0 ? seconds : 20) * 1000,
    cleanupInterval: values.cleanupInterval as number,
  }
}

function identifier(field: string, text: string): string {
  if (/^[A-Za-z0-9_]+$/.test(text)) return text
  throw new MetadataError(`metadata field ${field}: ${JSON.stringify(text)} is no identifier of letters, digits and underscores`)
}
