import type { Channel, ConsumeMessage } from 'amqplib'
import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { ttlOf } from '../../given-ttl.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { readBroker, tlsFields } from '../../rabbitmq/broker.ts'
import { RabbitConnection } from '../../rabbitmq/connection.ts'
import { QueueConsumer } from '../../rabbitmq/consumer.ts'
import { applyGiven, type MessageProperties, priorityOf } from '../../rabbitmq/properties.ts'
import { RabbitPublisher } from '../../rabbitmq/publisher.ts'

const fields: readonly MetadataField[] = [
  { name: 'host', kind: 'string', required: true, sensitive: true, description: 'amqp://user:password@host:port/vhost, amqps:// for TLS.' },
  { name: 'queueName', kind: 'string', required: true, description: 'Queue to send to and to read from.' },
  { name: 'durable', kind: 'bool', default: 'false', description: 'The queue survives a restart of the server.' },
  { name: 'deleteWhenUnused', kind: 'bool', default: 'false', description: 'The queue is deleted when the last consumer goes.' },
  { name: 'exclusive', kind: 'bool', default: 'false', description: 'The queue is for this connection only and goes with it.' },
  {
    name: 'prefetchCount',
    kind: 'int',
    default: '0',
    min: 0,
    max: 65_535,
    description: 'Messages that the input may hold unacknowledged; 0: 16 (daprd: no limit).',
  },
  { name: 'maxPriority', kind: 'int', min: 0, description: 'Makes it a queue with priorities up to this one, at most 255.' },
  {
    name: 'ttl',
    aliases: ['ttlInSeconds'],
    kind: 'string',
    description: 'How long messages stay in the queue: a duration or seconds. Absent: until they are read.',
  },
  {
    name: 'reconnectWaitInSeconds',
    kind: 'duration',
    description: 'Longest wait before connecting again; waits grow from 50 ms. Default: 1s (daprd: always 5s).',
  },
  ...tlsFields,
  {
    name: 'externalSasl',
    aliases: ['saslExternal'],
    kind: 'bool',
    default: 'false',
    description: 'The client certificate says who we are.',
  },
  {
    name: 'publishTimeout',
    kind: 'duration',
    default: '5s',
    min: 1,
    description: 'Longest wait of a create for a server that is away, blocked or slow.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    unit: 1,
    default: '15s',
    min: 0,
    description: 'Longest wait before a message that was not handled goes back to the queue; waits grow from 100 ms.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    unit: 1,
    default: '5s',
    min: 0,
    description: 'How long the running handler may take to finish when reading ends.',
  },
]

/** The library's default and RabbitMQ's proposal, in seconds. */
const HEARTBEAT = 10
const PREFETCH = 16

/** One queue: `create` sends to it, reading feeds the app with one message after the other. */
class RabbitBinding implements Binding {
  readonly operations = ['create']
  readonly #context: ComponentContext
  readonly #values: ReturnType<typeof parseMetadata>
  readonly #queueArguments: Record<string, unknown>
  readonly #publishing: RabbitConnection
  readonly #consuming: RabbitConnection
  readonly #publisher: RabbitPublisher
  readonly #consumers = new Set<QueueConsumer>()

  constructor(context: ComponentContext) {
    this.#context = context
    const values = parseMetadata(fields, context.properties)
    this.#values = values
    this.#queueArguments = queueArguments(values)
    this.#publishing = this.#connection()
    // An exclusive queue belongs to a connection; else each way has its own, see pubsub.rabbitmq.
    this.#consuming = values.exclusive ? this.#publishing : this.#connection()
    this.#publisher = new RabbitPublisher(this.#publishing, { limit: values.publishTimeout as number, confirm: true }, (channel) =>
      this.#declare(channel),
    )
  }

  #connection(): RabbitConnection {
    const { name, appId, log } = this.#context
    const broker = readBroker('host', this.#values.host as string, this.#values, this.#values.externalSasl as boolean)
    const reconnectWait = (this.#values.reconnectWaitInSeconds as number | undefined) ?? 1000
    return new RabbitConnection({
      broker,
      component: `binding ${name}`,
      clientName: `${appId}/${name}`,
      heartbeat: HEARTBEAT,
      reconnectWait,
      log,
    })
  }

  async #declare(channel: Channel): Promise<string> {
    const { queueName, durable, deleteWhenUnused, exclusive } = this.#values
    await channel.assertQueue(queueName as string, {
      durable: durable as boolean,
      autoDelete: deleteWhenUnused as boolean,
      exclusive: exclusive as boolean,
      arguments: this.#queueArguments,
    })
    return queueName as string
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#publishing.open(signal)
    try {
      await this.#publisher.prepare('', signal)
    } catch (error) {
      await this.#publishing.close()
      throw error
    }
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#publishing.ping(this.#values.publishTimeout as number, signal)
  }

  async invoke({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<undefined> {
    const properties: MessageProperties = { contentType: 'text/plain', deliveryMode: 2 }
    if (Object.keys(metadata).length > 0) properties.headers = { ...metadata }
    const ttl = ttlOf(metadata)
    if (ttl !== undefined) properties.expiration = String(ttl)
    const priority = priorityOf(metadata)
    if (priority) properties.priority = priority
    const routingKey = this.#values.queueName as string
    await this.#publisher.publish({ exchange: '', routingKey, properties: applyGiven(metadata, properties), content: data }, signal)
  }

  async read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    await this.#consuming.open()
    const consumer = new QueueConsumer(
      this.#consuming,
      {
        subject: `queue ${this.#values.queueName}`,
        declare: (channel) => this.#declare(channel),
        tag: () => '',
        prefetch: (this.#values.prefetchCount as number) || PREFETCH,
        handlers: 1,
        early: false,
        onFailure: 'requeue',
        redeliverInterval: this.#values.redeliverInterval as number,
        drainTimeout: this.#values.drainTimeout as number,
        limit: this.#values.publishTimeout as number,
      },
      (message) => handler({ data: message.content, metadata: metadataOf(message) }),
      (ended) => this.#consumers.delete(ended),
    )
    this.#consumers.add(consumer)
    try {
      await consumer.start()
    } catch (error) {
      this.#consumers.delete(consumer)
      throw error
    }
    return consumer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    if (this.#consuming !== this.#publishing) await this.#consuming[Symbol.asyncDispose]()
    await this.#publisher.settle()
    await this.#publishing[Symbol.asyncDispose]()
  }
}

function queueArguments(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const given: Record<string, unknown> = {}
  if (values.ttl !== undefined) {
    try {
      given['x-message-ttl'] = ttlOf({ ttl: String(values.ttl) })
    } catch (error) {
      throw new MetadataError(`failed to parse TTL: ${(error as Error).message}`)
    }
  }
  if (values.maxPriority !== undefined) given['x-max-priority'] = Math.min(255, values.maxPriority as number)
  return given
}

/** Headers that are text, their names escaped as in a query: they travel as HTTP headers or gRPC metadata. */
function metadataOf({ properties }: ConsumeMessage): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries((properties.headers ?? {}) as Record<string, unknown>))
    if (typeof value === 'string') metadata[escapeName(name)] = value
  return metadata
}

function escapeName(name: string): string {
  return encodeURIComponent(name)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
}

export const driver: DriverModule<Binding> = {
  summary: 'Sends to a RabbitMQ queue and feeds the app from it.',
  metadata: fields,
  create: (context) => new RabbitBinding(context),
}
