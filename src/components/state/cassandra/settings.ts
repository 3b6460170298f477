import { CONSISTENCY, type Consistency } from '../../cassandra/connection.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { shownAddress } from '../../shown-address.ts'

export const fields: readonly MetadataField[] = [
  {
    name: 'hosts',
    kind: 'string',
    required: true,
    description: 'Nodes, separated by commas. Only these are connected to: name several, so that one may be away.',
  },
  { name: 'port', kind: 'int', default: '9042', min: 1, max: 65535, description: 'Port of the nodes, where hosts has none.' },
  { name: 'username', kind: 'string', description: 'User.' },
  { name: 'password', kind: 'string', sensitive: true, description: 'Password.' },
  {
    name: 'enableHostVerification',
    kind: 'bool',
    default: 'false',
    description: 'Speak TLS, with a certificate of the server that is for its name and signed by an authority that the system trusts.',
  },
  { name: 'keyspace', kind: 'string', default: 'dapr', description: 'Keyspace; it is made when it is not there.' },
  { name: 'table', kind: 'string', default: 'items', description: 'Table; it is made when it is not there.' },
  { name: 'replicationFactor', kind: 'int', default: '1', min: 1, description: 'Copies of each item, for a keyspace that is made.' },
  {
    name: 'consistency',
    kind: 'enum',
    values: Object.keys(CONSISTENCY),
    default: 'All',
    description:
      'How many copies have to answer, where a request says nothing of consistency: strong reads ask All and writes Quorum, eventual ones One and Any.',
  },
  { name: 'protoVersion', kind: 'int', default: '4', min: 3, description: 'Version of the protocol: 3, or else 4.' },
]

export interface CassandraSettings {
  nodes: { host: string; port: number }[]
  version: number
  username: string | undefined
  password: string | undefined
  tls: boolean
  keyspace: string
  table: string
  replicas: number
  consistency: Consistency
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): CassandraSettings {
  const values = parseMetadata(fields, properties)
  return {
    nodes: (values.hosts as string).split(',').map((text) => nodeOf(text.trim(), values.port as number)),
    version: values.protoVersion === 3 ? 3 : 4,
    username: values.username as string | undefined,
    password: values.password as string | undefined,
    tls: values.enableHostVerification as boolean,
    keyspace: identifier('keyspace', values.keyspace as string),
    table: identifier('table', values.table as string),
    replicas: values.replicationFactor as number,
    consistency: values.consistency as Consistency,
  }
}

function nodeOf(text: string, port: number): { host: string; port: number } {
  const parts = /^(?:\[([^\]]+)\]|([^:@\s]+))(?::(\d+))?$/.exec(text)
  if (!parts) throw new MetadataError(`metadata field hosts: "${shownAddress(text)}" is not host or host:port`)
  return { host: (parts[1] ?? parts[2]) as string, port: Number(parts[3] ?? port) }
}

function identifier(field: string, text: string): string {
  if (/^[A-Za-z][A-Za-z0-9_]{0,47}$/.test(text)) return text
  throw new MetadataError(`metadata field ${field}: ${JSON.stringify(text)} is no identifier of up to 48 letters, digits and underscores`)
}
