import { ttlOf } from '../../given-ttl.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { type ConnectionString, parseConnectionString } from '../amqp/connection-string.ts'
import { Entra } from '../entra.ts'
import { entraFields, environmentField, readEntra } from '../entra-settings.ts'

const shared: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    sensitive: true,
    description:
      'Of a shared access policy: Endpoint, SharedAccessKeyName and SharedAccessKey, or SharedAccessSignature. UseDevelopmentEmulator=true: plain TCP, port 5672.',
  },
  {
    name: 'namespaceName',
    kind: 'string',
    description:
      'In place of connectionString: host of the namespace, e.g. orders.servicebus.windows.net; Microsoft Entra ID is signed in to.',
  },
  {
    name: 'timeoutInSec',
    kind: 'int',
    default: '60',
    min: 1,
    description: 'Limit for one try to send, and for one request about entities.',
  },
  { name: 'lockRenewalInSec', kind: 'int', default: '20', description: 'How often locks of messages under way are renewed; 0: never.' },
  {
    name: 'minConnectionRecoveryInSec',
    kind: 'int',
    default: '2',
    min: 0,
    description: 'Wait before a subscription that was lost is opened again; grows with each try.',
  },
  {
    name: 'maxConnectionRecoveryInSec',
    kind: 'int',
    default: '5',
    min: 0,
    description: 'The longest such wait. daprd’s default is 300.',
  },
  { name: 'disableEntityManagement', kind: 'bool', default: 'false', description: 'Entities exist; none is looked for or made.' },
  {
    name: 'maxRetriableErrorsPerSec',
    kind: 'int',
    default: '10',
    description: 'Messages not handled that are given back in a second; others wait with their slot. 0: no limit.',
  },
  { name: 'maxDeliveryCount', kind: 'int', description: 'Deliveries after which Service Bus dead-letters; for entities that are made.' },
  { name: 'lockDurationInSec', kind: 'int', description: 'How long a delivered message is locked; for entities that are made.' },
  {
    name: 'defaultMessageTimeToLiveInSec',
    kind: 'int',
    description: 'Time to live of messages, also ttlInSeconds; for entities that are made.',
  },
  {
    name: 'autoDeleteOnIdleInSec',
    kind: 'int',
    description: 'Idle time after which Service Bus deletes it, at least 300; for entities that are made.',
  },
  { name: 'publishMaxRetries', kind: 'int', default: '5', min: 0, description: 'Further tries to send, where that may help.' },
  {
    name: 'publishInitialRetryIntervalInMs',
    kind: 'int',
    aliases: ['publishInitialRetryInternalInMs'],
    default: '500',
    min: 0,
    description: 'Pause before the second try, growing by half with each.',
  },
  {
    name: 'managementEndpoint',
    kind: 'string',
    description:
      'Address of the API that makes entities, e.g. http://localhost:5300 of the emulator. Default: https at the namespace; none with UseDevelopmentEmulator=true. Ours, not in Dapr.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    unit: 1,
    default: '5s',
    min: 0,
    description: 'How long running handlers may take to finish when a subscription ends. Ours, not in Dapr.',
  },
  environmentField,
  ...entraFields,
]

const receiving = (active: string, handlers: string, timeout: string): MetadataField[] => [
  { name: 'maxActiveMessages', kind: 'int', default: active, description: 'Messages that a subscription holds, under way or waiting.' },
  {
    name: 'maxConcurrentHandlers',
    kind: 'int',
    default: handlers,
    description: 'Calls of the app at once; 0: as many as messages are held.',
  },
  { name: 'handlerTimeoutInSec', kind: 'int', default: timeout, description: 'Limit for one call of the app; 0: none.' },
]

export const queueFields: readonly MetadataField[] = [...shared, ...receiving('1000', '0', '60')]

export const topicFields: readonly MetadataField[] = [
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Name of the subscription to each topic. Default: the app id.',
  },
  ...queueFields,
]

export const bindingFields: readonly MetadataField[] = [
  { name: 'queueName', kind: 'string', description: 'The queue. Required.' },
  ...shared,
  ...receiving('1', '1', '0'),
]

/** What an entity is made with; seconds, undefined: as Service Bus has it. */
export interface EntityProperties {
  lockDuration: number | undefined
  timeToLive: number | undefined
  maxDeliveryCount: number | undefined
  autoDelete: number | undefined
}

export interface ServiceBusSettings {
  host: string
  port: number
  tls: boolean
  connection: ConnectionString | undefined
  /** In place of a connection string. */
  entra: Entra | undefined
  /** Where entities are made; undefined: none is. */
  admin: URL | undefined
  /** Why none is, where that surprises. */
  note: string | undefined
  consumer: string
  queue: string
  maxActive: number
  /** 0: no limit. */
  maxHandlers: number
  retriablePerSecond: number
  publishRetries: number
  properties: EntityProperties
  /** Milliseconds; 0: none. */
  timeout: number
  handlerTimeout: number
  lockRenewal: number
  recovery: readonly [number, number]
  publishPause: number
  drainTimeout: number
}

