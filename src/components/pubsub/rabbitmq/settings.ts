import { ttlOf } from '../../given-ttl.ts'
import { MetadataError, parseMetadata } from '../../metadata.ts'
import { type Broker, readBroker } from '../../rabbitmq/broker.ts'
import { handlersOf } from '../concurrency-mode.ts'
import { fields } from './fields.ts'

export interface RabbitSettings {
  broker: Broker
  consumerId: string
  durable: boolean
  autoDelete: boolean
  autoAck: boolean
  deliveryMode: number
  onFailure: 'requeue' | 'discard'
  prefetchCount: number
  reconnectWait: number
  maxLen: number
  maxLenBytes: number
  deadLetter: boolean
  exchangeKind: string
  confirm: boolean
  /** Milliseconds. */
  ttl: number | undefined
  clientName: string
  /** Seconds. */
  heartbeat: number
  /** Handlers at once per topic; undefined: as many as prefetchCount allows, else 100. */
  handlers: number | undefined
  propertiesToMetadata: boolean
  publishTimeout: number
  redeliverInterval: number
  drainTimeout: number
}

const PREFIX = 'rabbitmq pub/sub error:'
const KINDS = ['fanout', 'topic', 'direct', 'headers']

/** Throws MetadataError, with Dapr's words where it has some. */
export function readSettings(properties: Readonly<Record<string, string>>, appId: string, component: string): RabbitSettings {
  const values = parseMetadata(fields, properties)
  const deliveryMode = values.deliveryMode as number
  if (deliveryMode < 0 || deliveryMode > 2)
    throw new MetadataError(`${PREFIX} invalid RabbitMQ delivery mode, accepted values are between 0 and 2`)
  const exchangeKind = values.exchangeKind as string
  if (!KINDS.includes(exchangeKind))
    throw new MetadataError(`${PREFIX} invalid RabbitMQ exchange kind ${exchangeKind}; expected one of ${KINDS.join(', ')}`)
  if (values.saslExternal && !(values.caCert && values.clientCert && values.clientKey))
    throw new MetadataError('saslExternal can only be set to true, when all these properties are set: caCert, clientCert, clientKey')
  const deadLetter = values.enableDeadLetter as boolean
  const requeue = (values.requeueInFailure as boolean | undefined) ?? !deadLetter
  return {
    broker: brokerOf(values),
    consumerId: (values.consumerID as string | undefined) ?? appId,
    durable: values.durable as boolean,
    autoDelete: values.deletedWhenUnused as boolean,
    autoAck: values.autoAck as boolean,
    deliveryMode,
    onFailure: requeue ? 'requeue' : 'discard',
    prefetchCount: values.prefetchCount as number,
    reconnectWait: (values.reconnectWaitSeconds as number | undefined) ?? 1000,
    maxLen: values.maxLen as number,
    maxLenBytes: values.maxLenBytes as number,
    deadLetter,
    exchangeKind,
    confirm: values.publisherConfirm as boolean,
    ttl: ttl(values.ttlInSeconds as string | undefined),
    clientName: (values.clientName as string | undefined) ?? `${appId}/${component}`,
    heartbeat: Math.round((values.heartBeat as number) / 1000),
    handlers: handlersOf(values.concurrencyMode as string, undefined),
    propertiesToMetadata: values.publishMessagePropertiesToMetadata as boolean,
    publishTimeout: values.publishTimeout as number,
    redeliverInterval: values.redeliverInterval as number,
    drainTimeout: values.drainTimeout as number,
  }
}

function brokerOf(values: Readonly<Record<string, unknown>>): Broker {
  const given = values.connectionString as string | undefined
  const protocol = values.protocol as string | undefined
  const external = values.saslExternal as boolean
  if (given !== undefined) {
    const broker = readBroker('connectionString', given, values, external)
    if (protocol !== undefined && protocol !== broker.protocol)
      throw new MetadataError(
        `${PREFIX} protocol does not match connection string, protocol: ${protocol}, connection string: ${broker.protocol}`,
      )
    return broker
  }
  const user = values.username ? `${encodeURIComponent(String(values.username))}:${encodeURIComponent(String(values.password ?? ''))}@` : ''
  return readBroker('hostname', `${protocol ?? 'amqp'}://${user}${values.hostname}`, values, external)
}

function ttl(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  try {
    return ttlOf({ ttl: text })
  } catch (error) {
    throw new MetadataError(`${PREFIX} parse RabbitMQ ttl metadata with error: ${(error as Error).message}`)
  }
}
