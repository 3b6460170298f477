import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { ComponentContext } from '../component.ts'
import { MetadataError, type MetadataValues, parseMetadata } from '../metadata.ts'
import type { Address } from './cluster.ts'
import type { SubType } from './commands.ts'
import { type Compression, levelOf } from './compression.ts'
import { fields } from './fields.ts'
import { type OAuthSettings, readOAuth } from './oauth.ts'
import { readSchemas, type TopicSchema } from './schemas.ts'

export type ProcessMode = 'sync' | 'async'

export interface PulsarSettings {
  seeds: readonly Address[]
  /** Where lookups go by HTTP instead, e.g. `http://host:8080`. */
  web: string | undefined
  tls: TlsOptions | undefined
  /** enableTLS is on and the address asks for none. */
  tlsUnused: boolean
  listener: string
  token: string | undefined
  oauth: OAuthSettings | undefined
  tenant: string
  namespace: string
  persistent: boolean
  batching: boolean
  batchMessages: number
  batchBytes: number
  compression: Compression
  level: number | undefined
  consumerId: string
  subscribeType: keyof typeof SubType
  earliest: boolean
  durable: boolean
  replicateState: boolean
  processMode: ProcessMode
  handlers: number
  queueSize: number
  /** By topic. */
  schemas: ReadonlyMap<string, TopicSchema>
  redeliveryDelay: number
  timeout: number
  drainTimeout: number
}

const SCHEMES: Readonly<Record<string, { port: number; secure: boolean; web: boolean }>> = {
  pulsar: { port: 6650, secure: false, web: false },
  'pulsar+ssl': { port: 6651, secure: true, web: false },
  http: { port: 80, secure: false, web: true },
  https: { port: 443, secure: true, web: true },
}
const TYPES = ['exclusive', 'shared', 'failover', 'key_shared'] as const
const DEFAULT_HANDLERS = 100
const DEFAULT_QUEUE = 1000

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(context: ComponentContext): PulsarSettings {
  const values = parseMetadata(fields, context.properties)
  for (const name of ['publicKey', 'privateKey', 'keys'])
    if (values[name])
      throw new MetadataError(`metadata field ${name}: end-to-end encryption is not supported; leave out publicKey, privateKey and keys`)
  const word = <T extends string>(name: string, known: readonly T[], wrong: string): T => {
    const found = known.find((one) => one === (values[name] as string).toLowerCase())
    if (found === undefined) throw new MetadataError(wrong)
    return found
  }
  const compression = word(
    'compressionType',
    ['none', 'lz4', 'zlib', 'zstd'],
    'invalid compression type. Accepted values are `none`, `lz4`, `zlib` and `zstd`',
  )
  const level = word(
    'compressionLevel',
    ['default', 'faster', 'better'],
    'invalid compression level. Accepted values are `default`, `faster` and `better`',
  )
  const queueSize = values.receiverQueueSize as number
  return {
    ...serviceOf(values),
    listener: (values.listenerName as string | undefined) ?? '',
    token: values.token as string | undefined,
    oauth: values.token ? undefined : readOAuth(values),
    tenant: values.tenant as string,
    namespace: values.namespace as string,
    persistent: values.persistent as boolean,
    batching: !values.disableBatching,
    batchMessages: values.batchingMaxMessages as number,
    batchBytes: values.batchingMaxSize as number,
    compression,
    level: levelOf(compression, level),
    consumerId: (values.consumerID as string | undefined) ?? context.appId,
    subscribeType: word(
      'subscribeType',
      TYPES,
      'invalid subscription type. Accepted values are `exclusive`, `shared`, `failover` and `key_shared`',
    ),
    earliest:
      word(
        'subscribeInitialPosition',
        ['latest', 'earliest'],
        'invalid subscription initial position. Accepted values are `latest` and `earliest`',
      ) === 'earliest',
    durable: word('subscribeMode', ['durable', 'non_durable'], 'invalid subscription mode') === 'durable',
    replicateState: values.replicateSubscriptionState as boolean,
    processMode: modeOf((values.processMode as string | undefined) ?? 'async'),
    handlers: (values.maxConcurrentHandlers as number) || DEFAULT_HANDLERS,
    queueSize: queueSize > 0 ? queueSize : DEFAULT_QUEUE,
    schemas: readSchemas(context.properties),
    redeliveryDelay: values.redeliveryDelay as number,
    timeout: values.publishTimeout as number,
    drainTimeout: values.drainTimeout as number,
  }
}

function modeOf(given: string): ProcessMode {
  const mode = given.toLowerCase()
  if (mode === 'async' || mode === 'sync') return mode
  throw new MetadataError(`invalid processMode ${JSON.stringify(mode)}: accepted values are "async" and "sync"`)
}

/** Of a subscription that may have its own; undefined when what it has is none. */
export function ownMode(given: string): ProcessMode | undefined {
  const mode = given.toLowerCase()
  return mode === 'async' || mode === 'sync' ? mode : undefined
}

/** Of a subscription that may have its own: as it is written, and what daprd takes for exclusive is so here. */
export function ownType(given: string): keyof typeof SubType {
  return TYPES.find((one) => one === given) ?? 'exclusive'
}

function serviceOf(values: MetadataValues): Pick<PulsarSettings, 'seeds' | 'web' | 'tls' | 'tlsUnused'> {
  const given = values.host as string
  const match = /^([a-z+]+):\/\/(.*)$/i.exec(given.trim())
  const scheme = match ? SCHEMES[(match[1] as string).toLowerCase()] : SCHEMES.pulsar
  if (scheme === undefined)
    throw new MetadataError(`metadata field host: ${match?.[1]}:// is not supported; use pulsar://, pulsar+ssl://, http:// or https://`)
  const seeds = (match?.[2] ?? given)
    .replace(/\/.*$/, '')
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean)
    .map((one) => {
      const parts = /^(?:\[([^\]]+)\]|([^:@]+))(?::(\d{1,5}))?$/.exec(one)
      if (!parts) throw new MetadataError('metadata field host is not host:port or a URL such as pulsar://host:6650')
      return { host: (parts[1] ?? parts[2]) as string, port: Number(parts[3] ?? scheme.port) }
    })
  const [first] = seeds
  if (first === undefined) throw new MetadataError('pulsar error: missing pulsar host')
  const enabled = values.enableTLS as boolean
  return {
    seeds,
    web: scheme.web
      ? `http${scheme.secure ? 's' : ''}://${first.host.includes(':') ? `[${first.host}]` : first.host}:${first.port}`
      : undefined,
    tls: scheme.secure ? { minVersion: 'TLSv1.2', rejectUnauthorized: enabled } : undefined,
    tlsUnused: enabled && !scheme.secure,
  }
}
