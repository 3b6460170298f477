import { messageOf } from '../../errors.ts'
import type { ComponentContext } from '../component.ts'
import { MetadataError } from '../metadata.ts'
import { metadata } from './calls.ts'
import { Cluster } from './cluster.ts'
import { Consumer } from './consumer.ts'
import { UnreachableError } from './errors.ts'
import { NULL, payloadOf, saysAvro, toRecord } from './message.ts'
import { Producer } from './producer.ts'
import type { InRecord } from './records.ts'
import type { SchemaRegistry } from './schema-registry.ts'
import type { KafkaSettings } from './settings.ts'

const CLOSE_GRACE = 2000

/** What both Kafka components are made of: one cluster, what is published to it and what is read from it. */
export class KafkaClient {
  readonly settings: KafkaSettings
  readonly consumer: Consumer
  readonly #context: ComponentContext
  readonly #cluster: Cluster
  readonly #producer: Producer
  #registry: Promise<SchemaRegistry> | undefined
  #opened = false

  constructor(context: ComponentContext, settings: KafkaSettings) {
    this.settings = settings
    this.#context = context
    this.#cluster = new Cluster(settings.cluster)
    this.#producer = new Producer(this.#cluster, settings.producer)
    this.consumer = new Consumer(this.#cluster, settings.consumer, context.log)
  }

  /** Connects to a broker. Rejects with an Error that names the brokers and says what to do. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    try {
      await this.#cluster.ask(metadata([]), this.settings.cluster.dialTimeout)
      this.#opened = true
    } catch (error) {
      throw new Error(`cannot connect to Kafka: ${messageOf(error)}${stepAfter(error)}`, { cause: error })
    }
  }

  /** Whether a broker answers. */
  async ping(): Promise<void> {
    await this.#cluster.ask(metadata([]), Math.min(this.settings.cluster.requestTimeout, 3000))
  }

  /** Resolves when the broker has the message. */
  async publish(topic: string, data: Buffer, from: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const { name } = this.#context
    if (!this.#opened) throw new Error(`component ${name} is not open`)
    try {
      const value = saysAvro(from) && !data.equals(NULL) ? await (await this.#schemas()).encode(topic, data) : data
      const { record, partition } = toRecord(value, from, this.settings)
      await this.#producer.publish(topic, record, partition)
    } catch (error) {
      throw new Error(`${name} cannot publish to topic ${topic}: ${messageOf(error)}${stepAfter(error)}`, { cause: error })
    }
  }

  /** What the app gets of a record's value. `avro`: as the subscription says. */
  valueOf(record: InRecord, avro: boolean): Buffer | Promise<Buffer> {
    const { value } = record
    return avro && value ? this.#schemas().then((schemas) => schemas.decode(value)) : payloadOf(record)
  }

  #schemas(): Promise<SchemaRegistry> {
    const { registry } = this.settings
    if (!registry)
      return Promise.reject(
        new MetadataError('schema registry details not set: valueSchemaType Avro needs the metadata field schemaRegistryURL'),
      )
    this.#registry ??= import('./schema-registry.ts').then(({ SchemaRegistry }) => new SchemaRegistry(registry))
    return this.#registry
  }

  async close(): Promise<void> {
    await Promise.all([this.consumer.close(), this.#producer.close(CLOSE_GRACE)])
    this.#cluster.close()
    await (await this.#registry)?.[Symbol.asyncDispose]()
    const { sasl } = this.settings.cluster
    if (sasl?.mechanism === 'OAUTHBEARER') await sasl.close?.()
  }
}

function stepAfter(error: unknown): string {
  return error instanceof UnreachableError ? `; ${error.next ?? 'start the broker or correct the metadata field brokers'}` : ''
}
