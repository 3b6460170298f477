import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import type { Document } from '../../mongodb/bson.ts'
import type { Login } from '../../mongodb/credential.ts'
import { nameOf } from '../../mongodb/members.ts'
import { type MongoUri, parseUri } from '../../mongodb/uri.ts'

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
    description:
      'More of the connection string, `?name=value&…`, e.g. `?replicaSet=rs0&authSource=admin&tls=true`. An option that is not honoured is refused by its name.',
  },
  { name: 'databaseName', kind: 'string', default: 'daprStore', description: 'Database.' },
  { name: 'collectionName', kind: 'string', default: 'daprCollection', description: 'Collection.' },
  {
    name: 'writeconcern',
    kind: 'string',
    default: '1',
    description: 'How many servers confirm a write: a number, or `majority`. Unset, what `w` in the connection string says, if anything.',
  },
  {
    name: 'readconcern',
    kind: 'enum',
    values: ['local', 'majority', 'available', 'linearizable', 'snapshot'],
    default: 'local',
    description: 'How settled what is read has to be. Unset, what `readConcernLevel` in the connection string says, if anything.',
  },
  {
    name: 'operationTimeout',
    kind: 'duration',
    default: '5s',
    description: 'What one operation may take, waiting for the server included.',
  },
]

export interface MongoSettings {
  uri: MongoUri
  /** The servers of `uri`, for messages. */
  where: string
  login: Login | undefined
  database: string
  collection: string
  writeConcern: Document
  journal: boolean
  readConcern: string
  /** Milliseconds. */
  timeout: number
  /** A replica set is named, or what an SRV record leads to, which is one. */
  replicaSet: boolean
}

const LEVELS = ['local', 'majority', 'available', 'linearizable', 'snapshot']

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): MongoSettings {
  const values = parseMetadata(fields, properties)
  const uri = read(connectionStringOf(values as Record<string, string | undefined>))
  const { options, login } = uri
  const isGiven = (name: string) => Object.entries(properties).some(([given, value]) => given.toLowerCase() === name && value !== '')
  const write = values.writeconcern as string
  if (write !== 'majority' && !/^\d{1,3}$/.test(write))
    throw new MetadataError(`metadata field writeconcern: ${JSON.stringify(write)} is neither a number nor majority`)
  const timeout = values.operationTimeout as number
  if (timeout < 1) throw new MetadataError('metadata field operationTimeout: has to be more than 0')
  const readConcern = isGiven('readconcern') ? (values.readconcern as string) : (options.readConcernLevel ?? (values.readconcern as string))
  if (!LEVELS.includes(readConcern))
    throw new MetadataError(`metadata field connectionString or params: option readConcernLevel: set one of ${LEVELS.join(', ')}`)
  const ofField = write === 'majority' ? write : Number(write)
  const journal = options.journal ?? true
  return {
    uri,
    where: uri.places.map((place) => (uri.srv ? place.host : nameOf(place))).join(','),
    login,
    database: values.databaseName as string,
    collection: values.collectionName as string,
    writeConcern: { w: isGiven('writeconcern') ? ofField : (options.w ?? ofField), j: journal, wtimeout: options.wTimeoutMS ?? timeout },
    journal,
    readConcern,
    timeout,
    replicaSet: uri.srv || options.replicaSet !== undefined,
  }
}

function read(text: string): MongoUri {
  try {
    return parseUri(text)
  } catch (error) {
    throw new MetadataError(`metadata field connectionString, or params: ${(error as Error).message}`)
  }
}

/** As daprd puts it together; holds the password. */
export function connectionStringOf(values: Record<string, string | undefined>): string {
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
