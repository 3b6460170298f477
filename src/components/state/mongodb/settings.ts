import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    sensitive: true,
    description:
      'Connection string, `mongodb://` or `mongodb+srv://`; instead of host, server, username, password and params. With `replicaSet` in it, or `mongodb+srv`, there are transactions, and actors can use the store.',
  },
  { name: 'host', kind: 'string', description: 'Server, `host:port`, or several separated by commas.' },
  { name: 'server', kind: 'string', description: 'Name of a DNS SRV record, instead of host.' },
  { name: 'username', kind: 'string', description: 'User.' },
  { name: 'password', kind: 'string', sensitive: true, description: 'Password.' },
  {
    name: 'params',
    kind: 'string',
    description: 'More of the connection string, `?name=value&…`, e.g. `?replicaSet=rs0&authSource=admin&tls=true`.',
  },
  { name: 'databaseName', kind: 'string', default: 'daprStore', description: 'Database.' },
  { name: 'collectionName', kind: 'string', default: 'daprCollection', description: 'Collection.' },
  { name: 'writeconcern', kind: 'string', default: '1', description: 'How many servers confirm a write: a number, or `majority`.' },
  {
    name: 'readconcern',
    kind: 'enum',
    values: ['local', 'majority', 'available', 'linearizable', 'snapshot'],
    default: 'local',
    description: 'How settled what is read has to be.',
  },
  {
    name: 'operationTimeout',
    kind: 'duration',
    default: '5s',
    description: 'What one operation may take, waiting for the server included.',
  },
]

export interface MongoSettings {
  /** As the library reads it; holds the password. */
  uri: string
  /** The servers of `uri`, for messages. */
  where: string
  user: string | undefined
  database: string
  collection: string
  writeConcern: number | 'majority'
  readConcern: 'local' | 'majority' | 'available' | 'linearizable' | 'snapshot'
  /** Milliseconds. */
  timeout: number
  /** A replica set is named, or what an SRV record leads to, which is one. */
  replicaSet: boolean
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): MongoSettings {
  const values = parseMetadata(fields, properties)
  const uri = uriOf(values as Record<string, string | undefined>)
  const parts = /^mongodb(?:\+srv)?:\/\/(?:(.*)@)?([^/?@]+)/s.exec(uri)
  if (!parts) throw new MetadataError('metadata field connectionString: the given value is not mongodb://host:port/…')
  const write = values.writeconcern as string
  if (write !== 'majority' && !/^\d{1,3}$/.test(write))
    throw new MetadataError(`metadata field writeconcern: ${JSON.stringify(write)} is neither a number nor majority`)
  const timeout = values.operationTimeout as number
  if (timeout < 1) throw new MetadataError('metadata field operationTimeout: has to be more than 0')
  return {
    uri,
    where: parts[2] as string,
    user: parts[1]?.split(':')[0] || undefined,
    database: values.databaseName as string,
    collection: values.collectionName as string,
    writeConcern: write === 'majority' ? write : Number(write),
    readConcern: values.readconcern as MongoSettings['readConcern'],
    timeout,
    replicaSet: uri.startsWith('mongodb+srv:') || /[?&]replicaSet=[^&]/i.test(uri),
  }
}

function uriOf(values: Record<string, string | undefined>): string {
  const { connectionString, host, server, username, password, databaseName, params = '' } = values
  if (connectionString) return connectionString
  if (host && server) throw new MetadataError("'host' or 'server' fields are mutually exclusive")
  if (!host && !server) throw new MetadataError("must set 'host' or 'server' fields in metadata, or connectionString")
  const login = username && password ? `${escaped(username)}:${escaped(password)}@` : ''
  const query = params && !params.startsWith('?') ? `?${params}` : params
  return `${server ? 'mongodb+srv' : 'mongodb'}://${login}${host ?? server}/${databaseName}${query}`
}

/** daprd takes logins as they stand in a URI; one that cannot stand there was meant as it is. */
function escaped(text: string): string {
  return /[:/?#[\]@\s]|%(?![0-9a-f]{2})/i.test(text) ? encodeURIComponent(text) : text
}
