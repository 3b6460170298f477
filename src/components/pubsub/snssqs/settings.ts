import { type AwsSettings, accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { handlersOf } from '../concurrency-mode.ts'
import { drainTimeoutField, secondsToRedeliverField } from '../fields.ts'

/** Names that keys had before they were called accessKey and secretKey. */
const OLD: Readonly<Record<string, string>> = { accessKey: 'awsAccountID', secretKey: 'awsSecret' }

/** Dapr's settings of pubsub.aws.snssqs and, at the end, ours. */
export const fields: readonly MetadataField[] = [
  ...accountFields.map((field) => (OLD[field.name] ? { ...field, aliases: [...(field.aliases ?? []), OLD[field.name] as string] } : field)),
  endpointField,
  { name: 'consumerID', kind: 'string', description: 'Name of the queue, which instances of one consumer share. Default: the app id.' },
  {
    name: 'accountID',
    kind: 'string',
    description: 'The AWS account, 12 digits; without it STS is asked at the start, for which the key needs no right.',
  },
  { name: 'partition', kind: 'string', description: "The part of AWS, as it stands in ARNs. Default: the region's." },
  {
    name: 'messageVisibilityTimeout',
    kind: 'int',
    default: '10',
    description: 'Seconds that a message is hidden from others; renewed while a handler has it.',
  },
  {
    name: 'messageRetryLimit',
    kind: 'int',
    default: '10',
    description: 'Deliveries after which a message that was not handled is deleted, where there is no dead letters queue.',
  },
  {
    name: 'disableDeleteOnRetryLimit',
    kind: 'bool',
    default: 'false',
    description: 'It is not deleted then, but given to others at once.',
  },
  { name: 'sqsDeadLettersQueueName', kind: 'string', description: 'Dead letters queue of the queue; needs messageReceiveLimit.' },
  {
    name: 'messageReceiveLimit',
    kind: 'int',
    default: '0',
    min: 0,
    description: 'Deliveries after which SQS moves a message to the dead letters queue.',
  },
  { name: 'messageWaitTimeSeconds', kind: 'int', default: '2', description: 'Seconds that one poll waits for messages, 1 to 20.' },
  { name: 'messageMaxNumber', kind: 'int', default: '10', description: 'Messages of one poll, 1 to 10.' },
  {
    name: 'fifo',
    kind: 'bool',
    default: 'false',
    description: 'Topics and queues are FIFO: messages of a group come in their order, one after the other.',
  },
  { name: 'fifoMessageGroupID', kind: 'string', description: 'Group of all messages that are published. Default: consumerID.' },
  {
    name: 'disableEntityManagement',
    kind: 'bool',
    default: 'false',
    description: 'Topics, queues and their subscriptions exist; nothing is made or changed.',
  },
  {
    name: 'assetsManagementTimeoutSeconds',
    kind: 'number',
    default: '5',
    min: 0.001,
    description: 'Limit of each request that is not a publish or a poll.',
  },
  {
    name: 'concurrencyMode',
    aliases: ['concurrency'],
    kind: 'string',
    default: 'parallel',
    description: 'single (one after the other), parallel (as many at once as concurrencyLimit says) or a number of handlers.',
  },
  {
    name: 'concurrencyLimit',
    kind: 'int',
    default: '0',
    description: 'Handlers at once of a topic when parallel; 0: 100.',
  },
  secondsToRedeliverField,
  drainTimeoutField,
]

export interface SnsSqsSettings {
  account: AwsSettings
  /** Name of the queue as it is given; SQS's allows fewer characters. */
  queue: string
  accountId: string | undefined
  partition: string | undefined
  visibility: number
  /** undefined: not deleted, because the dead letters queue takes it. */
  deadLetters: { queue: string; after: number } | undefined
  retryLimit: number
  deletesAtLimit: boolean
  wait: number
  most: number
  /** Of what is published; undefined: no FIFO. */
  group: string | undefined
  managed: boolean
  /** Milliseconds. */
  limit: number
  handlers: number
  redeliverInterval: number
  drainTimeout: number
}

const PARALLEL = 100

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(properties: Readonly<Record<string, string>>, appId: string): SnsSqsSettings {
  const values = parseMetadata(fields, properties)
  const number = (name: string) => values[name] as number
  const text = (name: string) => values[name] as string | undefined
  const refuse = (why: string): never => {
    throw new MetadataError(why)
  }
  const queue = text('consumerID') ?? appId
  const deadLetters = text('sqsDeadLettersQueueName')
  const after = number('messageReceiveLimit')
  if (number('messageVisibilityTimeout') < 1) refuse('messageVisibilityTimeout must be greater than 0')
  if (number('messageRetryLimit') < 2) refuse('messageRetryLimit must be greater than 1')
  if ((deadLetters === undefined) !== (after === 0))
    refuse('to use SQS dead letters queue, messageReceiveLimit and sqsDeadLettersQueueName must both be set to a value')
  if (deadLetters !== undefined && values.disableDeleteOnRetryLimit === true)
    refuse(
      "configuration conflict: 'disableDeleteOnRetryLimit' cannot be set to 'true' when 'sqsDeadLettersQueueName' is set to a value. either remove this configuration or set 'disableDeleteOnRetryLimit' to 'false'",
    )
  if (number('messageWaitTimeSeconds') < 1) refuse('messageWaitTimeSeconds must be greater than 0')
  if (number('messageMaxNumber') < 1) refuse('messageMaxNumber must be greater than 0')
  if (number('messageMaxNumber') > 10) refuse('messageMaxNumber must be less than or equal to 10')
  if (number('concurrencyLimit') < 0) refuse('concurrencyLimit must be greater than or equal to 0')
  return {
    account: readAccount(values, properties),
    queue,
    accountId: text('accountID')?.length === 12 ? text('accountID') : undefined,
    partition: text('partition'),
    visibility: number('messageVisibilityTimeout'),
    deadLetters: deadLetters === undefined ? undefined : { queue: deadLetters, after },
    retryLimit: number('messageRetryLimit'),
    deletesAtLimit: values.disableDeleteOnRetryLimit !== true,
    wait: Math.min(20, number('messageWaitTimeSeconds')),
    most: number('messageMaxNumber'),
    group: values.fifo === true ? (text('fifoMessageGroupID') ?? queue) : undefined,
    managed: values.disableEntityManagement !== true,
    limit: number('assetsManagementTimeoutSeconds') * 1000,
    handlers: handlersOf(String(values.concurrencyMode), number('concurrencyLimit') || PARALLEL),
    redeliverInterval: number('redeliverInterval'),
    drainTimeout: number('drainTimeout'),
  }
}
