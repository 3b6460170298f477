import type { AwsClient } from '../../aws/client.ts'
import { partitionOf } from '../../aws/settings.ts'
import { allIn, textIn, within } from '../../aws/xml.ts'
import type { SnsSqsSettings } from './settings.ts'

export interface Queue {
  url: string
  arn: string
}

const LONGEST = 80

/** The characters of a name that topics and queues may have, as daprd picks them. */
export function allowedName(name: string, fifo: boolean): string {
  const bare = fifo ? name.replace(/\.fifo$/, '') : name
  const allowed = bare.replaceAll(/[^A-Za-z0-9_-]/g, '')
  return fifo ? `${allowed.slice(0, LONGEST - 5)}.fifo` : allowed.slice(0, LONGEST)
}

/** Topics, queues and what lies between them: made, or only found where others manage them. */
export class Entities {
  readonly #settings: SnsSqsSettings
  readonly #sns: AwsClient
  readonly #sqs: AwsClient
  readonly #accountId: string
  readonly #topics = new Map<string, Promise<string>>()
  /** Changes of the queue, one after the other: its policy is read, added to and written. */
  #changing: Promise<unknown> = Promise.resolve()

  constructor(settings: SnsSqsSettings, sns: AwsClient, sqs: AwsClient, accountId: string) {
    this.#settings = settings
    this.#sns = sns
    this.#sqs = sqs
    this.#accountId = accountId
  }

  get #fifo(): boolean {
    return this.#settings.group !== undefined
  }

  #limit(signal?: AbortSignal): AbortSignal {
    const limit = AbortSignal.timeout(this.#settings.limit)
    return signal ? AbortSignal.any([signal, limit]) : limit
  }

  /** ARN of a topic. Kept, for as many topics as are published to. */
  topic(name: string): Promise<string> {
    const allowed = allowedName(name, this.#fifo)
    const known = this.#topics.get(allowed)
    if (known) return known
    const found = this.#settings.managed ? this.#makeTopic(allowed) : this.#findTopic(allowed)
    this.#topics.set(allowed, found)
    found.catch(() => this.#topics.delete(allowed))
    return found
  }

  /** It may have been deleted: looks again next time. */
  forget(name: string): void {
    this.#topics.delete(allowedName(name, this.#fifo))
  }

  async #makeTopic(name: string): Promise<string> {
    const fifo = ['FifoTopic', 'ContentBasedDeduplication'].flatMap((key, index) => [
      [`Attributes.entry.${index + 1}.key`, key],
      [`Attributes.entry.${index + 1}.value`, 'true'],
    ]) as [string, string][]
    const tag: [string, string][] = [
      ['Tags.member.1.Key', 'dapr-topic-name'],
      ['Tags.member.1.Value', name],
    ]
    const result = await this.#sns.query('CreateTopic', [['Name', name], ...tag, ...(this.#fifo ? fifo : [])], this.#limit())
    return textIn(result, 'TopicArn') ?? ''
  }

  async #findTopic(name: string): Promise<string> {
    const { account, partition = partitionOf(account.region) } = this.#settings
    const arn = `arn:${partition}:sns:${account.region}:${this.#accountId}:${name}`
    await this.#sns.query('GetTopicAttributes', [['TopicArn', arn]], this.#limit())
    return arn
  }

  async queue(name: string, signal?: AbortSignal): Promise<Queue> {
    const allowed = allowedName(name, this.#fifo)
    const url = this.#settings.managed ? await this.#makeQueue(allowed, signal) : await this.#findQueue(allowed, signal)
    const { QueueArn = '' } = await this.#attributes(url, 'QueueArn')
    return { url, arn: QueueArn }
  }

  async #makeQueue(name: string, signal?: AbortSignal): Promise<string> {
    const request = {
      QueueName: name,
      tags: { 'dapr-queue-name': name },
      ...(this.#fifo && { Attributes: { FifoQueue: 'true', ContentBasedDeduplication: 'true' } }),
    }
    return String((await this.#sqs.json('CreateQueue', request, this.#limit(signal))).QueueUrl)
  }

  async #findQueue(name: string, signal?: AbortSignal): Promise<string> {
    const request = { QueueName: name, QueueOwnerAWSAccountId: this.#accountId }
    return String((await this.#sqs.json('GetQueueUrl', request, this.#limit(signal))).QueueUrl)
  }

  async #attributes(url: string, name: string): Promise<Record<string, string>> {
    const reply = await this.#sqs.json('GetQueueAttributes', { QueueUrl: url, AttributeNames: [name] }, this.#limit())
    return (reply.Attributes ?? {}) as Record<string, string>
  }

  /** Brings what is published to a topic into the queue, and what the queue cannot get rid of to the dead letters. */
  connect(topicArn: string, queue: Queue): Promise<void> {
    const changed = this.#changing.then(() =>
      this.#settings.managed ? this.#subscribe(topicArn, queue) : this.#checkSubscribed(topicArn, queue),
    )
    this.#changing = changed.catch(() => undefined)
    return changed
  }

  async #subscribe(topicArn: string, queue: Queue): Promise<void> {
    const before = (await this.#attributes(queue.url, 'Policy')).Policy
    const Policy = allowing(before, topicArn, queue.arn)
    const { deadLetters } = this.#settings
    if (Policy !== before || deadLetters) {
      const Attributes = { Policy, ...(deadLetters && { RedrivePolicy: await this.#redrive(deadLetters) }) }
      await this.#sqs.json('SetQueueAttributes', { QueueUrl: queue.url, Attributes }, this.#limit())
    }
    const request: [string, string][] = [
      ['TopicArn', topicArn],
      ['Protocol', 'sqs'],
      ['Endpoint', queue.arn],
    ]
    await this.#sns.query('Subscribe', request, this.#limit())
  }

  async #redrive({ queue, after }: { queue: string; after: number }): Promise<string> {
    return JSON.stringify({ deadLetterTargetArn: (await this.queue(queue)).arn, maxReceiveCount: String(after) })
  }

  async #checkSubscribed(topicArn: string, queue: Queue): Promise<void> {
    for (let token = ''; ; ) {
      const page: [string, string][] = token === '' ? [] : [['NextToken', token]]
      const result = await this.#sns.query('ListSubscriptionsByTopic', [['TopicArn', topicArn], ...page], this.#limit())
      if (allIn(within(result, 'Subscriptions'), 'member').some((one) => textIn(one, 'Endpoint') === queue.arn)) return
      token = textIn(result, 'NextToken') ?? ''
      if (token === '') break
    }
    throw new Error(
      `sns sqs subscription not found for topic arn ${topicArn}: subscribe queue ${queue.arn} to it, or leave disableEntityManagement out`,
    )
  }
}

/** A queue's policy under which the topic may send to it, as daprd writes it; the same text when it may already. */
function allowing(text: string | undefined, topicArn: string, queueArn: string): string {
  const policy = (text ? JSON.parse(text) : {}) as { Version?: string; Statement?: Statement | Statement[] }
  const statements = [policy.Statement ?? []].flat()
  if (text && statements.some(({ Resource, Condition }) => Resource === queueArn && Condition?.ArnEquals?.['aws:SourceArn'] === topicArn))
    return text
  statements.push({
    Effect: 'Allow',
    Principal: { Service: 'sns.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: queueArn,
    Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
  })
  return JSON.stringify({ ...policy, Version: policy.Version ?? '2012-10-17', Statement: statements })
}

interface Statement {
  Effect?: string
  Principal?: unknown
  Action?: unknown
  Resource?: unknown
  Condition?: { ArnEquals?: Record<string, unknown> }
}
