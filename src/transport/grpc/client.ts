import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import { ClientPool } from '../http2/client-pool.ts'
import { Http2ClientStream } from '../http2/client-stream.ts'
import type { ClientTls } from '../http2/dial.ts'
import { CallHeads } from './call-head.ts'
import { Call, type CallTransport, lostStatus } from './client-call.ts'
import { frame } from './frames.ts'
import { GrpcStatus } from './status.ts'

export interface GrpcClientOptions {
  /** Bytes of one message, both ways. Default 4 MiB. */
  maxMessageSize?: number
  /** Milliseconds for a connection to come up, the server's first words included. Default 10,000. */
  connectTimeout?: number
  /** Milliseconds without calls after which a connection is closed. Default 3 minutes; 0: never. */
  idleTimeout?: number
  /** A connection to an address takes no more calls: it is lost, idle or told to go away. */
  onGone?: (address: string) => void
  /** Speak TLS, with ALPN h2; as a function, asked anew for each connection. Default: cleartext with prior knowledge. */
  tls?: ClientTls
  /**
   * Pings a connection on which nothing came for `interval` milliseconds and cuts it without an answer within `timeout`.
   * Default: never, for many servers take pings for an attack; daprd's takes them every 8 s.
   */
  keepalive?: { interval: number; timeout: number }
  /** Connections to one address, opened when those there are have no room for another call. Default 100. */
  maxConnections?: number
  /** Calls that may wait at one address when all connections are full or none stands yet; past it RESOURCE_EXHAUSTED. Default 10,000. */
  maxWaiting?: number
}

export interface GrpcCallOptions {
  /** Metadata; names in lower case. */
  headers?: OutgoingHttpHeaders
  /** Milliseconds from now. */
  timeout?: number
  signal?: AbortSignal
}

/** Hears what a call brings, in this order: `onHeaders`?, `onMessage`*, then `onClose` exactly once. */
export interface GrpcListener {
  /** Its messages are looked at during `onMessage`, or given back with `giveBack` soon after: their memory may be used again. */
  readonly borrows?: boolean
  onHeaders?(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void
  onMessage(message: Buffer): void
  /** undefined: the status is OK. */
  onClose(status: GrpcStatus | undefined, trailers: IncomingHttpHeaders, rawTrailers?: readonly string[]): void
  /** After `write` returned false: there is room again. */
  onDrain?(): void
  /** The connection is up: what is written from now on goes out. */
  onReady?(): void
}

/** One call under way. */
export interface GrpcClientStream {
  /** Sends one framed message. False: wait for `onDrain`. `lent`: nobody else looks at it, and its memory may be used again. */
  write(framed: Buffer, lent?: boolean): boolean
  /** Half-closes, with a last framed message if given. */
  end(framed?: Buffer): void
  pause(): void
  resume(): void
  /** Ends the call at once; `onClose` then brings this reason. */
  cancel(reason?: GrpcStatus): void
}

/** An HTTP/2 stream of the pool. */
export interface RawStream {
  /** Its `sink` is to be set in the same turn of the loop. */
  readonly stream: Http2ClientStream
  /** What it means that the stream broke off; `sent` tells whether the other side can have seen it. */
  lost(): GrpcStatus
}

export interface GrpcClient extends AsyncDisposable {
  /**
   * Calls `path` at `address` (`host:port`, or `unix:/path/of.socket`; what follows a slash after the port is for `tls`, and
   * keeps connections apart). Failures to connect come through the listener, with `sent` false.
   */
  stream(address: string, path: string, options: GrpcCallOptions, listener: GrpcListener): GrpcClientStream
  /** Rejects with GrpcStatus. */
  unary(address: string, path: string, message: Uint8Array, options?: GrpcCallOptions): Promise<Buffer>
  /** Opens a stream for passing bytes on. Throws GrpcStatus for headers that cannot be sent. */
  raw(address: string, headers: readonly string[]): RawStream
  /** Sends no more calls over the connections to an address, without one over any that stand; those under way finish. */
  forget(address?: string): void
}

/** What a server may send ahead on one stream whose reader is slow. */
const STREAM_WINDOW = 1 << 20
const MAX_HEADER_SIZE = 65_536

/** A gRPC client on our own HTTP/2 that keeps connections per address, opens them on demand and closes idle ones. */
export function createGrpcClient(options: GrpcClientOptions = {}): GrpcClient {
  const heads = new CallHeads(options.tls)
  const pool = new ClientPool({
    tls: options.tls,
    connectTimeout: options.connectTimeout ?? 10_000,
    idleTimeout: options.idleTimeout ?? 180_000,
    keepalive: options.keepalive,
    onGone: options.onGone,
    streamWindow: STREAM_WINDOW,
    maxHeaderSize: MAX_HEADER_SIZE,
    maxHeaderBlock: MAX_HEADER_SIZE * 2 + 65_536,
    maxConnections: options.maxConnections ?? 100,
    maxWaiting: options.maxWaiting ?? 10_000,
  })
  const transport: CallTransport = {
    limit: options.maxMessageSize || 4 * 1024 * 1024,
    head: (address, path, { headers, timeout }) => heads.call(address, path, headers, timeout),
    request: (address, stream) => pool.request(address, stream),
  }

  return {
    stream: (address, path, call, listener) => new Call(transport, address, path, call, listener),
    unary: (address, path, message, call = {}) =>
      new Promise((resolve, reject) => {
        let reply: Buffer | undefined
        const stream = new Call(transport, address, path, call, {
          onMessage(received) {
            reply ??= received
          },
          onClose(status) {
            if (status) reject(status)
            else if (reply) resolve(reply)
            else reject(new GrpcStatus(Code.Internal, 'the server ended the call without a message'))
          },
        })
        stream.end(frame(message))
      }),
    raw(address, headers) {
      const stream = new Http2ClientStream(heads.raw(address, headers))
      pool.request(address, stream)
      return { stream, lost: () => lostStatus(address, stream) }
    },
    forget: (address) => pool.forget(address),
    [Symbol.asyncDispose]: () => pool.destroy(),
  }
}
