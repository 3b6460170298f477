import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { Logger } from '../../../telemetry/log.ts'
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
  /** Silence after which the connection is given up, milliseconds. Default 60000. */
  idleTimeout?: number
  /** Between tries to connect again, milliseconds: doubled from the first to the second. Default 50 and 5000. */
  reconnectWait?: readonly [number, number]
  log: Logger
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

  constructor(options: AmqpClientOptions) {
    this.options = options
  }

  /** Connects, if it is not connected. Rejects with UnreachableError or AmqpError (refused), or with the signal's reason. */
  async open(_signal: AbortSignal): Promise<void> {
    throw new Error('not built yet')
  }

  /** A new link to a queue, topic or hub. Rejects as `open`, or with the AmqpError that the peer detaches it with. */
  async sender(_address: string, _options: SenderOptions, _signal: AbortSignal): Promise<AmqpSender> {
    throw new Error('not built yet')
  }

  async receiver(_address: string, _options: ReceiverOptions, _signal: AbortSignal): Promise<AmqpReceiver> {
    throw new Error('not built yet')
  }

  /** `address` e.g. `orders/$management`. */
  async requests(_address: string, _options: { audience?: string }, _signal: AbortSignal): Promise<AmqpRequests> {
    throw new Error('not built yet')
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
