import type { Binding, BindingEvent, BindingRequest, BindingResponse } from '../../../blocks/bindings/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { AdvisedError, MqttClient } from '../../mqtt/client.ts'
import { Delivery } from '../../mqtt/delivery.ts'
import { mqttFields, serverOf } from '../../mqtt/settings.ts'
import { backoff } from '../../pubsub/running.ts'

const metadata: readonly MetadataField[] = [
  ...mqttFields,
  { name: 'topic', kind: 'string', required: true, description: 'Topic to read, and to publish to when a request names none.' },
  {
    name: 'consumerID',
    kind: 'string',
    required: true,
    description: 'Client id, with -producer for output and -consumer for input after it.',
  },
  {
    name: 'backOffMaxRetries',
    kind: 'int',
    description: 'Tries after the first, 5 s apart; then the message waits for the next connection. Default: tried as long as it takes.',
  },
]

const QOS = 1
const FIRST_BACKOFF = 100
const CONSTANT = 5000

/** Output: a message of each request. Input: the messages of a topic. A connection each, made when it is needed. */
class MqttBinding implements Binding {
  readonly operations = ['create']
  readonly #context: ComponentContext
  readonly #settings: ReturnType<typeof parseMetadata>
  readonly #open = new Set<AsyncDisposable>()
  #producer: Promise<MqttClient> | undefined

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = parseMetadata(metadata, context.properties)
    serverOf(this.#settings)
  }

  async init(): Promise<void> {}

  async ping(): Promise<void> {
    await (await this.#publisher()).ping()
  }

  async invoke({ data, metadata: from }: BindingRequest, signal?: AbortSignal): Promise<BindingResponse | undefined> {
    signal?.throwIfAborted()
    const topic = from.topic || (this.#settings.topic as string)
    try {
      await (await this.#publisher()).publish(topic, data, QOS, this.#settings.retain as boolean)
    } catch (error) {
      const next = error instanceof AdvisedError ? '' : '; start the broker or correct url'
      throw new Error(`failed to publish: ${(error as Error).message}${next}`, { cause: error })
    }
    return undefined
  }

  #publisher(): Promise<MqttClient> {
    this.#producer ??= (async () => {
      const client = this.#client('producer', () => {})
      try {
        await client.open(AbortSignal.timeout(this.#settings.writeTimeout as number))
        return client
      } catch (error) {
        client.close()
        this.#producer = undefined
        throw error
      }
    })()
    return this.#producer
  }

  #client(role: string, onMessage: ConstructorParameters<typeof MqttClient>[0]['onMessage']): MqttClient {
    return new MqttClient({
      server: serverOf(this.#settings),
      clientId: `${this.#settings.consumerID}-${role}`,
      cleanSession: this.#settings.cleanSession as boolean,
      timeout: this.#settings.writeTimeout as number,
      onMessage,
      log: this.#context.log,
    })
  }

  async read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    const most = this.#settings.backOffMaxRetries as number | undefined
    const delivery = new Delivery({
      concurrency: this.#settings.concurrency as number,
      retry: (attempt) => {
        if (most === undefined || most < 0) return backoff(attempt, FIRST_BACKOFF, this.#settings.redeliverInterval as number)
        return attempt > most ? undefined : CONSTANT
      },
      drainTimeout: this.#settings.drainTimeout as number,
      handle: async (message) => {
        await handler({ data: message.payload, metadata: { topic: message.topic } })
      },
      log: this.#context.log,
    })
    const client = this.#client('consumer', (message, done) => delivery.add({ message, done }))
    const reader = {
      [Symbol.asyncDispose]: async () => {
        if (!this.#open.delete(reader)) return
        await delivery.end()
        client.close()
      },
    }
    try {
      await client.open(AbortSignal.timeout(this.#settings.writeTimeout as number))
      await client.subscribe(this.#settings.topic as string, QOS)
    } catch (error) {
      client.close()
      throw error
    }
    this.#open.add(reader)
    return reader
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#open].map((reader) => reader[Symbol.asyncDispose]()))
    const producer = await this.#producer?.catch(() => undefined)
    producer?.close()
  }
}

export const driver: DriverModule<Binding> = {
  summary: 'Publishes to a topic of an MQTT 3.1.1 broker with QoS 1, and feeds the app with the messages of one.',
  metadata,
  create: (context) => new MqttBinding(context),
}
