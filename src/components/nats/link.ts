import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { tlsRefusal } from './refused-certificate.ts'

export interface LinkSettings {
  options: NodeConnectionOptions
  /** For messages: servers without secrets. */
  address: string
  /** For messages, e.g. `pub/sub component orders`. */
  component: string
  log: Logger
}

/** Limit for the first connection. */
const DIAL_LIMIT = 5000
/** A server that leaves two pings unanswered is given up. */
const PING_INTERVAL = 10_000
/** Between two tries to connect again, milliseconds at most: at all, and while somebody waits. */
const LONGEST_WAIT = 1000
const EAGER_WAIT = 250
const TLS_FIELDS = {
  address: 'natsURL',
  on: 'write nats instead of tls',
  client: 'tls_client_cert and tls_client_key',
}

/** One connection to NATS, which the library makes again by itself; here is what others need to know of it. */
export class NatsLink implements AsyncDisposable {
  readonly settings: LinkSettings
  readonly #waiters = new Set<() => void>()
  readonly #onUp = new Set<() => void>()
  readonly #onDown = new Set<() => void>()
  readonly #onError = new Set<(error: Error) => void>()
  readonly #sends: (() => void)[] = []
  #connection: NatsConnection | undefined
  #up = false
  #ended = false
  #failures = 0
  /** Why the last try to connect again came to nothing. */
  #reason: string | undefined

  constructor(settings: LinkSettings) {
    this.settings = settings
  }

