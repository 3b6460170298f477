import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { createConnection } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { Code } from '../../errors.ts'
import { formatTimeout } from './deadline.ts'
import { FrameReader, frame } from './frames.ts'
import { GrpcStatus, httpToGrpc, readStatus } from './status.ts'

export interface GrpcClientOptions {
  /** Bytes of one received message. Default 4 MiB. */
  maxMessageSize?: number
  /** Milliseconds for a connection to come up. Default 10,000. */
  connectTimeout?: number
  /** Milliseconds without calls after which a connection is closed. Default 3 minutes; 0: never. */
  idleTimeout?: number
  /** Speak TLS, with ALPN h2. Default: cleartext with prior knowledge. */
  tls?: ConnectionOptions | undefined
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
  /** Calls `path` at `address` (`host:port`, or `unix:/path/of.socket`). Failures to connect come through the listener, with `sent` false. */
  stream(address: string, path: string, options: GrpcCallOptions, listener: GrpcListener): GrpcClientStream
  /** Rejects with GrpcStatus. */
  unary(address: string, path: string, message: Uint8Array, options?: GrpcCallOptions): Promise<Buffer>
  /** Opens a stream for passing bytes on. Throws GrpcStatus when there is no connection and none can be begun. */
  raw(address: string, headers: readonly string[]): RawStream
  /** Sends no more calls over the connections to an address; those under way finish. */
  forget(address: string): void
}

/** At this many calls under way a further connection is opened. */
const CALLS_PER_CONNECTION = 1000

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
      for (const connection of [...(pool.get(address) ?? [])]) connection.retire()
    },
    async [Symbol.asyncDispose]() {
      const all = [...pool.values()].flat()
      pool.clear()
      await Promise.all(all.map((connection) => connection.destroy()))
    },
  }
}

/** How to reach an address that `connect` does not dial by itself. */
function dialer(address: string, tls: ConnectionOptions | undefined): Pick<Parameters<typeof connect>[1] & object, 'createConnection'> {
  if (address.startsWith('unix:')) return { createConnection: () => createConnection(address.slice('unix:'.length)) }
  if (!tls) return {}
  return {
    createConnection: (authority) =>
      connectTls({
        host: authority.hostname.replace(/^\[|\]$/g, ''),
        port: Number(authority.port || 443),
        ALPNProtocols: ['h2'],
        ...tls,
      }),
  }
}

class Connection {
  readonly session: ClientHttp2Session
  readonly address: string
  calls = 0
  connected = false
  usable = true
  failure: Error | undefined
  readonly #idle: number
  readonly #onGone: () => void
  #idleTimer: NodeJS.Timeout | undefined
  #lastUse = 0
  #settled = false

  constructor(address: string, options: GrpcClientOptions, onGone: () => void) {
    this.address = address
    this.#onGone = onGone
    this.#idle = options.idleTimeout ?? 180_000
    this.session = connect(address.startsWith('unix:') ? 'http://localhost' : `${options.tls ? 'https' : 'http'}://${address}`, {
      settings: { initialWindowSize: 1 << 20, enablePush: false },
      maxSessionMemory: 64,
      ...dialer(address, options.tls),
    })
    const session = this.session
    const late = setTimeout(
      () => session.destroy(new Error(`no connection to ${address} within ${options.connectTimeout ?? 10_000} ms`)),
      options.connectTimeout ?? 10_000,
    )
    session.once('connect', () => {
      clearTimeout(late)
      this.connected = true
      session.setLocalWindowSize(4 << 20)
    })
    session.once('remoteSettings', () => {
      this.#settled = true
    })
    session.on('error', (error) => {
      this.failure = error
    })
    session.on('goaway', () => this.#gone())
    session.once('close', () => {
      clearTimeout(late)
      clearTimeout(this.#idleTimer)
      this.#gone()
    })
  }

  get capacity(): number {
    // Until the other side has said how many it takes, calls past the usual limit might wait for ever behind the first ones.
    return this.#settled ? Math.min(CALLS_PER_CONNECTION, this.session.remoteSettings?.maxConcurrentStreams ?? CALLS_PER_CONNECTION) : 100
  }

  #gone(): void {
    if (!this.usable) return
    this.usable = false
    this.#onGone()
  }

  enter(): void {
    this.calls++
  }

  leave(): void {
    if (--this.calls > 0) return
    if (!this.usable) return this.session.close()
    if (this.#idle === 0) return
    this.#lastUse = performance.now()
    // The timer runs through while calls come and go: setting one for each would cost more than their bookkeeping.
    this.#idleTimer ??= setTimeout(() => this.#checkIdle(), this.#idle).unref()
  }

  #checkIdle(): void {
    this.#idleTimer = undefined
    const left = this.#lastUse + this.#idle - performance.now()
    if (this.calls > 0 || !this.usable) return
    if (left > 0) this.#idleTimer = setTimeout(() => this.#checkIdle(), left).unref()
    else this.retire()
  }

  retire(): void {
    this.#gone()
    if (this.calls === 0) this.session.close()
  }

  destroy(): Promise<void> {
    this.#gone()
    if (this.session.closed && this.session.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      this.session.once('close', () => resolve())
      this.session.destroy()
    })
  }
}

