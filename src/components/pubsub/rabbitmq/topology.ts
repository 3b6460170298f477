import type { Channel } from 'amqplib'
import { isTruthy } from '../../metadata.ts'
import type { RabbitSettings } from './settings.ts'

type Subscription = Readonly<Record<string, string>>

/** `<consumerID>-<topic>`, or the subscription's queueName. */
export function queueName(settings: RabbitSettings, topic: string, metadata: Subscription): string {
  return metadata.queueName || `${settings.consumerId}-${topic}`
}

/** The exchange of a topic, with exactly the arguments that daprd gives: RabbitMQ refuses a declaration that differs. */
export function declareExchange(settings: RabbitSettings, channel: Channel, topic: string): Promise<unknown> {
  return channel.assertExchange(topic, settings.exchangeKind, { durable: settings.durable, autoDelete: settings.autoDelete })
}

/** Exchange, dead letter exchange and queue, the queue and its bindings. Resolves with the queue's name. */
export async function declareSubscription(
  settings: RabbitSettings,
  channel: Channel,
  topic: string,
  metadata: Subscription,
): Promise<string> {
  const { durable, autoDelete } = settings
  const name = queueName(settings, topic, metadata)
  const queueArguments = subscriptionArguments(settings, name, metadata)
  await declareExchange(settings, channel, topic)
  if (settings.deadLetter) {
    const [exchange, queue] = [`dlx-${name}`, `dlq-${name}`]
    await channel.assertExchange(exchange, 'fanout', { durable: true, autoDelete })
    await channel.assertQueue(queue, { durable: true, autoDelete, arguments: { ...limits(settings), 'x-queue-mode': 'lazy' } })
    await channel.bindQueue(queue, exchange, '')
  }
  await channel.assertQueue(name, { durable, autoDelete, arguments: queueArguments })
  for (const key of (metadata.routingKey ?? '').split(',')) await channel.bindQueue(name, topic, key)
  return name
}

function limits({ maxLen, maxLenBytes }: RabbitSettings): Record<string, unknown> {
  return { ...(maxLen > 0 ? { 'x-max-length': maxLen } : {}), ...(maxLenBytes > 0 ? { 'x-max-length-bytes': maxLenBytes } : {}) }
}

function subscriptionArguments(settings: RabbitSettings, queue: string, metadata: Subscription): Record<string, unknown> {
  const type = metadata.queueType || 'classic'
  if (type !== 'classic' && type !== 'quorum') throw new Error(`invalid queue type ${type}. Valid types are classic and quorum`)
  const own = limits(settings)
  const maxLen = count('maxLen', metadata.maxLen)
  const maxLenBytes = count('maxLenBytes', metadata.maxLenBytes)
  const maxPriority = count('maxPriority', metadata.maxPriority)
  if (maxLen !== undefined) own['x-max-length'] = maxLen
  if (maxLenBytes !== undefined) own['x-max-length-bytes'] = maxLenBytes
  return {
    ...own,
    ...(settings.deadLetter ? { 'x-dead-letter-exchange': `dlx-${queue}` } : {}),
    ...(maxPriority === undefined ? {} : { 'x-max-priority': Math.min(255, maxPriority) }),
    'x-queue-type': type,
    ...(isTruthy(metadata.singleActiveConsumer) ? { 'x-single-active-consumer': true } : {}),
  }
}

function count(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined
  if (!/^\d+$/.test(text)) throw new Error(`subscription metadata ${name}: "${text}" is not a whole number`)
  return Number(text)
}
