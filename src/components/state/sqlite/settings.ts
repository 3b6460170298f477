import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    aliases: ['url'],
    kind: 'string',
    required: true,
    // As Dapr says it; alarms and its own tests wait for these words.
    missing: 'missing connection string (connectionString)',
    description: 'Path of the database file, a file: URL, or :memory:.',
  },
  {
    name: 'timeout',
    aliases: ['timeoutInSeconds'],
    kind: 'duration',
    default: '20s',
    description: 'Longest time for one database operation; at least 1s.',
  },
  {
    name: 'busyTimeout',
    kind: 'duration',
    default: '2s',
    description: 'How long to wait for a lock that another process holds; 0 or less does not wait.',
  },
  {
    name: 'disableWAL',
    kind: 'bool',
    default: 'false',
    description: 'Keeps a rollback journal instead of a write-ahead log, for files on network drives.',
  },
  { name: 'tableName', kind: 'string', default: 'state', description: 'Table of the items: letters, digits and underscores.' },
  {
    name: 'metadataTableName',
    kind: 'string',
    default: 'metadata',
    description: 'Table where the store notes its schema level: letters, digits and underscores.',
  },
  {
    name: 'cleanupInterval',
    aliases: ['cleanupIntervalInSeconds'],
    kind: 'duration',
    default: '0',
    description: 'How often expired rows are removed; 0 leaves them, unseen.',
  },
]

export interface SqliteSettings {
  path: string
  busyTimeout: number
  journal: 'WAL' | 'DELETE'
  table: string
  metadataTable: string
  cleanupInterval: number
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): SqliteSettings {
  const values = parseMetadata(fields, properties)
  if ((values.timeout as number) < 1000) throw new MetadataError('metadata field timeout: must be at least 1s')
  for (const name of ['tableName', 'metadataTableName']) {
    if (!/^[A-Za-z0-9_]+$/.test(values[name] as string))
      throw new MetadataError(
        `metadata field ${name}: ${JSON.stringify(values[name])} is not an identifier of letters, digits and underscores`,
      )
  }
  return {
    path: readPath(values.connectionString as string),
    busyTimeout: Math.max(0, values.busyTimeout as number),
    journal: values.disableWAL ? 'DELETE' : 'WAL',
    table: values.tableName as string,
    metadataTable: values.metadataTableName as string,
    cleanupInterval: Math.max(0, values.cleanupInterval as number),
  }
}

function readPath(connection: string): string {
  const [target, query = ''] = connection.split('?', 2) as [string, string?]
  const given = new URLSearchParams(query)
  for (const pragma of given.getAll('_pragma')) {
    const setting = /^(busy_timeout|journal_mode|foreign_keys)\b/i.exec(pragma)?.[1]
    if (setting)
      throw new MetadataError(`metadata field connectionString: _pragma=${setting} must not be set there; use busyTimeout or disableWAL`)
  }
  const path = target.startsWith('file:') ? decodeURIComponent(target.slice(5)).replace(/^\/\/(?=\/)/, '') : target
  return path === ':memory:' || path === '' || given.get('mode') === 'memory' ? ':memory:' : path
}
