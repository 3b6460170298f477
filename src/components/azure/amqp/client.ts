import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { Logger } from '../../../telemetry/log.ts'
import { orAborted, pause } from '../../../waiting.ts'
import { Cbs } from './cbs.ts'
import { Connection } from './connection.ts'
import { UnreachableError } from './errors.ts'
import { Receiver } from './receiver.ts'
import { Requests } from './requests.ts'
import { Sender } from './sender.ts'
import type { Session } from './session.ts'
import type { AmqpReceiver, AmqpRequests, AmqpSender, ReceiverOptions, SenderOptions, TokenSource } from './types.ts'

export interface AmqpClientOptions {
  host: string
  port: number
  /** `false`: plain TCP. */
  tls: TlsOptions | boolean
  /** How the connection itself signs in. Default anonymous, as where tokens go to `$cbs`. */
  sasl?: { username: string; password: string } | 'anonymous' | 'external'
  /** Absent: nothing is asked of `$cbs`. */
  tokens?: TokenSource
  /** For messages, e.g. `pub/sub component orders`. */
  label: string
  /** Shown at the server. */
  containerId?: string
  /** Limit for one try to connect, handshakes included, milliseconds. Default 15000. */
  dialTimeout?: number
  /** What the peer is told: it sends something at least so often, milliseconds. Twice as long without a byte, and the connection is given up. Default 60000, as Microsoft's clients. */
  idleTimeout?: number
  /** Between tries to connect again, milliseconds: doubled from the first to the second. Default 50 and 5000. */
  reconnectWait?: readonly [number, number]
  log: Logger
}

interface Up {
  connection: Connection
  cbs: Cbs | undefined
}

/**
 * One connection that comes back by itself when somebody needs it, and what is opened on it: links, each in a session of its
 * own, authorised by `$cbs` as long as the connection lives.
 *
 * idle → (first need) connecting → up → (lost) waiting, longer each time → connecting … → disposed.
 * Links do not come back: their `closed` says that they are gone, and their owner opens others, which connects.
 */
export class AmqpClient implements AsyncDisposable {
  readonly options: AmqpClientOptions
  readonly #ending = new AbortController()
  #up: Promise<Up> | undefined
  #failures = 0
  #notBefore = 0

  constructor(options: AmqpClientOptions) {
    this.options = options
  }

  /** Connects, if it is not connected. Rejects with UnreachableError or AmqpError (refused), or with the signal's reason. */
  async open(signal: AbortSignal): Promise<void> {
    await this.#connected(signal)
  }

  /** A new link to a queue, topic or hub. Rejects as `open`, or with the AmqpError that the peer detaches it with. */
  sender(address: string, options: SenderOptions, signal: AbortSignal): Promise<AmqpSender> {
    return this.#link(address, options.audience, signal, (session) => new Sender(session, address, options))
  }

  receiver(address: string, options: ReceiverOptions, signal: AbortSignal): Promise<AmqpReceiver> {
    return this.#link(address, options.audience, signal, (session) => new Receiver(session, address, options))
  }

  /** `address` e.g. `orders/$management`. */
  requests(address: string, { audience }: { audience?: string }, signal: AbortSignal): Promise<AmqpRequests> {
    return this.#link(address, audience, signal, (session) => new Requests(session, address))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(new UnreachableError(`${this.options.label}: the connection to ${this.options.host} is closed`))
    const up = await this.#up?.catch(() => undefined)
    await up?.connection.close()
  }

  async #link<T extends { open(signal: AbortSignal): Promise<void> }>(
    address: string,
    audience: string | undefined,
    given: AbortSignal,
    make: (session: Session) => T,
  ): Promise<T> {
    const signal = AbortSignal.any([given, this.#ending.signal])
    const { connection, cbs } = await this.#connected(signal)
    if (cbs) await orAborted(cbs.authorise(audience ?? `sb://${this.options.host}/${address}`), signal)
    const link = make(connection.session())
    await link.open(signal)
    return link
  }

  #connected(given: AbortSignal): Promise<Up> {
    const signal = AbortSignal.any([given, this.#ending.signal])
    this.#up ??= this.#connect()
    return orAborted(this.#up, signal)
  }

  /** The one who asks first connects for all; nobody's signal but our own ends that. */
  #connect(): Promise<Up> {
    const {
      host,
      port,
      tls,
      sasl = 'anonymous',
      containerId,
      dialTimeout = 15_000,
      idleTimeout = 60_000,
      tokens,
      label,
      log,
    } = this.options
    const [least, most] = this.options.reconnectWait ?? [50, 5000]
    const up = (async () => {
      const { signal } = this.#ending
      const wait = this.#notBefore - Date.now()
      if (wait > 0) await pause(wait, signal)
      const connection = await Connection.open({ host, port, tls, sasl, containerId, dialTimeout, idleTimeout }, signal)
      this.#failures = 0
      const cbs = tokens && new Cbs(connection, tokens, (text) => log.warn(`${label}: ${text}`))
      void connection.ended.then((error) => {
        if (this.#up === up) this.#up = undefined
        this.#notBefore = Date.now() + least
        if (!signal.aborted) log.warn(`${label}: ${error.message}`)
      })
      return { connection, cbs }
    })()
    up.catch(() => {
      if (this.#up === up) this.#up = undefined
      this.#notBefore = Date.now() + Math.min(most, least * 2 ** Math.min(this.#failures++, 20))
    })
    return up
  }
}
