import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { messageOf } from '../../../errors.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../../metadata.ts'

export type Connection = Redis | Cluster

/** The connection settings that all of Dapr's Redis components share; bare numbers in durations are milliseconds. */
export const connectionFields: readonly MetadataField[] = [
  {
    name: 'redisHost',
    kind: 'string',
    required: true,
    description: 'host[:port] of the server; a comma-separated list for a cluster or sentinels.',
  },
  { name: 'redisPort', kind: 'int', min: 1, max: 65535, description: 'Port, when redisHost names none.' },
  { name: 'redisUsername', kind: 'string', description: 'User name.' },
  { name: 'redisPassword', kind: 'string', sensitive: true, description: 'Password.' },
  { name: 'redisType', kind: 'enum', values: ['node', 'cluster'], default: 'node', description: 'One server, or a cluster.' },
  { name: 'redisDB', kind: 'int', aliases: ['redisDb'], default: '0', min: 0, description: 'Database number; a cluster has only 0.' },
  { name: 'failover', kind: 'bool', default: 'false', description: 'redisHost names sentinels.' },
  { name: 'sentinelMasterName', kind: 'string', description: 'Name of the master that the sentinels watch.' },
  { name: 'sentinelUsername', kind: 'string', description: 'User name at the sentinels.' },
  { name: 'sentinelPassword', kind: 'string', sensitive: true, description: 'Password at the sentinels.' },
  { name: 'enableTLS', kind: 'bool', default: 'false', description: 'Talks TLS.' },
  { name: 'insecureSkipTLSVerify', kind: 'bool', default: 'false', description: 'Does not check the certificate of the server.' },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Key of the client certificate, PEM.' },
  {
    name: 'redisMaxRetries',
    kind: 'int',
    aliases: ['maxRetries'],
    default: '3',
    description: 'Tries of one command over a broken connection; -1: none.',
  },
  {
    name: 'redisMinRetryInterval',
    kind: 'duration',
    unit: 1,
    aliases: ['maxRetryBackoff'],
    default: '8ms',
    description: 'First wait before connecting again.',
  },
  { name: 'redisMaxRetryInterval', kind: 'duration', unit: 1, default: '512ms', description: 'Longest wait before connecting again.' },
  { name: 'dialTimeout', kind: 'duration', unit: 1, default: '5s', description: 'Bound on connecting.' },
  { name: 'readTimeout', kind: 'duration', unit: 1, default: '3s', description: 'Bound on one command; -1: none.' },
]

/** A connection that is not open yet. A `blocking` one waits without a command timeout and never gives a command up. */
export function createConnection(values: MetadataValues, options: { name: string; blocking: boolean }): Connection {
  const nodes = (values.redisHost as string).split(',').map((text) => nodeOf(text.trim(), values.redisPort as number | undefined))
  const first = nodes[0] as { host: string; port: number }
  const minimum = Math.max(values.redisMinRetryInterval as number, 1)
  const readTimeout = values.readTimeout as number
  const retry = (times: number) =>
    Math.min(minimum * 2 ** Math.min(times - 1, 20), Math.max(values.redisMaxRetryInterval as number, minimum))
  const shared: RedisOptions = {
    protocol: 2,
    lazyConnect: true,
    connectionName: options.name,
    username: values.redisUsername as string | undefined,
    password: values.redisPassword as string | undefined,
    connectTimeout: values.dialTimeout as number,
    maxRetriesPerRequest: options.blocking ? null : Math.max(values.redisMaxRetries as number, 0),
    commandTimeout: options.blocking || readTimeout <= 0 ? undefined : readTimeout,
    tls: values.enableTLS
      ? {
          rejectUnauthorized: !values.insecureSkipTLSVerify,
          cert: values.clientCert as string | undefined,
          key: values.clientKey as string | undefined,
        }
      : undefined,
  }
  if (values.redisType === 'cluster') {
    return new Cluster(nodes, { lazyConnect: true, redisOptions: shared, clusterRetryStrategy: retry })
  }
  const database = { ...shared, db: values.redisDB as number, retryStrategy: retry }
  if (values.failover) {
    if (!values.sentinelMasterName) throw new MetadataError('metadata field sentinelMasterName is required when failover is true')
    return new Redis({
      ...database,
      sentinels: nodes,
      name: values.sentinelMasterName as string,
      sentinelUsername: values.sentinelUsername as string | undefined,
      sentinelPassword: values.sentinelPassword as string | undefined,
    })
  }
  return new Redis({ ...database, ...first })
}

/** Opens a connection; rejects with an Error that names the server, leaving nothing open. */
export async function open(connection: Connection, server: string): Promise<void> {
  let last: unknown
  connection.on('error', (error: unknown) => {
    last = error
  })
  try {
    await connection.connect()
  } catch (error) {
    connection.disconnect()
    throw new Error(`cannot connect to Redis at ${server}: ${messageOf(last ?? error)}`, { cause: last ?? error })
  }
}

function nodeOf(text: string, given: number | undefined): { host: string; port: number } {
  const match = /^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(text)
  if (match === null || !match[1]) throw new MetadataError(`metadata field redisHost: "${text}" is not host[:port]`)
  const port = match[2] === undefined ? undefined : Number(match[2])
  if (port !== undefined && given !== undefined && port !== given)
    throw new MetadataError(`metadata fields redisHost and redisPort name different ports (${port} and ${given})`)
  return { host: match[1].replace(/^\[|\]$/g, ''), port: port ?? given ?? 6379 }
}
