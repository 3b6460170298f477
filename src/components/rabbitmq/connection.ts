import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type ChannelModel, connect, credentials } from 'amqplib'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { gatherWrites } from '../gather-writes.ts'
import { tlsAdvice } from '../tls-advice.ts'
import type { Broker } from './broker.ts'

export interface ConnectionSettings {
  broker: Broker
  /** For messages, e.g. `pub/sub component orders`. */
  component: string
  /** Name of the connection in RabbitMQ's management. */
  clientName: string
  /** Seconds between heartbeats; 0 none. A connection that is silent for two to three of them is given up. */
  heartbeat: number
  /** Longest wait between two tries to connect again, milliseconds. */
  reconnectWait: number
  log: Logger
}

/** Limit for one try to connect, handshake included. */
const DIAL_LIMIT = 5000
const TLS_FIELDS = {
  address: 'connectionString',
  on: 'write amqp instead of amqps',
  authority: 'caCert',
  client: 'clientCert and clientKey',
}
const FIRST_WAIT = 50

/**
 * One connection that comes back by itself.
 *
 * closed → `open` → up ⇄ down (dials again with growing waits) → disposed. While up the server may block it (memory or
 * disk alarm): then it takes no publishes. Whoever has channels on it makes them anew when `generation` has changed.
 */
export class RabbitConnection implements AsyncDisposable {
  readonly settings: ConnectionSettings
  readonly #ending = new AbortController()
  readonly #waiters = new Set<() => void>()
  #model: ChannelModel | undefined
  #blocked: string | undefined
  #reason = 'not opened yet'
  #redialing: Promise<void> | undefined
  #opened = false

  constructor(settings: ConnectionSettings) {
    this.settings = settings
  }

  /** The connection while it is up. */
  get model(): ChannelModel | undefined {
    return this.#model
  }

