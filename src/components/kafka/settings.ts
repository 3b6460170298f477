import type { ComponentContext } from '../component.ts'
import { MetadataError, type MetadataValues, parseMetadata } from '../metadata.ts'
import { retryOf } from '../partitions/backoff.ts'
import { shownAddress } from '../shown-address.ts'
import type { Strategy } from './assignors.ts'
import type { ClusterOptions } from './cluster.ts'
import type { Compression } from './compression.ts'
import type { ConsumerOptions } from './consumer.ts'
import { kafkaFields } from './fields.ts'
import type { ProducerOptions } from './producer.ts'
import type { RegistryOptions } from './schema-registry.ts'
import { readSignIn, withAuthType } from './sign-in.ts'

export interface KafkaSettings {
  cluster: ClusterOptions
  producer: ProducerOptions
  consumer: ConsumerOptions
  /** Where valueSchemaType Avro finds its schemas. */
  registry: RegistryOptions | undefined
  escapeHeaders: boolean
  excludeHeaders: RegExp | undefined
  concurrency: number | undefined
}

const MEBIBYTE = 1024 * 1024
/** As sarama has it: how long a group waits for its members when it shares out anew. */
const REBALANCE_TIMEOUT = 60_000

/** Reads a Kafka component's metadata. Throws MetadataError naming the field. `retry`: default of consumeRetryEnabled. */
export function readSettings(context: ComponentContext, retry: boolean): KafkaSettings {
  const values = parseMetadata(kafkaFields(retry), withAuthType(context.properties))
  const retryInterval = values.consumeRetryInterval as number
  const refreshInterval = Math.max(1000, values.clientConnectionTopicMetadataRefreshInterval as number)
  const group = (values.consumerGroup || values.consumerID || context.appId) as string
  return {
    cluster: {
      seeds: brokersOf(values.brokers as string),
      clientId: values.clientID as string,
      ...readSignIn(values, context.properties),
      dialTimeout: values.dialTimeout as number,
      keepAlive: Math.max(0, values.clientConnectionKeepAliveInterval as number),
      requestTimeout: values.readTimeout as number,
    },
    producer: {
      acks: { all: -1, local: 1, none: 0 }[values.producerRequiredAcks as 'all' | 'local' | 'none'],
      compression: values.compression as Compression,
      maxMessageBytes: (values.maxMessageBytes as number) || MEBIBYTE,
      retries: values.producerRetryMax as number,
      timeout: values.writeTimeout as number,
      refreshInterval,
    },
    consumer: {
      group,
      strategy: values.consumerGroupRebalanceStrategy as Strategy,
      sessionTimeout: values.sessionTimeout as number,
      heartbeatInterval: values.heartbeatInterval as number,
      rebalanceTimeout: REBALANCE_TIMEOUT,
      retryInterval,
      initialOffset: values.initialOffset as 'newest' | 'oldest',
      fetchMinBytes: values.consumerFetchMin as number,
      fetchPartitionBytes: values.consumerFetchDefault as number,
      bufferSize: values.channelBufferSize as number,
      drainTimeout: values.drainTimeout as number,
      refreshInterval,
      retry: values.consumeRetryEnabled ? retryOf(values, retryInterval) : undefined,
    },
    registry: registryOf(values),
    escapeHeaders: values.escapeHeaders as boolean,
    excludeHeaders: pattern(values.excludeHeaderMetaRegex as string | undefined),
    concurrency: values.concurrency as number | undefined,
  }
}

function registryOf(values: MetadataValues): RegistryOptions | undefined {
  const text = values.schemaRegistryURL as string | undefined
  if (!text) return undefined
  const url = URL.parse(text)
  if (!/^https?:$/.test(url?.protocol ?? ''))
    throw new MetadataError(`metadata field schemaRegistryURL: "${shownAddress(text)}" is not an http or https URL`)
  const [key, secret] = [values.schemaRegistryAPIKey, values.schemaRegistryAPISecret] as (string | undefined)[]
  return {
    url: url as URL,
    credentials: key ? { key, secret: secret ?? '' } : undefined,
    newest: values.schemaCachingEnabled ? Math.max(0, values.schemaLatestVersionCacheTTL as number) : 0,
    avroJson: values.useAvroJSON as boolean,
  }
}

function brokersOf(text: string): { host: string; port: number }[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean)
    .map((one) => {
      const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(one)
      if (!match) throw new MetadataError(`metadata field brokers: "${one}" is not host[:port]`)
      return { host: (match[1] ?? match[2]) as string, port: Number(match[3] ?? 9092) }
    })
}

function pattern(text: string | undefined): RegExp | undefined {
  if (!text) return undefined
  try {
    return new RegExp(text)
  } catch (error) {
    throw new MetadataError(`metadata field excludeHeaderMetaRegex: ${(error as Error).message}`)
  }
}
