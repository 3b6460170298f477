import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { AwsClient } from '../../aws/client.ts'
import { AwsError } from '../../aws/errors.ts'
import { STS } from '../../aws/keys.ts'
import { type Account, openAccount } from '../../aws/open.ts'
import { type Held, QueueReader } from '../../aws/queue-reader.ts'
import { SNS, SQS } from '../../aws/services.ts'
import { textIn } from '../../aws/xml.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { publishEach } from '../each.ts'
import { handlersFor } from '../running.ts'
import { TopicConsumer } from './consumer.ts'
import { allowedName, Entities } from './entities.ts'
import { ENCODING, forSns, fromSns } from './envelope.ts'
import { fields, readSettings, type SnsSqsSettings } from './settings.ts'

/** Dapr's layout: a topic of SNS for each topic, one queue of SQS for each consumerID, subscribed to all its topics. */
class SnsSqsPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = []
  readonly #context: ComponentContext
  readonly #settings: SnsSqsSettings
  readonly #account: Account
  readonly #sns: AwsClient
  readonly #sqs: AwsClient
  readonly #reader: QueueReader
  /** By the topic's name in SNS; several subscriptions to a topic take turns. */
  readonly #consumers = new Map<string, TopicConsumer[]>()
  #entities: Entities | undefined

  constructor(context: ComponentContext) {
    this.#context = context
    const settings = readSettings(context.properties, context.appId)
    this.#settings = settings
    this.#account = openAccount(settings.account)
    this.#sns = this.#account.client(SNS)
    this.#sqs = this.#account.client(SQS)
    const { wait, most, visibility } = settings
    const url = async (signal: AbortSignal) => (await this.#open().queue(settings.queue, signal)).url
    const label = `pub/sub component ${context.name}: queue ${settings.queue}`
    this.#reader = new QueueReader(this.#sqs, { url, wait, most, visibility, label, log: context.log }, (held) => this.#accept(held))
  }

  #open(): Entities {
    if (this.#entities === undefined) throw new Error(`pub/sub component ${this.#context.name} is not open`)
    return this.#entities
  }

  async init(signal: AbortSignal): Promise<void> {
    const { accountId } = this.#settings
    await this.#account.key(signal)
    this.#entities = new Entities(this.#settings, this.#sns, this.#sqs, accountId ?? (await this.#whose(signal)))
  }

  /** The account of the key. */
  async #whose(signal: AbortSignal): Promise<string> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#settings.limit)])
    try {
      return textIn(await this.#account.client(STS).query('GetCallerIdentity', [], limit), 'Account') ?? ''
    } catch (error) {
      throw new Error(`error fetching sts caller ID: ${messageOf(error)}`, { cause: error })
    }
  }

  async ping(signal: AbortSignal): Promise<void> {
    try {
      await this.#sqs.json('ListQueues', { MaxResults: 1 }, signal)
    } catch (error) {
      // The key may have rights for its own queue alone.
      if (!(error instanceof AwsError && /^AccessDenied/.test(error.code))) throw error
    }
  }

  async publish({ topic, data }: PublishRequest, signal?: AbortSignal): Promise<void> {
    const { group } = this.#settings
    const { text, encoded } = forSns(data)
    for (let again = this.#settings.managed; ; again = false) {
      const arn = await this.#open()
        .topic(topic)
        .catch((error: Error) => {
          throw new Error(`error getting topic ARN for ${topic}: ${error.message}`, { cause: error })
        })
      const message: [string, string][] = [
        ['TopicArn', arn],
        ['Message', text],
        ...(group === undefined ? [] : ([['MessageGroupId', group]] as [string, string][])),
        ...(encoded ? attribute(ENCODING, 'base64') : []),
      ]
      try {
        await this.#sns.query('Publish', message, signal)
        return
      } catch (error) {
        if (again && error instanceof AwsError && error.code === 'NotFound') {
          this.#open().forget(topic)
          continue
        }
        throw new Error(`error publishing to topic: ${topic} with topic ARN ${arn}: ${messageOf(error)}`, { cause: error })
      }
    }
  }

  /** One request each; FIFO topics get them in their order. */
  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    return publishEach(entries, ({ data }) => this.publish({ topic, data, metadata }, signal), this.#settings.group !== undefined)
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { queue, handlers, redeliverInterval, drainTimeout, deadLetters, retryLimit, deletesAtLimit, group } = this.#settings
    const { name: component, log } = this.#context
    const label = `pub/sub component ${component}: topic ${topic}`
    try {
      const entities = this.#open()
      await entities.connect(await entities.topic(topic), await entities.queue(queue))
    } catch (error) {
      throw new Error(`${label}: error subscribing queue ${queue}: ${messageOf(error)}`, { cause: error })
    }
    const name = allowedName(topic, group !== undefined)
    const settings = {
      topic,
      handlers: handlersFor(handlers, batch),
      redeliverInterval,
      drainTimeout,
      retryLimit: deadLetters === undefined ? retryLimit : undefined,
      deletesAtLimit,
      label,
      log,
    }
    const consumer = new TopicConsumer(this.#reader, settings, handler, (ended) => this.#remove(name, ended))
    this.#consumers.set(name, [...(this.#consumers.get(name) ?? []), consumer])
    this.#reader.start()
    return consumer
  }

  #remove(name: string, ended: TopicConsumer): void {
    const left = (this.#consumers.get(name) ?? []).filter((one) => one !== ended)
    if (left.length > 0) this.#consumers.set(name, left)
    else this.#consumers.delete(name)
    if (this.#consumers.size === 0) this.#reader.stop()
  }

  #accept(held: Held): void {
    const envelope = fromSns(held.body)
    const consumers = this.#consumers.get(envelope?.topic ?? '')
    const consumer = consumers?.shift()
    if (envelope && consumers && consumer) {
      consumers.push(consumer)
      consumer.offer(held, envelope.data)
      return
    }
    const why = envelope
      ? `it is of topic ${envelope.topic}, which nobody here subscribes to`
      : 'it did not come by SNS, or with raw message delivery on'
    this.#context.log.warn(`pub/sub component ${this.#context.name}: message ${held.id} is left in queue ${this.#settings.queue}: ${why}`)
    this.#reader.leave(held)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers.values()].flat().map((consumer) => consumer[Symbol.asyncDispose]()))
    await this.#reader[Symbol.asyncDispose]()
    await this.#account[Symbol.asyncDispose]()
  }
}

function attribute(name: string, value: string): [string, string][] {
  return [
    ['MessageAttributes.entry.1.Name', name],
    ['MessageAttributes.entry.1.Value.DataType', 'String'],
    ['MessageAttributes.entry.1.Value.StringValue', value],
  ]
}

export const driver: DriverModule<PubSub> = {
  summary: 'AWS SNS and SQS: a topic of SNS for each topic, one queue of SQS for each consumer.',
  metadata: fields,
  create: (context) => new SnsSqsPubSub(context),
}
