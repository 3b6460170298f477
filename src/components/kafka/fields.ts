import type { MetadataField } from '../metadata.ts'
import { backoffFields } from '../partitions/backoff.ts'
import { STRATEGIES } from './assignors.ts'
import { COMPRESSIONS } from './compression.ts'
import { signInFields } from './sign-in.ts'

/** The settings that both Kafka components share; `retry` is the default of consumeRetryEnabled. */
export function kafkaFields(retry: boolean): readonly MetadataField[] {
  return [
    {
      name: 'brokers',
      kind: 'string',
      required: true,
      description: 'Brokers to ask first, host[:port], comma-separated; port 9092 if none.',
    },
    ...signInFields,
    {
      name: 'consumerGroup',
      kind: 'string',
      description: 'Consumer group; members of a group share its messages, every group gets all. Default: consumerID.',
    },
    { name: 'consumerID', kind: 'string', description: 'Consumer group, when consumerGroup is not set. Default: the app id.' },
    { name: 'clientID', kind: 'string', default: 'sarama', description: 'Name in the logs and quotas of the brokers.' },
    {
      name: 'initialOffset',
      kind: 'enum',
      values: ['newest', 'oldest'],
      default: 'newest',
      description: 'Where a group begins that has committed nothing.',
    },
    {
      name: 'maxMessageBytes',
      kind: 'int',
      default: '0',
      min: 0,
      description: 'Largest message and batch; 0 is 1 MiB, what brokers take by default.',
    },
    { name: 'compression', kind: 'enum', values: COMPRESSIONS, default: 'none', description: 'Compression of what is published.' },
    {
      name: 'producerRequiredAcks',
      kind: 'enum',
      values: ['all', 'local', 'none'],
      default: 'all',
      description: 'Which replicas have to have a message before it is published.',
    },
    { name: 'producerRetryMax', kind: 'int', default: '5', min: 0, description: 'How often a message is sent again.' },
    {
      name: 'consumeRetryEnabled',
      kind: 'bool',
      default: String(retry),
      description: 'A message that is not handled is tried again in its place, before those after it; otherwise it is passed over.',
    },
    {
      name: 'consumeRetryInterval',
      kind: 'duration',
      unit: 1,
      default: '100ms',
      min: 1,
      description: 'First wait before a message is tried again, and before joining the group again. A bare number is milliseconds.',
    },
    ...backoffFields,
    {
      name: 'heartbeatInterval',
      kind: 'duration',
      default: '500ms',
      min: 50,
      description: 'Time between two heartbeats: how soon this member hears that another one came or left.',
    },
    { name: 'sessionTimeout', kind: 'duration', default: '10s', min: 1000, description: 'Silence after which the group drops a member.' },
    {
      name: 'consumerGroupRebalanceStrategy',
      kind: 'enum',
      values: STRATEGIES,
      default: 'range',
      description: 'How the group shares out partitions; the same for all its members.',
    },
    {
      name: 'channelBufferSize',
      kind: 'int',
      default: '256',
      min: 1,
      description: 'Messages of one partition that may wait in memory before fetching pauses.',
    },
    {
      name: 'consumerFetchMin',
      kind: 'int',
      default: '1',
      min: 1,
      description: 'Bytes that a broker gathers before it answers, half a second at most.',
    },
    {
      name: 'consumerFetchDefault',
      kind: 'int',
      default: '1048576',
      min: 1024,
      description: 'Bytes of one partition that are fetched at once.',
    },
    {
      name: 'clientConnectionTopicMetadataRefreshInterval',
      kind: 'duration',
      default: '8m',
      description: 'Time between two looks for new partitions.',
    },
    {
      name: 'clientConnectionKeepAliveInterval',
      kind: 'duration',
      default: '0',
      description: 'Idle time after which the system probes a connection; 0 never.',
    },
    { name: 'dialTimeout', kind: 'duration', default: '5s', min: 1, description: 'Limit for connecting and signing in.' },
    { name: 'readTimeout', kind: 'duration', default: '10s', min: 1, description: "Limit for a broker's answer." },
    { name: 'writeTimeout', kind: 'duration', default: '5s', min: 1, description: 'Limit for a publish, all its tries together.' },
    { name: 'escapeHeaders', kind: 'bool', default: 'false', description: 'Percent-encodes header values and keys for the app.' },
    {
      name: 'excludeHeaderMetaRegex',
      kind: 'string',
      description: 'Metadata of this name is not sent as a header, headers of this name are not delivered.',
    },
    { name: 'version', kind: 'string', description: 'Not needed: each broker is asked what it speaks. Kafka 2.0 and later.' },
    {
      name: 'schemaRegistryURL',
      kind: 'string',
      description: "Schema registry with Confluent's API, for publishes and subscriptions with the metadata valueSchemaType: Avro.",
    },
    { name: 'schemaRegistryAPIKey', kind: 'string', description: 'User there.' },
    { name: 'schemaRegistryAPISecret', kind: 'string', sensitive: true, description: 'Password there.' },
    { name: 'schemaCachingEnabled', kind: 'bool', default: 'true', description: 'Keeps the newest schema of a topic for a while.' },
    { name: 'schemaLatestVersionCacheTTL', kind: 'duration', default: '5m', description: 'How long.' },
    {
      name: 'useAvroJSON',
      kind: 'bool',
      default: 'false',
      description: 'Values are JSON as Avro defines it, members of unions by name: `{"string": "x"}`; otherwise plain.',
    },
    {
      name: 'concurrency',
      kind: 'int',
      min: 1,
      max: 10_000,
      description: 'Messages of one partition that may be at the app at once; more than 1 gives up their order. Default: 1, or one batch.',
    },
    {
      name: 'drainTimeout',
      kind: 'duration',
      unit: 1,
      default: '5s',
      description: 'How long running handlers may take to finish when a subscription ends.',
    },
  ]
}
