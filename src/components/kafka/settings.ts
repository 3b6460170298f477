import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { ComponentContext } from '../component.ts'
import { MetadataError, type MetadataValues, parseMetadata } from '../metadata.ts'
import { retryOf } from '../partitions/backoff.ts'
import type { Strategy } from './assignors.ts'
import type { ClusterOptions } from './cluster.ts'
import type { Compression } from './compression.ts'
import type { ConsumerOptions } from './consumer.ts'
import { kafkaFields } from './fields.ts'
import type { ProducerOptions } from './producer.ts'
import type { Sasl } from './sasl.ts'

export interface KafkaSettings {
  cluster: ClusterOptions
  producer: ProducerOptions
  consumer: ConsumerOptions
  escapeHeaders: boolean
  excludeHeaders: RegExp | undefined
  concurrency: number | undefined
}

const MEBIBYTE = 1024 * 1024
/** As sarama has it: how long a group waits for its members when it shares out anew. */
const REBALANCE_TIMEOUT = 60_000

/** Reads a Kafka component's metadata. Throws MetadataError naming the field. `retry`: default of consumeRetryEnabled. */
export function readSettings(context: ComponentContext, retry: boolean): KafkaSettings {
  const values = parseMetadata(kafkaFields(retry), upgraded(context.properties))
  if (values.schemaRegistryURL)
    throw new MetadataError(
      'metadata field schemaRegistryURL: schema registries are not supported; leave it out and write and read Avro in the app',
    )
  const authType = authTypeOf(values)
  const retryInterval = values.consumeRetryInterval as number
  const refreshInterval = Math.max(1000, values.clientConnectionTopicMetadataRefreshInterval as number)
  const group = (values.consumerGroup || values.consumerID || context.appId) as string
  return {
    cluster: {
      seeds: brokersOf(values.brokers as string),
      clientId: values.clientID as string,
      tls: authType === 'none' || values.disableTls ? undefined : tlsOf(values, authType),
      sasl: saslOf(values, authType),
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
    escapeHeaders: values.escapeHeaders as boolean,
    excludeHeaders: pattern(values.excludeHeaderMetaRegex as string | undefined),
    concurrency: values.concurrency as number | undefined,
  }
}

/** `authRequired`, the older form of `authType`, as the newer one. */
function upgraded(properties: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const given = (name: string) => Object.entries(properties).find(([key, value]) => key.toLowerCase() === name && value !== '')?.[1]
  const required = given('authrequired')
  if (required === undefined || given('authtype') !== undefined) return properties
  if (!/^(1|t|true|0|f|false)$/i.test(required)) throw new MetadataError("kafka error: invalid value for 'authRequired' attribute")
  const authType = /^[0f]/i.test(required) ? 'none' : given('saslpassword') === undefined ? 'mtls' : 'password'
  return { ...properties, authType }
}

function authTypeOf(values: MetadataValues): string {
  const authType = values.authType as string
  if (authType === 'awsiam' || authType === 'oidc_private_key_jwt')
    throw new MetadataError(`metadata field authType: ${authType} is not supported; use none, password, mtls, certificate or oidc`)
  const need = (names: readonly string[]) => {
    for (const name of names) if (!values[name]) throw new MetadataError(`kafka error: missing ${name} for authType '${authType}'`)
  }
  if (authType === 'password') need(['saslUsername', 'saslPassword'])
  if (authType === 'oidc') need(['oidcTokenEndpoint', 'oidcClientID', 'oidcClientSecret'])
  if (authType === 'certificate') need(['caCert'])
  if (authType === 'mtls') {
    if (values.disableTls) throw new MetadataError("kafka error: authType 'mtls' needs TLS: set disableTls to false")
    if (!values.clientCert !== !values.clientKey) throw new MetadataError('kafka error: clientKey or clientCert is missing')
  }
  return authType
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

function tlsOf(values: MetadataValues, authType: string): TlsOptions {
  const pem = (name: string): string | undefined => {
    const text = values[name] as string | undefined
    if (text && !text.includes('-----BEGIN ')) throw new MetadataError(`kafka error: invalid ${name}: it is not PEM`)
    return text || undefined
  }
  const ca = pem('caCert')
  const cert = authType === 'mtls' ? pem('clientCert') : undefined
  const key = authType === 'mtls' ? pem('clientKey') : undefined
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: !values.skipVerify,
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  }
}

function saslOf(values: MetadataValues, authType: string): Sasl | undefined {
  if (authType === 'password') {
    const mechanisms = { PLAINTEXT: 'PLAIN', 'SHA-256': 'SCRAM-SHA-256', 'SHA-512': 'SCRAM-SHA-512' } as const
    const mechanism = mechanisms[values.saslMechanism as keyof typeof mechanisms]
    return { mechanism, username: values.saslUsername as string, password: values.saslPassword as string }
  }
  if (authType !== 'oidc') return undefined
  let extensions: Record<string, string> = {}
  if (values.oidcExtensions) {
    try {
      extensions = JSON.parse(values.oidcExtensions as string) as Record<string, string>
    } catch {
      throw new MetadataError("kafka error: improper OIDC Extensions format for authType 'oidc'")
    }
  }
  const request = {
    endpoint: values.oidcTokenEndpoint as string,
    clientId: values.oidcClientID as string,
    clientSecret: values.oidcClientSecret as string,
    scopes: (values.oidcScopes as string).split(','),
    ca: values.caCert as string | undefined,
    skipVerify: values.skipVerify as boolean,
  }
  return { mechanism: 'OAUTHBEARER', extensions, token: async () => (await import('./oidc.ts')).token(request) }
}

function pattern(text: string | undefined): RegExp | undefined {
  if (!text) return undefined
  try {
    return new RegExp(text)
  } catch (error) {
    throw new MetadataError(`metadata field excludeHeaderMetaRegex: ${(error as Error).message}`)
  }
}
