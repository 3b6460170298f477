import { MetadataError, type MetadataValues } from '../metadata.ts'
import { shownAddress } from '../shown-address.ts'
import { redisAdvice } from './advice.ts'
import type { RedisClient, RedisClientOptions } from './client.ts'
import { RedisConnection } from './connection.ts'
import { readLogin } from './login.ts'

export interface OpenOptions extends Pick<RedisClientOptions, 'onError' | 'onReconnect' | 'onMessage'> {
  /** Shown by CLIENT LIST. */
  name: string
  /** For commands that wait at the server so long, milliseconds; none of them is sent a second time. */
  blocking?: number
  signal?: AbortSignal | undefined
  /** What the waits between two tries to connect again do not exceed now, milliseconds. Default: redisMaxRetryInterval alone. */
  longestWait?: () => number
}

/** Where a component's metadata says its server is. */
export interface RedisAddress {
  host: string
  port: number
}

/** What a server has for the answer to a command that has waited there, milliseconds, whatever readTimeout says. */
const LEAST_MARGIN = 1000

/** Connects as the metadata says (see `redisFields`); rejects with an Error that names the server, leaving nothing open. */
export async function openRedis(values: MetadataValues, options: OpenOptions): Promise<RedisClient> {
  const nodes = redisAddresses(values)
  const first = nodes[0] as RedisAddress
  const minimum = Math.max(values.redisMinRetryInterval as number, 1)
  const maximum = Math.max(values.redisMaxRetryInterval as number, minimum)
  const readTimeout = values.readTimeout as number
  const common: RedisClientOptions = {
    ...first,
    name: options.name,
    username: (values.redisUsername as string) || undefined,
    password: (values.redisPassword as string) || undefined,
    login: readLogin(values),
    database: values.redisDB as number,
    connectTimeout: (values.dialTimeout as number) > 0 ? (values.dialTimeout as number) : undefined,
    commandTimeout: options.blocking ? options.blocking + Math.max(readTimeout, LEAST_MARGIN) : Math.max(readTimeout, 0),
    maxRetries: options.blocking ? 0 : Math.max(values.redisMaxRetries as number, 0),
    backoff: (attempt) => Math.min(minimum * 2 ** Math.min(attempt - 1, 20), maximum, options.longestWait?.() ?? maximum),
    tls: values.enableTLS
      ? {
          rejectUnauthorized: !values.insecureSkipTLSVerify,
          ...(values.clientCert ? { cert: values.clientCert as string } : {}),
          ...(values.clientKey ? { key: values.clientKey as string } : {}),
        }
      : undefined,
    onError: options.onError,
    onReconnect: options.onReconnect,
    onMessage: options.onMessage,
  }
  const client = await make(values, nodes, common)
  try {
    await client.connect(options.signal)
  } catch (error) {
    const { reason, next } = redisAdvice(error, common.tls !== undefined)
    throw new Error(`cannot connect to Redis at ${first.host}:${first.port}: ${reason} (${next})`, { cause: error })
  }
  return client
}

async function make(values: MetadataValues, nodes: RedisAddress[], common: RedisClientOptions): Promise<RedisClient> {
  if (values.redisType !== 'cluster' && !values.failover) return new RedisConnection(common)
  const { clusterClient, sentinelClient } = await import('./ioredis.ts')
  if (values.redisType === 'cluster') return clusterClient(nodes, common)
  if (!values.sentinelMasterName) throw new MetadataError('metadata field sentinelMasterName is required when failover is true')
  return sentinelClient(nodes, common, {
    master: values.sentinelMasterName as string,
    username: values.sentinelUsername as string | undefined,
    password: values.sentinelPassword as string | undefined,
  })
}

/** The addresses in redisHost. Throws MetadataError for text that is none. */
export function redisAddresses(values: MetadataValues): RedisAddress[] {
  return (values.redisHost as string).split(',').map((text) => address(text.trim(), values.redisPort as number | undefined))
}

function address(text: string, given: number | undefined): RedisAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text)
  if (!match) throw new MetadataError(`metadata field redisHost: "${shownAddress(text)}" is not host[:port]`)
  const written = match[3] === undefined ? undefined : Number(match[3])
  if (written !== undefined && given !== undefined && written !== given)
    throw new MetadataError(`metadata fields redisHost and redisPort name different ports (${written} and ${given})`)
  return { host: (match[1] ?? match[2]) as string, port: written ?? given ?? 6379 }
}