  /** Why it takes no publishes now; undefined when it does. */
  get obstacle(): string | undefined {
    const { address } = this.settings.broker
    if (this.#model === undefined) return `RabbitMQ at ${address} is not connected (${this.#reason})`
    if (this.#blocked !== undefined) return `RabbitMQ at ${address} takes no messages now (${this.#blocked}; free some there)`
    return undefined
  }

  get ended(): boolean {
    return this.#ending.signal.aborted
  }

  /** The first connection: one try, whose error says what to correct. */
  async open(signal?: AbortSignal): Promise<void> {
    // Open once, it comes back by itself.
    if (this.#opened) return
    signal?.throwIfAborted()
    const { promise, reject } = Promise.withResolvers<never>()
    const aborted = () => reject(signal?.reason)
    signal?.addEventListener('abort', aborted)
    try {
      await Promise.race([this.#dial(signal), promise])
      this.#opened = true
    } catch (error) {
      const reason = describe(error, this.settings.broker)
      const { address } = this.settings.broker
      throw new Error(reason.includes(address) ? reason : `RabbitMQ at ${address}: ${reason}`, { cause: error })
    } finally {
      signal?.removeEventListener('abort', aborted)
    }
  }

  /** A round trip to the server; rejects when it is not connected, blocks us or does not answer in time. */
  async ping(limit: number, signal?: AbortSignal): Promise<void> {
    const model = this.#model
    // A server that blocks us does not read, so it would not answer either.
    if (model === undefined || this.#blocked !== undefined) throw new Error(this.obstacle)
    const { promise, reject } = Promise.withResolvers<never>()
    const fail = () => reject(new Error(`RabbitMQ at ${this.settings.broker.address} has not answered within ${limit} ms`))
    const timer = setTimeout(fail, limit)
    signal?.addEventListener('abort', fail, { once: true })
    // Opening and closing a channel needs no permission.
    const trip = model.createChannel().then((channel) => channel.close())
    try {
      await Promise.race([trip, promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', fail)
      trip.catch(() => {})
    }
  }

  /** Waits until something has changed: up, down, blocked, unblocked, ended; at most so many milliseconds. */
  async change(limit: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, Math.max(0, limit))
    this.#waiters.add(resolve)
    signal?.addEventListener('abort', () => resolve(), { once: true })
    await promise
    clearTimeout(timer)
    this.#waiters.delete(resolve)
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  async #dial(signal?: AbortSignal): Promise<void> {
    const { broker, clientName, heartbeat } = this.settings
    const model = await connect(
      {
        protocol: broker.protocol,
        hostname: broker.hostname,
        port: broker.port,
        vhost: broker.vhost,
        heartbeat: broker.heartbeat ?? heartbeat,
        frameMax: 0,
      },
      {
        ...broker.tls,
        noDelay: true,
        timeout: DIAL_LIMIT,
        credentials: broker.external ? credentials.external() : credentials.plain(broker.username, broker.password),
        clientProperties: { connection_name: clientName },
      },
    )
    if (this.ended || signal?.aborted) {
      await end(model)
      return
    }
    // The library writes frame by frame.
    const { stream } = model.connection as unknown as { stream?: Socket }
    if (stream) gatherWrites(stream)
    let failure: unknown
    model.on('error', (error) => {
      failure = error
    })
    model.on('blocked', (reason) => {
      this.#blocked = reason
      this.settings.log.warn(`${this.settings.component}: RabbitMQ at ${broker.address} takes no messages now: ${reason}`)
      this.#changed()
    })
    model.on('unblocked', () => {
      this.#blocked = undefined
      this.settings.log.info(`${this.settings.component}: RabbitMQ at ${broker.address} takes messages again`)
      this.#changed()
    })
    model.on('close', (error?: Error) => this.#lost(model, error ?? failure))
    this.#model = model
    this.#changed()
  }

  #lost(model: ChannelModel, error: unknown): void {
    // A peer that hangs never answers the end of the stream: the socket would stay, and the process with it.
    destroySocket(model)
    if (this.#model !== model) return
    this.#model = undefined
    this.#blocked = undefined
    this.#reason = error === undefined ? 'closed' : describe(error, this.settings.broker)
    if (!this.ended) {
      this.settings.log.warn(
        `${this.settings.component}: lost RabbitMQ at ${this.settings.broker.address}, connecting again: ${this.#reason}`,
      )
      this.#redialing = this.#redial()
    }
    this.#changed()
  }

  async #redial(): Promise<void> {
    const { component, log, reconnectWait, broker } = this.settings
    for (let attempt = 0; !this.ended; attempt++) {
      // Many sidecars lose one server at the same moment; they don't come back at the same one.
      const wait = Math.min(reconnectWait, FIRST_WAIT * 2 ** Math.min(attempt, 20)) * (0.5 + Math.random() / 2)
      try {
        await pause(wait, undefined, { signal: this.#ending.signal })
        await this.#dial()
        log.info(`${component}: connected to RabbitMQ at ${broker.address} again`)
        return
      } catch (error) {
        if (this.ended) return
        const reason = describe(error, broker)
        if (reason !== this.#reason) log.warn(`${component}: ${reason}`)
        this.#reason = reason
      }
    }
  }

  /** Back to closed, from where `open` may be called again. */
  async close(): Promise<void> {
    const model = this.#model
    this.#opened = false
    this.#model = undefined
    if (model !== undefined) await end(model)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    this.#changed()
    await this.close()
    await this.#redialing
  }
}

/** Closes in an orderly way, or cuts off a server that does not answer. */
async function end(model: ChannelModel): Promise<void> {
  model.on('error', () => {})
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, 1000)
  await Promise.race([model.close().catch(() => {}), promise])
  clearTimeout(timer)
  destroySocket(model)
}

/** Ends what a connection without an answering peer would leave behind: its socket and its timers. */
function destroySocket(model: ChannelModel): void {
  const { stream, heartbeater } = model.connection as unknown as { stream?: { destroy?(): void }; heartbeater?: { clear?(): void } | null }
  heartbeater?.clear?.()
  stream?.destroy?.()
}

/** What a failed connection means and what to do, without secrets. */
function describe(error: unknown, broker: Broker): string {
  const text = messageOf(error)
  const at = `RabbitMQ at ${broker.address}`
  if (/ACCESS.REFUSED/.test(text))
    return `${at} refuses the login of ${broker.external ? 'the client certificate' : `user ${broker.username}`}: check username and password, and that the user may use vhost ${broker.vhost}`
  // The library does not tell why the server closes while a vhost is opened; there are no other reasons.
  if (/Expected ConnectionOpenOk; got <ConnectionClose/.test(text) || (/NOT.ALLOWED/.test(text) && /vhost/.test(text)))
    return `${at} does not let user ${broker.username} use vhost ${broker.vhost}: create the vhost or its permissions`
  if (/ECONNREFUSED/.test(text)) return `cannot connect to ${at}: connection refused; start the server or correct the address`
  if (/ENOTFOUND|EAI_AGAIN/.test(text)) return `cannot connect to ${at}: the name ${broker.hostname} is not known; correct the address`
  if (/ETIMEDOUT/.test(text)) return `cannot connect to ${at}: no answer within ${DIAL_LIMIT / 1000} s; check address, firewall and server`
  const tls = tlsAdvice(error, TLS_FIELDS)
  if (tls) return `cannot connect to ${at}: ${tls.reason}; ${tls.next}`
  return text
}
