import { Redis, type RedisOptions } from 'ioredis'
import { MetadataError, type MetadataField, type MetadataValues } from './metadata.ts'

/** Dapr's Redis connection settings as configuration and lock stores read them (one server, or sentinels). */
export const redisFields: readonly MetadataField[] = [
  { name: 'redisHost', kind: 'string', required: true, description: 'host[:port]; several sentinels separated by commas.' },
  { name: 'redisPort', kind: 'int', description: 'Port, when redisHost has none. Default 6379.' },
  { name: 'redisUsername', kind: 'string', default: '', description: 'User of Redis ACLs.' },
  { name: 'redisPassword', kind: 'string', default: '', sensitive: true, description: 'Password.' },
  { name: 'sentinelUsername', kind: 'string', description: 'User at the sentinels.' },
  { name: 'sentinelPassword', kind: 'string', sensitive: true, description: 'Password at the sentinels.' },
  { name: 'sentinelMasterName', kind: 'string', description: 'Name of the master, with failover.' },
  { name: 'failover', kind: 'bool', default: 'false', description: 'redisHost names sentinels.' },
  { name: 'redisType', kind: 'enum', values: ['node', 'cluster'], default: 'node', description: 'Only node is supported here.' },
  { name: 'redisDB', kind: 'int', default: '0', min: 0, description: 'Database number.' },
  { name: 'enableTLS', kind: 'bool', default: 'false', description: 'Connect with TLS.' },
  { name: 'insecureSkipTLSVerify', kind: 'bool', default: 'false', description: "Don't verify the server's certificate." },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Client key, PEM.' },
  {
    name: 'redisMaxRetries',
    kind: 'int',
    default: '3',
    aliases: ['maxRetries'],
    description: 'How often a command is tried again; -1: never.',
  },
  { name: 'dialTimeout', kind: 'duration', unit: 1, default: '5s', description: 'Limit for connecting.' },
  { name: 'readTimeout', kind: 'duration', unit: 1, default: '3s', description: 'Limit for an answer; negative: none.' },
]

/** A client that connects when asked to; commands fail after the configured retries instead of waiting for ever. */
export function redisClient(values: MetadataValues): Redis {
  if (values.redisType === 'cluster')
    throw new MetadataError('metadata field redisType: cluster is not supported by this component; use node, with failover for sentinels')
  const hosts = String(values.redisHost)
    .split(',')
    .map((host) => address(host.trim(), values.redisPort as number | undefined))
  const first = hosts[0] as { host: string; port: number }
  const readTimeout = Number(values.readTimeout)
  const options: RedisOptions = {
    lazyConnect: true,
    username: String(values.redisUsername) || undefined,
    password: String(values.redisPassword) || undefined,
    db: Number(values.redisDB),
    connectTimeout: Number(values.dialTimeout) > 0 ? Number(values.dialTimeout) : undefined,
    commandTimeout: readTimeout > 0 ? readTimeout : undefined,
    maxRetriesPerRequest: Math.max(0, Number(values.redisMaxRetries)),
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 2000),
  }
  if (values.enableTLS) {
    options.tls = {
      rejectUnauthorized: !values.insecureSkipTLSVerify,
      ...(values.clientCert ? { cert: String(values.clientCert) } : {}),
      ...(values.clientKey ? { key: String(values.clientKey) } : {}),
    }
  }
  if (values.failover) {
    options.sentinels = hosts
    options.name = String(values.sentinelMasterName ?? '')
    if (values.sentinelUsername) options.sentinelUsername = String(values.sentinelUsername)
    if (values.sentinelPassword) options.sentinelPassword = String(values.sentinelPassword)
    if (options.tls) Object.assign(options, { enableTLSForSentinelMode: true, sentinelTLS: options.tls })
  } else {
    options.host = first.host
    options.port = first.port
  }
  return new Redis(options)
}

/** Connects once; rejects with the server's address and the reason, leaving no reconnecting client behind. */
export async function connectRedis(client: Redis, signal: AbortSignal): Promise<void> {
  let last: unknown
  const remember = (error: unknown) => {
    last = error
  }
  client.on('error', remember)
  const abort = () => client.disconnect()
  signal.addEventListener('abort', abort, { once: true })
  try {
    if (signal.aborted) throw signal.reason
    await client.connect()
    await client.ping()
  } catch (error) {
    client.disconnect()
    const reason = last instanceof Error ? last.message : error instanceof Error ? error.message : String(error)
    throw new Error(`cannot connect to Redis at ${client.options.host}:${client.options.port}: ${reason}`, { cause: error })
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** QUIT when the server is there, otherwise just lets go. */
export async function closeRedis(client: Redis): Promise<void> {
  if (client.status === 'ready') await client.quit().catch(() => {})
  client.disconnect()
}

function address(text: string, port: number | undefined): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text)
  if (!match) return { host: text, port: port ?? 6379 }
  const written = match[3] === undefined ? undefined : Number(match[3])
  if (written !== undefined && port !== undefined && written !== port)
    throw new MetadataError(`metadata fields redisHost and redisPort name different ports (${written}, ${port})`)
  return { host: (match[1] ?? match[2]) as string, port: written ?? port ?? 6379 }
}
