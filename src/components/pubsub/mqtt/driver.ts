import type { MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { isTruthy, type MetadataField, parseMetadata } from '../../metadata.ts'
import { AdvisedError, MqttClient } from '../../mqtt/client.ts'
import { Delivery, type Held } from '../../mqtt/delivery.ts'
import { matches, plainFilter } from '../../mqtt/filter.ts'
import type { Publish } from '../../mqtt/packets.ts'
import { mqttFields, serverOf } from '../../mqtt/settings.ts'
import { backoff, handlersFor } from '../running.ts'

const metadata: readonly MetadataField[] = [
  ...mqttFields,
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Client id: the session that the broker keeps. One connection at a time has it. Default: the app id.',
  },
  { name: 'qos', kind: 'int', default: '1', min: 0, max: 2, description: 'Quality of service; 0 may lose messages.' },
]

const FIRST_BACKOFF = 100
const BOOLEANS: Readonly<Record<string, boolean>> = { '1': true, t: true, true: true, '0': false, f: false, false: false }

/** MQTT 3.1.1: topics as they are, with wildcards and shared subscriptions; only the data travels. */
class MqttPubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['SUBSCRIBE_WILDCARDS']
  readonly #context: ComponentContext
  readonly #settings: ReturnType<typeof parseMetadata>
  readonly #client: MqttClient
  readonly #subscriptions = new Map<string, Set<Delivery>>()
  /** Messages of the session that nobody here subscribes to at present: the broker gives out no more than it has in flight. */
  #unhandled: Held[] = []

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = parseMetadata(metadata, context.properties)
    this.#client = new MqttClient({
      server: serverOf(this.#settings),
      clientId: (this.#settings.consumerID as string | undefined) ?? context.appId,
      cleanSession: this.#settings.cleanSession as boolean,
      timeout: this.#settings.writeTimeout as number,
      onMessage: (message, acknowledge) => this.#route(message, acknowledge),
      log: context.log,
    })
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#client.open(signal)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
  }

  async publish({ topic, data, metadata: from }: PublishRequest, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (/[#+]/.test(topic)) throw new Error(`${this.#context.name} cannot publish to topic ${topic}: + and # are for subscriptions only`)
    const retain = from.retain ? BOOLEANS[from.retain.toLowerCase()] : (this.#settings.retain as boolean)
    if (retain === undefined) throw new Error(`mqtt invalid retain ${from.retain}: true or false`)
    try {
      await this.#client.publish(topic, data, this.#settings.qos as number, retain)
    } catch (error) {
      const next = error instanceof AdvisedError ? '' : '; start the broker or correct url'
      throw new Error(`${this.#context.name} cannot publish to topic ${topic}: ${(error as Error).message}${next}`, { cause: error })
    }
  }

  async subscribe(
    topic: string,
    from: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const delivery = new Delivery({
      concurrency: handlersFor(this.#settings.concurrency as number, batch),
      retry: (attempt) => backoff(attempt, FIRST_BACKOFF, this.#settings.redeliverInterval as number),
      drainTimeout: this.#settings.drainTimeout as number,
      handle: (message, signal) =>
        handler({ topic: message.topic, data: message.payload, metadata: { retained: String(message.retain) } }, signal),
      log: this.#context.log,
    })
    const others = this.#subscriptions.get(topic)
    if (others) others.add(delivery)
    else {
      this.#subscriptions.set(topic, new Set([delivery]))
      try {
        await this.#client.subscribe(topic, this.#settings.qos as number)
      } catch (error) {
        this.#subscriptions.delete(topic)
        throw error
      }
    }
    this.#claim(topic, delivery)
    const tell = (this.#settings.cleanSession as boolean) || isTruthy(from.unsubscribeOnClose)
    return { [Symbol.asyncDispose]: () => this.#end(topic, delivery, tell) }
  }

  #route(message: Publish, acknowledge: () => void): void {
    const deliveries = this.#find(message.topic)
    if (deliveries === undefined) {
      if (message.qos > 0) this.#unhandled.push({ message, done: acknowledge })
      return
    }
    let left = deliveries.size
    const held = {
      message,
      done: () => {
        if (--left === 0) acknowledge()
      },
    }
    for (const delivery of deliveries) delivery.add({ ...held })
  }

  /** Those of the topic itself, else of the first filter that means it. */
  #find(topic: string): Set<Delivery> | undefined {
    const exact = this.#subscriptions.get(topic)
    if (exact) return exact
    for (const [filter, deliveries] of this.#subscriptions) if (matches(filter, topic)) return deliveries
    return undefined
  }

  /** Hands over what came for this topic while nobody had subscribed to it. */
  #claim(filter: string, delivery: Delivery): void {
    const mine = (held: Held) => plainFilter(filter) === held.message.topic || matches(filter, held.message.topic)
    const claimed = this.#unhandled.filter(mine)
    this.#unhandled = this.#unhandled.filter((held) => !mine(held))
    for (const held of claimed) delivery.add(held)
  }

  async #end(topic: string, delivery: Delivery, tell: boolean): Promise<void> {
    const deliveries = this.#subscriptions.get(topic)
    if (!deliveries?.delete(delivery)) return
    const last = deliveries.size === 0
    if (last) this.#subscriptions.delete(topic)
    this.#unhandled.push(...(await delivery.end()))
    // Without being told the broker goes on keeping messages for this session, as it should over a restart.
    if (last && !this.#subscriptions.has(topic)) await this.#client.unsubscribe(topic, tell).catch(() => {})
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ending = [...this.#subscriptions.values()].flatMap((deliveries) => [...deliveries])
    this.#subscriptions.clear()
    await Promise.all(ending.map((delivery) => delivery.end()))
    this.#client.close()
  }
}

export const driver: DriverModule<PubSub> = {
  summary: 'MQTT 3.1.1, at least once with QoS 1 and 2, with the wildcards + and # and shared subscriptions ($share/group/topic).',
  metadata,
  create: (context) => new MqttPubSub(context),
}