  /** The connection, also while it is down. */
  get connection(): NatsConnection {
    if (this.#connection === undefined) throw new Error(`${this.settings.component} is not open`)
    return this.#connection
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Why nothing can be sent now; undefined when something can. */
  get obstacle(): string | undefined {
    return this.#up
      ? undefined
      : `NATS at ${this.settings.address} is not connected${this.#reason === undefined ? '' : ` (${this.#reason})`}`
  }

  /** Calls the listener at each reconnection, until the function it gives back is called. */
  onUp(listener: () => void): () => void {
    this.#onUp.add(listener)
    return () => this.#onUp.delete(listener)
  }

  onDown(listener: () => void): void {
    this.#onDown.add(listener)
  }

  /** Hears what the server complains of while the connection goes on, e.g. a subject that this login may not publish to. */
  onError(listener: (error: Error) => void): void {
    this.#onError.add(listener)
  }

  /** The first connection: one try, whose error says what to correct. */
  async open(signal?: AbortSignal): Promise<NatsConnection> {
    if (this.#connection !== undefined) return this.#connection
    signal?.throwIfAborted()
    let connection: NatsConnection
    try {
      connection = await connect({
        ...this.settings.options,
        reconnect: true,
        maxReconnectAttempts: -1,
        // Many sidecars lose one server at the same moment; they don't come back at the same one.
        reconnectDelayHandler: () => Math.min(this.#longestWait, 50 * 2 ** Math.min(this.#failures++, 10)) * (0.5 + Math.random() / 2),
        // Credentials may be corrected at the server: going on costs one try a second.
        ignoreAuthErrorAbort: true,
        timeout: DIAL_LIMIT,
        pingInterval: PING_INTERVAL,
        maxPingOut: 2,
      })
    } catch (error) {
      throw new Error(describe(await this.#known(error), this.settings.address), { cause: error })
    }
    if (this.#ended || signal?.aborted) {
      await connection.close()
      throw signal?.reason ?? new Error('closed')
    }
    this.#connection = connection
    this.#up = true
    this.#hearFailures(connection)
    void this.#watch(connection)
    return connection
  }

  /** Subscriptions and publishes wait for the server; else nobody needs it soon. */
  get #longestWait(): number {
    return this.#onUp.size + this.#waiters.size > 0 ? EAGER_WAIT : LONGEST_WAIT
  }

  /** The library's error, or why the server ended the connection that it waited for. */
  async #known(error: unknown): Promise<unknown> {
    return (/timeout/i.test(messageOf(error)) && !this.#ended && (await tlsRefusal(this.settings.options).catch(() => undefined))) || error
  }

  /** The library tells nobody why it cannot connect again. */
  #hearFailures(connection: NatsConnection): void {
    const { protocol } = connection as unknown as { protocol?: { _doDial?: (server: unknown) => Promise<void> } }
    const dial = protocol?._doDial
    if (!protocol || !dial) return
    protocol._doDial = async (server) => {
      try {
        await dial.call(protocol, server)
        this.#reason = undefined
      } catch (error) {
        const reason = describe(await this.#known(error), this.settings.address)
        if (reason !== this.#reason && !this.#ended) this.settings.log.warn(`${this.settings.component}: ${reason}`)
        this.#reason = reason
        throw error
      }
    }
  }

  async #watch(connection: NatsConnection): Promise<void> {
    const { log, component, address } = this.settings
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') {
        this.#up = false
        if (!this.#ended) log.warn(`${component}: lost NATS at ${address}; connecting again`)
        for (const listener of this.#onDown) listener()
      } else if (status.type === 'reconnect') {
        this.#up = true
        this.#failures = 0
        log.info(`${component}: connected to NATS at ${address} again`)
        for (const listener of this.#onUp) listener()
      } else if (status.type === 'error') {
        for (const listener of this.#onError) listener(status.error)
        log.warn(`${component}: ${describe(status.error, address)}`)
      }
      this.#changed()
    }
    this.#up = false
    this.#changed()
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  /** Runs what sends at the end of this turn of the event loop, so that all of a turn goes out with one system call. */
  soon(send: () => void): void {
    if (this.#sends.push(send) === 1) setImmediate(() => this.#sendAll())
  }

  #sendAll(): void {
    for (const send of this.#sends.splice(0)) {
      try {
        send()
      } catch (error) {
        // The connection is closed: what was not acknowledged is given again.
        this.settings.log.debug(`${this.settings.component}: not sent: ${messageOf(error)}`)
      }
    }
  }

  /** Waits until something has changed, at most so many milliseconds. */
  async change(limit: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, Math.max(0, limit))
    this.#waiters.add(resolve)
    signal?.addEventListener('abort', () => resolve(), { once: true })
    await promise
    clearTimeout(timer)
    this.#waiters.delete(resolve)
  }

  async ping(limit: number): Promise<void> {
    const { connection } = this
    if (this.obstacle !== undefined) throw new Error(this.obstacle)
    const { promise, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error(`NATS at ${this.settings.address} has not answered within ${limit} ms`)), limit)
    const trip = connection.flush()
    trip.catch(() => {})
    try {
      await Promise.race([trip, promise])
    } finally {
      clearTimeout(timer)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    this.#changed()
    const connection = this.#connection
    if (connection === undefined) return
    this.#sendAll()
    // What was written goes out first; a server that hangs is not waited for.
    if (this.#up) await this.ping(1000).catch(() => {})
    await connection.close()
  }
}

/** What a failed connection means and what to do, without secrets. */
function describe(error: unknown, address: string): string {
  const text = messageOf(error)
  const at = `NATS at ${address}`
  const tls = tlsAdvice(error, TLS_FIELDS)
  if (tls) return `cannot connect to ${at}: ${tls.reason}; ${tls.next}`
  if (/authorization|authentication|nkey|jwt/i.test(text))
    return `${at} refuses the login: check token, jwt and seedKey, or the user in natsURL`
  if (/connection refused|ECONNREFUSED/i.test(text))
    return `cannot connect to ${at}: connection refused; start the server or correct natsURL`
  if (/ENOTFOUND|EAI_AGAIN/.test(text)) return `cannot connect to ${at}: the name is not known; correct natsURL`
  if (/timeout/i.test(text)) return `cannot connect to ${at}: no answer within ${DIAL_LIMIT / 1000} s; check address, firewall and server`
  return `${at}: ${text}`
}
