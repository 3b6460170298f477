import type { StateDelete, StateFeature, StateGet, StateItem, StateSet, StateStore } from '../../../blocks/state/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { MemcachedClient } from '../../memcached/client.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { shownAddress } from '../../shown-address.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'hosts',
    kind: 'string',
    required: true,
    description:
      'Servers, `host:port`, separated by commas; every sidecar has to list them in the same order, for it decides where a key lives.',
  },
  {
    name: 'maxIdleConnections',
    kind: 'int',
    default: '2',
    description: 'Read for compatibility: one connection a server carries all commands, one behind the other.',
  },
  { name: 'timeout', kind: 'int', default: '1000', description: 'Milliseconds for one operation; 0 or less: 1000.' },
]

/** From this many seconds on memcached takes a number for a Unix time. */
const THIRTY_DAYS = 30 * 24 * 3600

/** State in Memcached, which forgets what it has no room for, and knows neither ETags nor transactions. */
class MemcachedState implements StateStore {
  readonly features: readonly StateFeature[] = ['TTL']
  private readonly client: MemcachedClient

  constructor(context: ComponentContext) {
    const values = parseMetadata(fields, context.properties)
    const timeout = values.timeout as number
    this.client = new MemcachedClient({
      hosts: (values.hosts as string).split(',').map((text) => addressOf(text.trim())),
      timeout: timeout > 0 ? timeout : 1000,
      owner: `state store ${context.name}`,
    })
  }

  init(): Promise<void> {
    return this.client.ping()
  }

  ping(): Promise<void> {
    return this.client.ping()
  }

  async get({ key }: StateGet): Promise<StateItem | undefined> {
    const data = await this.client.get(key)
    return data && { data }
  }

  async set(item: StateSet): Promise<void> {
    await this.client.set(item.key, item.value, expiryOf(item))
  }

  delete({ key }: StateDelete): Promise<void> {
    return this.client.delete(key)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]()
  }
}

function expiryOf({ key, metadata }: StateSet): number {
  const text = metadata.ttlInSeconds
  if (!text) return 0
  if (!/^[+-]?\d+$/.test(text))
    throw new Error(`failed to parse ttl ${key}: strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`)
  const seconds = Math.max(0, Number(text))
  if (seconds < THIRTY_DAYS) return seconds
  // Further than the protocol's 31 bits is for good, as far as memcached goes.
  return Math.min(Math.floor(Date.now() / 1000) + seconds, 2 ** 31 - 1)
}

function addressOf(text: string): { host: string; port: number } {
  const parts = /^(?:\[([^\]]+)\]|([^:\s]+))(?::(\d+))?$/.exec(text)
  if (!parts) throw new MetadataError(`metadata field hosts: "${shownAddress(text)}" is not host:port`)
  return { host: (parts[1] ?? parts[2]) as string, port: Number(parts[3] ?? 11211) }
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in Memcached: a cache, without ETags or transactions.',
  metadata: fields,
  create: (context) => new MemcachedState(context),
}
