import { addressOf } from '../../gcp/service.ts'
import { googleFields, type Identity, readIdentity } from '../../gcp/settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { drainTimeoutField, secondsToRedeliverField } from '../fields.ts'

export const fields: readonly MetadataField[] = [
  ...googleFields,
  {
    name: 'identityProjectID',
    kind: 'string',
    description: 'Project of the service account; not needed.',
  },
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Who subscribes, in the names of subscriptions: <consumerID>-<topic>. Default: the app id.',
  },
  {
    name: 'endpoint',
    kind: 'string',
    description: 'An emulator, e.g. localhost:8085, without privateKeyID: nobody signs in there. Also PUBSUB_EMULATOR_HOST.',
  },
  { name: 'disableEntityManagement', kind: 'bool', default: 'false', description: 'Topics and subscriptions exist; none is made.' },
  {
    name: 'enableMessageOrdering',
    kind: 'bool',
    default: 'false',
    description: 'Messages of an ordering key come one after the other, in their order; for subscriptions that are made.',
  },
  { name: 'orderingKey', kind: 'string', description: 'The key of what is published; metadata orderingKey of a message goes before it.' },
  {
    name: 'deadLetterTopic',
    kind: 'string',
    description: 'Topic for messages that were given maxDeliveryAttempts times; for subscriptions that are made.',
  },
  { name: 'maxDeliveryAttempts', kind: 'int', default: '5', description: 'With deadLetterTopic; from 5 to 100.' },
  {
    name: 'ackDeadline',
    kind: 'duration',
    default: '20s',
    description: 'How long a message is left to a sidecar that went away, from 10s to 10m; a message under way is renewed.',
  },
  {
    name: 'maxOutstandingMessages',
    kind: 'int',
    default: '1000',
    description: 'Messages that a subscription has under way, and handlers at once; less than 1: 1000.',
  },
  {
    name: 'maxOutstandingBytes',
    kind: 'number',
    default: '67108864',
    description: 'Their bytes; less than 1: 64 MiB. daprd’s default is 1 GB.',
  },
  {
    name: 'maxConcurrentConnections',
    kind: 'int',
    default: '1',
    description: 'Read and not acted on: a subscription has one stream.',
  },
  {
    name: 'maxReconnectionAttempts',
    kind: 'int',
    default: '30',
    description: 'Read and not acted on: a lost stream is opened again for ever.',
  },
  {
    name: 'connectionRecoveryInSec',
    kind: 'int',
    default: '2',
    min: 0,
    description: 'Longest wait before a lost stream is opened again, seconds.',
  },
  secondsToRedeliverField,
  drainTimeoutField,
]

export interface PubSubSettings {
  project: string
  identity: Identity
  address: string
  secure: boolean
  consumer: string
  managed: boolean
  ordered: boolean
  orderingKey: string
  deadLetters: { topic: string; after: number } | undefined
  /** Seconds. */
  ackDeadline: number
  most: number
  mostBytes: number
  /** Milliseconds. */
  recovery: number
  redeliverInterval: number
  drainTimeout: number
}

const MOST = 1000
const MOST_BYTES = 64 << 20
const GOOGLE = 'pubsub.googleapis.com:443'

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(properties: Readonly<Record<string, string>>, appId: string): PubSubSettings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const number = (name: string) => Number(values[name])
  if (text('projectID') === '') throw new MetadataError('gcp pubsub error: missing attribute projectId')
  if (number('ackDeadline') <= 0)
    throw new MetadataError(
      `gcp pubsub error: invalid AckDeadline ${properties.ackDeadline}. Value must be a positive Go duration string or integer`,
    )
  // As in Google's SDK: an emulator is for those who bring no key.
  const emulator = text('privateKeyID') === '' ? text('endpoint') || process.env.PUBSUB_EMULATOR_HOST || '' : ''
  const deadLetters = text('deadLetterTopic')
  return {
    project: text('projectID'),
    identity: emulator === '' ? readIdentity(values) : { kind: 'nobody' },
    address: emulator === '' ? GOOGLE : addressOf('endpoint', emulator),
    secure: emulator === '',
    consumer: text('consumerID') || appId,
    managed: values.disableEntityManagement !== true,
    ordered: values.enableMessageOrdering === true,
    orderingKey: text('orderingKey'),
    deadLetters: deadLetters === '' ? undefined : { topic: deadLetters, after: number('maxDeliveryAttempts') },
    ackDeadline: Math.min(600, Math.max(10, Math.round(number('ackDeadline') / 1000))),
    most: number('maxOutstandingMessages') > 0 ? number('maxOutstandingMessages') : MOST,
    mostBytes: number('maxOutstandingBytes') > 0 ? number('maxOutstandingBytes') : MOST_BYTES,
    recovery: number('connectionRecoveryInSec') * 1000,
    redeliverInterval: number('redeliverInterval'),
    drainTimeout: number('drainTimeout'),
  }
}
