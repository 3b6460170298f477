import { type EntraSettings, entraFields, environmentField, readEntra } from '../../azure/entra-settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { readConnectionString, type SqlServerAddress } from '../../sqlserver/connection-string.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    aliases: ['url'],
    required: true,
    sensitive: true,
    description:
      'Server and login as Go programs write them: `server=host;port=1433;user id=name;password=…` or `sqlserver://name:password@host:1433`. A database named here has to be there; without one `databaseName` is used, and made. TLS is spoken where the server has it; `encrypt=true` asks for it and for a certificate of the server that is trusted (`certificate=FILE` names authorities), `encrypt=strict` is TDS 8, `encrypt=disable` none.',
  },
  {
    name: 'databaseName',
    kind: 'string',
    aliases: ['database'],
    default: 'dapr',
    description: 'Database, where the connection string names none; made when it is not there.',
  },
  { name: 'schemaName', kind: 'string', aliases: ['schema'], default: 'dbo', description: 'Schema; made when it is not there.' },
  { name: 'tableName', kind: 'string', default: 'state', description: 'Table of the items; made when it is not there.' },
  {
    name: 'metadataTableName',
    kind: 'string',
    default: 'dapr_metadata',
    description: 'Table where stores note when they last cleaned up.',
  },
  {
    name: 'keyType',
    kind: 'enum',
    values: ['string', 'uuid', 'integer'],
    default: 'string',
    description: 'What keys are, for a table that is made; other than `string` needs `keyPrefix: none`.',
  },
  { name: 'keyLength', kind: 'int', default: '200', min: 1, max: 450, description: 'Most characters of a key, prefix included.' },
  {
    name: 'indexedProperties',
    kind: 'string',
    description:
      'Members of the values to index, as JSON: `[{"column": "customer", "property": "customer.id", "type": "nvarchar(100)"}]`; columns of a table that is made.',
  },
  {
    name: 'cleanupInterval',
    kind: 'duration',
    aliases: ['cleanupIntervalInSeconds'],
    default: '1h',
    description: 'How often expired rows are removed; 0 or less leaves them, unseen.',
  },
  {
    name: 'useAzureAD',
    kind: 'bool',
    default: 'false',
    description: 'Sign in by Microsoft Entra ID, in place of user and password; for Azure SQL.',
  },
  environmentField,
  ...entraFields,
]

export type KeyType = 'string' | 'uuid' | 'integer'

export interface IndexedProperty {
  column: string
  property: string
  type: string
}

export interface SqlServerSettings {
  address: SqlServerAddress
  /** The database to use; `make`: if it is not there. */
  database: string
  make: boolean
  schema: string
  table: string
  metadataTable: string
  keyType: KeyType
  keyLength: number
  indexed: readonly IndexedProperty[]
  /** Milliseconds; 0 or less: never. */
  cleanupInterval: number
  entra?: EntraSettings
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): SqlServerSettings {
  const values = parseMetadata(fields, properties)
  const address = readConnectionString(values.connectionString as string)
  return {
    address,
    database: address.database || identifier('databaseName', values.databaseName as string),
    make: !address.database,
    schema: identifier('schemaName', values.schemaName as string),
    table: identifier('tableName', values.tableName as string),
    metadataTable: identifier('metadataTableName', values.metadataTableName as string),
    keyType: values.keyType as KeyType,
    keyLength: values.keyLength as number,
    indexed: readIndexed((values.indexedProperties as string | undefined) ?? ''),
    cleanupInterval: values.cleanupInterval as number,
    ...(values.useAzureAD ? { entra: readEntra(values) } : {}),
  }
}

function identifier(field: string, text: string): string {
  if (/^[\p{L}\p{N}_]+$/u.test(text)) return text
  throw new MetadataError(`metadata field ${field}: ${JSON.stringify(text)} is no identifier of letters, digits and underscores`)
}

/** The texts become part of statements: each has its own letters, and no others. */
function readIndexed(text: string): IndexedProperty[] {
  if (text === '') return []
  const refuse = (what: string): never => {
    throw new MetadataError(`metadata field indexedProperties: ${what}; expected e.g. [{"column":"age","property":"age","type":"int"}]`)
  }
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    return refuse('the given value is no JSON')
  }
  if (!Array.isArray(list)) return refuse('the given value is no list')
  return list.map((one: Partial<Record<keyof IndexedProperty, unknown>> | null) => {
    const part = (name: keyof IndexedProperty, letters: RegExp): string => {
      const value = one?.[name]
      if (typeof value !== 'string' || !letters.test(value)) return refuse(`${JSON.stringify(value) ?? 'nothing'} is no ${name}`)
      return value
    }
    return {
      column: part('column', /^[\p{L}\p{N}_]+$/u),
      property: part('property', /^[\p{L}\p{N}_.[\]]+$/u),
      type: part('type', /^[\p{L}\p{N}()]+$/u),
    }
  })
}
