import { AckPolicy, type ConsumerConfig, DeliverPolicy } from '@nats-io/jetstream'
import { MetadataError, type MetadataField, parseDuration, parseMetadata } from '../../metadata.ts'
import { handlersOf } from '../concurrency-mode.ts'
import { drainTimeoutField } from '../fields.ts'

/** Dapr's settings of pubsub.jetstream and, at the end, ours. */
export const fields: readonly MetadataField[] = [
  {
    name: 'natsURL',
    kind: 'string',
    sensitive: true,
    description: 'nats://host:port, tls:// for TLS; a comma-separated list for a cluster.',
  },
  { name: 'token', kind: 'string', sensitive: true, description: 'Token to log in with.' },
  { name: 'jwt', kind: 'string', sensitive: true, description: 'JWT to log in with; needs seedKey.' },
  { name: 'seedKey', kind: 'string', sensitive: true, description: 'Seed of the key that signs for jwt.' },
  { name: 'tls_client_cert', kind: 'string', description: 'Path of the client certificate.' },
  { name: 'tls_client_key', kind: 'string', description: 'Path of its key.' },
  { name: 'name', kind: 'string', default: 'dapr.io - pubsub.jetstream', description: 'Name of the connection.' },
  { name: 'streamName', kind: 'string', description: 'Stream that has the subjects. Default: found by the subject. It must exist.' },
  {
    name: 'durableName',
    kind: 'string',
    description:
      'Name of the consumer: it keeps its place while nobody listens. `{topic}` in it becomes the topic (dots as dashes), for more than one topic.',
  },
  { name: 'queueGroupName', kind: 'string', description: 'Members of a group share the messages of one durableName.' },
  { name: 'startSequence', kind: 'int', min: 0, description: 'Where deliverPolicy sequence begins.' },
  { name: 'startTime', kind: 'int', min: 0, description: 'Where deliverPolicy time begins, Unix seconds.' },
  { name: 'flowControl', kind: 'bool', default: 'false', description: 'The server slows down for slow consumers; needs heartbeat.' },
  {
    name: 'ackWait',
    kind: 'duration',
    description: 'Time after which the server gives an unacknowledged message again. Default: the server, 30s.',
  },
  { name: 'maxDeliver', kind: 'int', description: 'Most deliveries of a message.' },
  { name: 'backOff', kind: 'string', description: 'Comma-separated durations between the deliveries of a message.' },
  { name: 'maxAckPending', kind: 'int', description: 'Messages that may be unacknowledged. Default: the server, 1000.' },
  { name: 'replicas', kind: 'int', description: "Replicas of the consumer's state." },
  { name: 'memoryStorage', kind: 'bool', default: 'false', description: "Keeps the consumer's state in memory." },
  { name: 'rateLimit', kind: 'int', description: 'Bits per second that the server sends at most.' },
  { name: 'heartbeat', kind: 'duration', description: 'Time between signs of life of an idle consumer.' },
  { name: 'deliverPolicy', kind: 'string', default: 'all', description: 'all, last, new, sequence or time: where a new consumer begins.' },
  { name: 'ackPolicy', kind: 'string', default: 'explicit', description: 'explicit, all (one after the other) or none (at most once).' },
  { name: 'domain', kind: 'string', description: 'JetStream domain.' },
  { name: 'apiPrefix', kind: 'string', description: 'Prefix of the JetStream API.' },
  {
    name: 'concurrencyMode',
    aliases: ['concurrency'],
    kind: 'string',
    default: 'single',
    description: 'single (one after the other, in order), parallel (100 at once) or a number of handlers.',
  },
  {
    name: 'publishTimeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait of a publish for a server that is away or slow.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    unit: 1,
    default: '15s',
    min: 0,
    description:
      'Longest wait before a message that was not handled comes again, without ackWait and backOff; waits grow from 100 ms. A bare number is milliseconds.',
  },
  drainTimeoutField,
]

export interface JetStreamSettings {
  values: ReturnType<typeof parseMetadata>
  /** The consumer of a topic as daprd would make it. */
  consumer(topic: string): Partial<ConsumerConfig>
  handlers: number
  /** Wait before the next delivery, milliseconds; undefined: not given. */
  delay(delivered: number): number | undefined
}

const PARALLEL = 100
const POLICIES: Readonly<Record<string, DeliverPolicy>> = {
  all: DeliverPolicy.All,
  last: DeliverPolicy.Last,
  new: DeliverPolicy.New,
  sequence: DeliverPolicy.StartSequence,
  time: DeliverPolicy.StartTime,
}
const nanos = (milliseconds: number) => Math.round(milliseconds * 1e6)

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(properties: Readonly<Record<string, string>>): JetStreamSettings {
  const values = parseMetadata(fields, properties)
  if (!values.natsURL) throw new MetadataError('missing nats URL')
  const policy = POLICIES[values.deliverPolicy as string]
  if (policy === undefined) throw new MetadataError(`deliver policy ${values.deliverPolicy} is not one of: all, last, new, sequence, time`)
  const ackPolicy = values.ackPolicy === 'all' ? AckPolicy.All : values.ackPolicy === 'none' ? AckPolicy.None : AckPolicy.Explicit
  const ackWait = values.ackWait as number | undefined
  const waits = ((values.backOff as string | undefined) ?? '')
    .split(',')
    .filter((text) => text.trim() !== '')
    .map((text) => {
      const wait = parseDuration(text)
      if (wait === undefined) throw new MetadataError(`metadata field backOff: "${text}" is not a duration such as 500ms, 5s or 1h30m`)
      return wait
    })
  const config: Partial<ConsumerConfig> = { deliver_policy: policy, ack_policy: ackPolicy }
  if (values.queueGroupName) config.deliver_group = values.queueGroupName as string
  if (values.startTime !== undefined) config.opt_start_time = new Date((values.startTime as number) * 1000).toISOString()
  if (values.startSequence) config.opt_start_seq = values.startSequence as number
  if (values.flowControl) config.flow_control = true
  if (ackWait) config.ack_wait = nanos(ackWait)
  if (values.maxDeliver) config.max_deliver = values.maxDeliver as number
  if (waits.length > 0) config.backoff = waits.map(nanos)
  if (values.maxAckPending) config.max_ack_pending = values.maxAckPending as number
  if (values.replicas) config.num_replicas = values.replicas as number
  if (values.memoryStorage) config.mem_storage = true
  if (values.rateLimit) config.rate_limit_bps = values.rateLimit as number
  if (values.heartbeat) config.idle_heartbeat = nanos(values.heartbeat as number)
  return {
    values,
    consumer(topic) {
      const durable = (values.durableName as string | undefined)?.replaceAll('{topic}', topic.replace(/[.*>\s/\\]/g, '-'))
      return { ...config, filter_subject: topic, ...(durable ? { durable_name: durable } : {}) }
    },
    // Acknowledging one of several at once would acknowledge those before it.
    handlers: ackPolicy === AckPolicy.All ? 1 : handlersOf(values.concurrencyMode as string, PARALLEL),
    delay: (delivered) => ackWait || waits[Math.min(delivered, waits.length) - 1],
  }
}