class Call implements GrpcClientStream {
  readonly #connection: Connection
  readonly #listener: GrpcListener
  readonly #signal: AbortSignal | undefined
  readonly #timer: NodeJS.Timeout | undefined
  #stream: ClientHttp2Stream | undefined
  #reason: GrpcStatus | undefined
  #trailers: IncomingHttpHeaders | undefined
  #rawTrailers: readonly string[] | undefined
  #status = 0
  #over = false

  constructor(connection: Connection, path: string, options: GrpcCallOptions, listener: GrpcListener, limit: number) {
    this.#connection = connection
    this.#listener = listener
    this.#signal = options.signal
    connection.enter()
    const headers: OutgoingHttpHeaders = {
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...options.headers,
    }
    if (options.timeout !== undefined) {
      headers['grpc-timeout'] = formatTimeout(options.timeout)
      this.#timer = setTimeout(
        () => this.cancel(new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')),
        Math.min(options.timeout, 0x7fffffff),
      )
    }
    try {
      this.#signal?.throwIfAborted()
      const stream = connection.session.request(headers, { endStream: false })
      this.#stream = stream
      const reader = new FrameReader(limit, (message) => {
        if (!this.#over) listener.onMessage(message)
      })
      stream.on('response', (head: IncomingHttpHeaders & { ':status'?: number }, _: number, raw: string[]) => {
        this.#status = head[':status'] ?? 0
        if (head['grpc-status'] !== undefined) {
          this.#trailers = head
          this.#rawTrailers = raw
        }
        listener.onHeaders?.(head, raw)
      })
      stream.on('trailers', (trailers: IncomingHttpHeaders, _: number, raw: string[]) => {
        this.#trailers = trailers
        this.#rawTrailers = raw
      })
      stream.on('data', (chunk: Buffer) => {
        if (this.#over) return
        try {
          reader.push(chunk)
        } catch (error) {
          this.cancel(GrpcStatus.from(error))
        }
      })
      stream.on('error', (error) => {
        if (!this.#reason && !this.#trailers) this.#reason = this.#lost(error)
      })
      stream.once('close', () => this.#close())
      if (listener.onReady) {
        const ready = () => void (this.#over || listener.onReady?.())
        if (stream.pending) stream.once('ready', ready)
        else queueMicrotask(ready)
      }
      if (listener.onDrain) stream.on('drain', () => listener.onDrain?.())
    } catch (error) {
      this.#reason = this.#signal?.aborted ? canceled(this.#signal) : this.#lost(error as Error)
      queueMicrotask(() => this.#close())
      return
    }
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  readonly #onAbort = () => this.cancel(canceled(this.#signal as AbortSignal))

  #lost(error: Error): GrpcStatus {
    return lostStatus(this.#connection, this.#stream, error)
  }

  #close(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#connection.leave()
    let status = this.#reason
    const trailers = this.#trailers ?? {}
    if (!status) {
      if (this.#trailers) status = readStatus(this.#trailers)
      else if (this.#status !== 0 && this.#status !== 200)
        status = new GrpcStatus(httpToGrpc(this.#status), `unexpected HTTP status ${this.#status} from ${this.#connection.address}`)
      else status = this.#lost(new Error('closed without a status'))
    }
    this.#listener.onClose(status, trailers, this.#rawTrailers)
  }

  write(framed: Buffer): boolean {
    if (this.#over || !this.#stream || this.#stream.destroyed || this.#stream.writableEnded) return true
    return this.#stream.write(framed)
  }

  end(framed?: Buffer): void {
    if (this.#over || !this.#stream || this.#stream.destroyed || this.#stream.writableEnded) return
    if (framed) this.#stream.end(framed)
    else this.#stream.end()
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    if (!this.#over) this.#stream?.resume()
  }

  cancel(reason?: GrpcStatus): void {
    if (this.#over) return
    this.#reason ??= reason ?? new GrpcStatus(Code.Canceled, 'context canceled')
    this.#stream?.close(constants.NGHTTP2_CANCEL)
    // A paused stream would not reach its end.
    this.#stream?.resume()
    if (!this.#stream || this.#stream.pending) this.#close()
  }
}

function canceled(signal: AbortSignal): GrpcStatus {
  return signal.reason instanceof GrpcStatus ? signal.reason : new GrpcStatus(Code.Canceled, 'context canceled', { cause: signal.reason })
}

function lostStatus(connection: Connection, stream: ClientHttp2Stream | undefined, error: Error): GrpcStatus {
  const cause = connection.failure ?? error
  const text = cause instanceof AggregateError ? cause.errors.map((one: Error) => one.message).join('; ') : cause.message
  if (!connection.connected)
    return new GrpcStatus(Code.Unavailable, `connection error: cannot reach ${connection.address}: ${text}`, { sent: false, cause })
  const refused = stream?.rstCode === constants.NGHTTP2_REFUSED_STREAM || stream?.id === undefined
  return new GrpcStatus(Code.Unavailable, `the connection to ${connection.address} was lost: ${text}`, { sent: !refused, cause })
}
