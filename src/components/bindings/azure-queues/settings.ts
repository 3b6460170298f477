import { cloudOf, entraFields, environmentField } from '../../azure/entra-settings.ts'
import { accountKeyField, accountNameField, given, SUFFIXES, signingOf } from '../../azure/storage-account.ts'
import type { StoragePlace } from '../../azure/storage-client.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  accountNameField,
  {
    name: 'queueName',
    kind: 'string',
    aliases: ['queue', 'storageAccountQueue'],
    description: 'Queue to send to and to read from, made where it is not there. Required.',
  },
  accountKeyField,
  {
    name: 'queueEndpoint',
    kind: 'string',
    aliases: ['endpoint', 'storageEndpoint', 'storageAccountEndpoint', 'queueEndpointUrl'],
    description: 'Address in place of Azure, e.g. http://127.0.0.1:10001 for Azurite; the account is appended.',
  },
  {
    name: 'pollingInterval',
    kind: 'duration',
    unit: 1,
    default: '10s',
    description: 'Pause before an empty queue is asked again; at least 100ms. A bare number is milliseconds.',
  },
  {
    name: 'ttl',
    kind: 'duration',
    aliases: ['ttlInSeconds'],
    description: 'How long a message is kept, in whole seconds; a message’s own metadata ttl goes before it. Default: 10 minutes.',
  },
  { name: 'decodeBase64', kind: 'bool', default: 'false', description: 'What is read from the queue is Base64; the app gets the bytes.' },
  { name: 'encodeBase64', kind: 'bool', default: 'false', description: 'What is sent to the queue is sent as Base64.' },
  {
    name: 'visibilityTimeout',
    kind: 'duration',
    default: '30s',
    min: 0,
    description: 'How long a message that is being handled is hidden from others, and until it comes again when it was not.',
  },
  {
    name: 'initialVisibilityDelay',
    kind: 'duration',
    description: 'How long a new message is hidden; a message’s own metadata initialVisibilityDelay goes before it.',
  },
  environmentField,
  ...entraFields,
]

export interface QueueSettings extends StoragePlace {
  /** Milliseconds. */
  pause: number
  visibility: number
  ttl: number
  delay: number | undefined
  decode: boolean
  encode: boolean
}

const TTL = 600_000
const LEAST_PAUSE = 100
const RETRIES = 3

/** Throws MetadataError, with Dapr's words where it has some; none shows a key. */
export function readQueueSettings(properties: Readonly<Record<string, string>>): QueueSettings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const account = given(values, 'accountName')
  const name = given(values, 'queueName')
  const pause = Number(values.pollingInterval)
  if (pause < LEAST_PAUSE) throw new MetadataError("invalid value for 'pollingInterval': must be greater than 100ms")
  const own = text('queueEndpoint').replace(/\/+$/, '')
  const base = own === '' ? `https://${account}.queue.${SUFFIXES[cloudOf(values)]}` : `${own}/${account}`
  if (!URL.canParse(base) || !/^https?:/.test(base)) throw new MetadataError('metadata field queueEndpoint is not an http or https URL')
  return {
    place: new URL(`${base}/${encodeURIComponent(name)}`),
    name,
    ...signingOf(values),
    retries: RETRIES,
    pause,
    visibility: Number(values.visibilityTimeout),
    ttl: values.ttl === undefined ? TTL : Number(values.ttl),
    delay: values.initialVisibilityDelay === undefined ? undefined : Number(values.initialVisibilityDelay),
    decode: values.decodeBase64 === true,
    encode: values.encodeBase64 === true,
  }
}
