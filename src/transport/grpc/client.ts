import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import type { ConnectionOptions } from 'node:tls'
import { Code } from '../../errors.ts'
import { Call, lostStatus } from './client-call.ts'
import { Connection } from './client-connection.ts'
import { frame } from './frames.ts'
import { GrpcStatus } from './status.ts'

export interface GrpcClientOptions {
  /** Bytes of one message, both ways. Default 4 MiB. */
  maxMessageSize?: number
  /** Milliseconds for a connection to come up. Default 10,000. */
  connectTimeout?: number
  /** Milliseconds without calls after which a connection is closed. Default 3 minutes; 0: never. */
  idleTimeout?: number
  /** A connection to an address takes no more calls: it is lost, idle or told to go away. */
  onGone?: (address: string) => void
  /** Speak TLS, with ALPN h2; as a function, asked anew for each connection. Default: cleartext with prior knowledge. */
  tls?: ConnectionOptions | ((address: string) => ConnectionOptions) | undefined
  /**
   * Pings a connection on which nothing came for `interval` milliseconds and cuts it without an answer within `timeout`.
   * Default: never, for many servers take pings for an attack; daprd's takes them every 8 s.
   */
  keepalive?: { interval: number; timeout: number }
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
  /** Sends one framed message. False: wait for `onDrain`. */
  write(framed: Buffer): boolean
  /** Half-closes, with a last framed message if given. */
  end(framed?: Buffer): void
  pause(): void
  resume(): void
  /** Ends the call at once; `onClose` then brings this reason. */
  cancel(reason?: GrpcStatus): void
}

/** An HTTP/2 stream of the pool. */
export interface RawStream {
  readonly stream: ClientHttp2Stream
  /** What it means that the stream broke off; `sent` tells whether the other side can have seen it. */
  lost(error: Error): GrpcStatus
}

export interface GrpcClient extends AsyncDisposable {
  /**
   * Calls `path` at `address` (`host:port`, or `unix:/path/of.socket`; what follows a slash after the port is for `tls`, and
   * keeps connections apart). Failures to connect come through the listener, with `sent` false.
   */
  stream(address: string, path: string, options: GrpcCallOptions, listener: GrpcListener): GrpcClientStream
  /** Rejects with GrpcStatus. */
  unary(address: string, path: string, message: Uint8Array, options?: GrpcCallOptions): Promise<Buffer>
  /** Opens a stream for passing bytes on. Throws GrpcStatus when there is no connection and none can be begun. */
  raw(address: string, headers: readonly string[]): RawStream
  /** Sends no more calls over the connections to an address, without one over any that stand; those under way finish. */
  forget(address?: string): void
}

/** A gRPC client that keeps connections per address, opens them on demand and closes idle ones. */
export function createGrpcClient(options: GrpcClientOptions = {}): GrpcClient {
  const pool = new Map<string, Connection[]>()
  const limit = options.maxMessageSize || 4 * 1024 * 1024

  const acquire = (address: string): Connection => {
    let connections = pool.get(address)
    if (!connections) {
      connections = []
      pool.set(address, connections)
    }
    let best: Connection | undefined
    for (const connection of connections) if (connection.usable && (!best || connection.calls < best.calls)) best = connection
    if (best && best.calls < best.capacity) return best
    const opened: Connection = new Connection(address, options, () => {
      const list = pool.get(address)
      const index = list?.indexOf(opened) ?? -1
      if (index >= 0) list?.splice(index, 1)
      if (list?.length === 0) pool.delete(address)
      options.onGone?.(address)
    })
    connections.push(opened)
    return opened
  }

  return {
    stream: (address, path, call, listener) => new Call(acquire(address), path, call, listener, limit),
    unary: (address, path, message, call = {}) =>
      new Promise((resolve, reject) => {
        let reply: Buffer | undefined
        const stream = new Call(
          acquire(address),
          path,
          call,
          {
            onMessage(received) {
              reply ??= received
            },
            onClose(status) {
              if (status) reject(status)
              else if (reply) resolve(reply)
              else reject(new GrpcStatus(Code.Internal, 'the server ended the call without a message'))
            },
          },
          limit,
        )
        stream.end(frame(message))
      }),
    raw(address, headers) {
      const connection = acquire(address)
      let stream: ClientHttp2Stream | undefined
      try {
        // The typings do not know the flat form yet.
        stream = connection.session.request(headers as unknown as OutgoingHttpHeaders, { endStream: false })
      } catch (error) {
        throw lostStatus(connection, undefined, error as Error)
      }
      connection.enter()
      stream.once('close', () => connection.leave())
      return { stream, lost: (error) => lostStatus(connection, stream, error) }
    },
    forget(address) {
      const connections = address === undefined ? [...pool.values()].flat() : [...(pool.get(address) ?? [])]
      for (const connection of connections) connection.retire()
    },
    async [Symbol.asyncDispose]() {
      const all = [...pool.values()].flat()
      pool.clear()
      await Promise.all(all.map((connection) => connection.destroy()))
    },
  }
}