const RESOURCE = 'https://servicebus.azure.net'
const TLS_PORT = 5671
const PLAIN_PORT = 5672

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(
  fields: readonly MetadataField[],
  properties: Readonly<Record<string, string>>,
  appId: string,
): ServiceBusSettings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const number = (name: string) => Number(values[name])
  const optional = (name: string) => (values[name] === undefined ? undefined : Number(values[name]))
  const namespace = text('namespaceName')
  if (text('connectionString') !== '' && namespace !== '')
    throw new MetadataError('connectionString and namespaceName cannot both be specified')
  if (text('connectionString') === '' && namespace === '')
    throw new MetadataError('either one of connection string or namespace name are required')
  if (fields === bindingFields && text('queueName') === '') throw new MetadataError('missing queueName')
  if (number('maxActiveMessages') < 1) throw new MetadataError('maxActiveMessages must be 1 or greater')
  if (number('maxRetriableErrorsPerSec') < 0) throw new MetadataError('maxRetriableErrorsPerSec must not be negative')
  const timeToLive = optional('defaultMessageTimeToLiveInSec') ?? givenTtl(properties)
  if (timeToLive === 0) throw new MetadataError('defaultMessageTimeToLiveInSec must be greater than 0')
  const autoDelete = optional('autoDeleteOnIdleInSec')
  if (autoDelete !== undefined && autoDelete < 300) throw new MetadataError('autoDeleteOnIdleInSec must be greater than or equal to 300')
  const connection = namespace === '' ? parseConnectionString(text('connectionString')) : undefined
  const place = connection ?? placeOf(namespace)
  const plain = connection?.emulator === true
  const managed = values.disableEntityManagement !== true
  const least = number('minConnectionRecoveryInSec') * 1000
  return {
    host: place.host,
    port: place.port ?? (plain ? PLAIN_PORT : TLS_PORT),
    tls: !plain,
    connection,
    entra: connection ? undefined : new Entra(readEntra(values), RESOURCE),
    admin: managed ? adminOf(text('managementEndpoint'), place, plain) : undefined,
    note:
      managed && plain && text('managementEndpoint') === ''
        ? 'with UseDevelopmentEmulator=true and no managementEndpoint no entity is made; disableEntityManagement: true says that it is meant so'
        : undefined,
    consumer: text('consumerID') || appId,
    queue: text('queueName'),
    maxActive: number('maxActiveMessages'),
    maxHandlers: Math.max(0, number('maxConcurrentHandlers')),
    retriablePerSecond: number('maxRetriableErrorsPerSec'),
    publishRetries: number('publishMaxRetries'),
    properties: {
      lockDuration: optional('lockDurationInSec'),
      timeToLive,
      maxDeliveryCount: optional('maxDeliveryCount'),
      autoDelete,
    },
    timeout: number('timeoutInSec') * 1000,
    handlerTimeout: Math.max(0, number('handlerTimeoutInSec')) * 1000,
    lockRenewal: Math.max(0, number('lockRenewalInSec')) * 1000,
    recovery: [least, Math.max(least, number('maxConnectionRecoveryInSec') * 1000)],
    publishPause: number('publishInitialRetryIntervalInMs'),
    drainTimeout: number('drainTimeout'),
  }
}

function givenTtl(properties: Readonly<Record<string, string>>): number | undefined {
  try {
    const ttl = ttlOf(properties)
    return ttl === undefined ? undefined : Math.trunc(ttl / 1000)
  } catch (error) {
    throw new MetadataError(`invalid ttl: ${(error as Error).message}`)
  }
}

function placeOf(namespace: string): { host: string; port: number | undefined } {
  const found = /^(?:[a-z]+:\/\/)?([^\s:/?#@]+)(?::(\d+))?\/?$/i.exec(namespace.trim())
  if (!found) throw new MetadataError(`metadata field namespaceName: "${namespace}" is no host, e.g. orders.servicebus.windows.net`)
  return { host: found[1] as string, port: found[2] === undefined ? undefined : Number(found[2]) }
}

function adminOf(given: string, { host }: { host: string }, plain: boolean): URL | undefined {
  if (given !== '') {
    if (!URL.canParse(given) || !/^https?:/.test(given))
      throw new MetadataError('metadata field managementEndpoint is not an http or https URL')
    return new URL(given)
  }
  return plain ? undefined : new URL(`https://${host.includes(':') ? `[${host}]` : host}`)
}
