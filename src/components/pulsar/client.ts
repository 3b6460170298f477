import { messageOf } from '../../errors.ts'
import type { ComponentContext } from '../component.ts'
import { NoRoomError } from '../no-room.ts'
import { Cluster } from './cluster.ts'
import { PulsarError, UnreachableError } from './errors.ts'
import { OAuthTokens } from './oauth.ts'
import { toMessage } from './out-message.ts'
import { TopicProducer } from './producer.ts'
import type { PulsarSettings } from './settings.ts'

/** Topics whose producers are kept; beyond, the one that was used longest ago goes, when nothing waits there. */
const MOST_PRODUCERS = 100
const CLOSE_GRACE = 2000
/** ServerError's number. */
const AUTHENTICATION = 3

/** One cluster, and what is published to it. */
export class PulsarClient {
  readonly settings: PulsarSettings
  readonly cluster: Cluster
  readonly #context: ComponentContext
  readonly #tokens: OAuthTokens | undefined
  /** The one used last stands last. */
  readonly #producers = new Map<string, TopicProducer>()

  constructor(context: ComponentContext, settings: PulsarSettings) {
    this.settings = settings
    this.#context = context
    const { token, oauth } = settings
    this.#tokens = oauth && new OAuthTokens(oauth)
    const data = async (anew = false) => {
      if (anew) this.#tokens?.drop()
      return token ?? (await (this.#tokens as OAuthTokens).current())
    }
    this.cluster = new Cluster({
      seeds: settings.seeds,
      web: settings.web,
      listener: settings.listener,
      tls: settings.tls,
      auth: token || oauth ? { method: 'token', data } : undefined,
      timeout: settings.timeout,
    })
    if (settings.tlsUnused)
      context.log.warn(`pub/sub component ${context.name}: enableTLS does nothing for a host without pulsar+ssl:// or https://`)
    if (settings.tls?.rejectUnauthorized === false)
      context.log.warn(`pub/sub component ${context.name}: the brokers' certificates are not checked: set enableTLS to true`)
  }

  /** Connects to a broker. Rejects with an Error that names it and says what to do. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    try {
      await this.#tokens?.current(signal)
      await this.cluster.greet()
    } catch (error) {
      throw this.explain('cannot connect to Pulsar', error)
    }
  }

  /** Whether a broker answers. */
  async ping(): Promise<void> {
    try {
      await this.cluster.greet()
    } catch (error) {
      throw this.explain('cannot reach Pulsar', error)
    }
  }

  /** Pulsar's name of a topic. */
  nameOf(topic: string): string {
    const { persistent, tenant, namespace } = this.settings
    return `${persistent ? 'persistent' : 'non-persistent'}://${tenant}/${namespace}/${topic}`
  }

  /** Resolves when the broker has the message. */
  async publish(topic: string, data: Buffer, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    try {
      const payload = this.settings.schemas.get(topic)?.encode(data, metadata) ?? data
      await this.#producer(topic).publish(toMessage(payload, metadata))
    } catch (error) {
      throw this.explain(`cannot publish to topic ${topic}`, error)
    }
  }

  #producer(topic: string): TopicProducer {
    let producer = this.#producers.get(topic)
    if (producer !== undefined && this.#producers.size === 1) return producer
    this.#producers.delete(topic)
    if (producer === undefined) {
      const { batching, batchMessages, batchBytes, compression, level, schemas, timeout } = this.settings
      const options = { batching, batchMessages, batchBytes, compression, level, schema: schemas.get(topic)?.registration, timeout }
      producer = new TopicProducer(this.cluster, this.nameOf(topic), options)
      this.#evict()
    }
    this.#producers.set(topic, producer)
    return producer
  }

  #evict(): void {
    if (this.#producers.size < MOST_PRODUCERS) return
    for (const [topic, producer] of this.#producers) {
      if (producer.count > 0) continue
      this.#producers.delete(topic)
      void producer.close(0)
      return
    }
  }

  /** What went wrong, with the next step. */
  explain(what: string, error: unknown): Error {
    const told = `${this.#context.name}: ${what}: ${messageOf(error)}`
    if (error instanceof PulsarError && error.full)
      return new NoRoomError(
        `${told} (the backlog quota of ${this.settings.tenant}/${this.settings.namespace} is used up: consume what waits, or raise it with pulsar-admin namespaces set-backlog-quota)`,
        { cause: error },
      )
    if (error instanceof PulsarError && error.code === AUTHENTICATION)
      return new Error(`${told} (correct the metadata field token, or the oauth2… fields)`, { cause: error })
    const next = error instanceof UnreachableError ? `; ${error.next ?? 'start the broker or correct the metadata field host'}` : ''
    return new Error(told + next, { cause: error })
  }

  async close(): Promise<void> {
    await Promise.all([...this.#producers.values()].map((producer) => producer.close(CLOSE_GRACE)))
    this.cluster.close()
    await this.#tokens?.[Symbol.asyncDispose]()
  }
}
