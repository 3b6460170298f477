import { MetadataError, type MetadataField, type MetadataValues, parseMetadata } from '../../metadata.ts'
import { backoffFields, type Retry, retryOf } from '../../partitions/backoff.ts'
import { drainTimeoutField } from '../../pubsub/fields.ts'
import { type ConnectionString, parseConnectionString } from '../amqp/connection-string.ts'
import { sasTokens } from '../amqp/sas.ts'
import type { TokenSource } from '../amqp/types.ts'
import { type BlobSettings, readBlobSettings } from '../blob-settings.ts'
import { Entra } from '../entra.ts'
import { entraFields, environmentField, readEntra } from '../entra-settings.ts'
import { entraTokens } from '../entra-tokens.ts'

/** What is not as Kafka has it. */
const BACKOFF: Readonly<Record<string, Partial<MetadataField>>> = {
  backOffPolicy: { default: 'constant', description: 'How the waits between tries of a message grow.' },
  backOffMaxRetries: { default: '3' },
}

/** What Dapr's components on Event Hubs say of the namespace, of who reads and of where checkpoints are kept. */
export const hubFields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    sensitive: true,
    description: 'Of the namespace, or of one event hub (EntityPath). In place of eventHubNamespace.',
  },
  {
    name: 'eventHubNamespace',
    kind: 'string',
    description: 'Namespace that is signed in to by Microsoft Entra ID; a name without dot and port gets .servicebus.windows.net appended.',
  },
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Consumer group to read in; instances of one group share the partitions. For reading; pub/sub’s default is the app id.',
  },
  { name: 'consumerGroup', kind: 'string', description: 'The same; it goes before consumerID.' },
  {
    name: 'storageAccountName',
    kind: 'string',
    description: 'Storage account for checkpoints. For reading, without storageConnectionString.',
  },
  {
    name: 'storageAccountKey',
    kind: 'string',
    sensitive: true,
    description: 'Its key; without it Microsoft Entra ID is signed in to.',
  },
  {
    name: 'storageConnectionString',
    kind: 'string',
    sensitive: true,
    description: 'In place of storageAccountName and storageAccountKey.',
  },
  { name: 'storageContainerName', kind: 'string', description: 'Container of the checkpoints, made where it is not there. For reading.' },
  {
    name: 'enableInOrderMessageDelivery',
    kind: 'bool',
    default: 'false',
    description: 'Messages of a partition go to the app one after the other; otherwise up to 100 of them at once.',
  },
  {
    name: 'getAllMessageProperties',
    kind: 'bool',
    default: 'false',
    description: 'Application properties of a message are metadata, too; metadata requireAllProperties of a subscription says the same.',
  },
  {
    name: 'enableEntityManagement',
    kind: 'bool',
    default: 'false',
    description: 'Not built: event hubs and consumer groups have to be there. With connectionString it counts for nothing, as in Dapr.',
  },
  { name: 'resourceGroupName', kind: 'string', description: 'Read and not acted on: for enableEntityManagement.' },
  { name: 'subscriptionID', kind: 'string', description: 'Read and not acted on: for enableEntityManagement.' },
  { name: 'partitionCount', kind: 'int', description: 'Read and not acted on: for enableEntityManagement.' },
  { name: 'messageRetentionInDays', kind: 'int', description: 'Read and not acted on: for enableEntityManagement.' },
  ...backoffFields.map((field) => ({ ...field, ...BACKOFF[field.name] })),
  drainTimeoutField,
  environmentField,
  ...entraFields,
]

/** The field of the binding. */
export const eventHubField: MetadataField = {
  name: 'eventHub',
  kind: 'string',
  description: 'Event hub, where the connection string has no EntityPath.',
}

export interface HubSettings {
  host: string
  port: number
  /** `false`: Microsoft's emulator, over plain TCP. */
  tls: boolean
  /** As checkpoints name it: with the port where one is written. */
  namespace: string
  tokens: TokenSource
  /** Who signs in, without a connection string. */
  entra: Entra | undefined
  /** The only hub of it that the connection string is for; of the binding, the hub. */
  hub: string | undefined
  group: string | undefined
  /** Where checkpoints are; a text: what is missing. */
  storage: BlobSettings | string
  inOrder: boolean
  allProperties: boolean
  retry: Retry
  /** Milliseconds. */
  drainTimeout: number
}

const SECURE = 5671
const PLAIN = 5672
/** Whom a token for Event Hubs is for. */
const EVENT_HUBS = 'https://eventhubs.azure.net'

/** Throws MetadataError, with Dapr's words where it has some; none shows a key. `isBinding`: there has to be one hub. */
export function readHubSettings(properties: Readonly<Record<string, string>>, isBinding: boolean, group?: string): HubSettings {
  const values = parseMetadata([...hubFields, eventHubField], properties)
  const text = (name: string) => values[name] as string | undefined
  const given = text('connectionString')
  const named = text('eventHubNamespace')
  if (given === undefined && named === undefined) throw new MetadataError('one of connectionString or eventHubNamespace is required')
  if (given !== undefined && named !== undefined)
    throw new MetadataError('only one of connectionString or eventHubNamespace should be passed')
  const connection = given === undefined ? undefined : parseConnectionString(given)
  if (values.enableEntityManagement && !connection)
    throw new MetadataError(
      'metadata field enableEntityManagement: Outrider makes no event hubs and consumer groups; make them in Azure (az eventhubs eventhub create, az eventhubs eventhub consumer-group create) and leave the field out',
    )
  const { host, port: written } = connection ?? placeOf(named as string)
  const port = written ?? (connection?.emulator ? PLAIN : SECURE)
  const entra = connection ? undefined : new Entra(readEntra(values), EVENT_HUBS)
  return {
    host,
    port,
    tls: !connection?.emulator,
    namespace: written === undefined ? host : `${host}:${port}`,
    tokens: connection ? sasTokens(connection) : entraTokens(entra as Entra),
    entra,
    hub: isBinding ? hubOf(connection, text('eventHub')) : connection?.entityPath,
    group: text('consumerGroup') ?? text('consumerID') ?? group,
    storage: storageOf(values, properties),
    inOrder: values.enableInOrderMessageDelivery === true,
    allProperties: values.getAllMessageProperties === true,
    retry: retryOf(values, 0),
    drainTimeout: values.drainTimeout as number,
  }
}

/** A name alone is one of Azure's; with a dot or a port it is an address. */
function placeOf(namespace: string): { host: string; port: number | undefined } {
  const [, host, port] = /^(.+):(\d+)$/.exec(namespace) ?? []
  if (host !== undefined) return { host, port: Number(port) }
  return { host: namespace.includes('.') ? namespace : `${namespace}.servicebus.windows.net`, port: undefined }
}

function hubOf(connection: ConnectionString | undefined, given: string | undefined): string {
  const hub = connection?.entityPath ?? given
  if (hub !== undefined) return hub
  throw new MetadataError(
    connection
      ? "the provided connection string does not contain a value for 'EntityPath' and no 'eventHub' property was passed"
      : "property 'eventHub' is required when connecting with Azure AD",
  )
}

/** The fields of the storage under the names that they have with the components on Blob Storage; how Entra ID is signed in to is the same. */
function storageOf(values: MetadataValues, properties: Readonly<Record<string, string>>): BlobSettings | string {
  const text = (name: string) => (values[name] as string | undefined) ?? ''
  const needs = (name: string) => `property ${name} is required to subscribe to an Event Hub topic`
  if (text('storageAccountName') === '' && text('storageConnectionString') === '') return needs('storageAccountName')
  if (text('storageContainerName') === '') return needs('storageContainerName')
  const shared = [environmentField, ...entraFields].flatMap(({ name, aliases = [] }) => [name, ...aliases].map((one) => one.toLowerCase()))
  return readBlobSettings({
    ...Object.fromEntries(Object.entries(properties).filter(([name]) => shared.includes(name.toLowerCase()))),
    containerName: text('storageContainerName'),
    accountName: text('storageAccountName'),
    accountKey: text('storageAccountKey'),
    connectionString: text('storageConnectionString'),
  })
}
