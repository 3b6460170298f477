import type { IncomingHttpHeaders } from 'node:http2'
import { createServer as createTcp, type Server, type Socket } from 'node:net'
import { createServer as createTls, type TLSSocket, type TlsOptions } from 'node:tls'
import { Code, messageOf } from '../../errors.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import type { BodyBudget } from '../body-budget.ts'
import { accepted } from '../http2/accepted.ts'
import { Http2Connection } from '../http2/connection.ts'
import type { ServerStream } from '../http2/stream.ts'
import type { SpiffeId } from '../identity/spiffe.ts'
import { refuse } from './request-head.ts'
import { GrpcServerCall } from './server-call.ts'
import { type KeepaliveOptions, ServerSession } from './server-session.ts'
import { GrpcStatus } from './status.ts'
import { WireError } from './wire.ts'

/** What every handler knows of its call. */
export interface GrpcCall {
  /** e.g. `/dapr.proto.runtime.v1.Dapr/GetState`. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** Names and values in turn, as they came, pseudo headers first: `headers` joins the values of one name. */
  readonly rawHeaders: readonly string[]
  /** Who calls, by the certificate of the connection; undefined: a connection without any. */
  readonly peer: SpiffeId | undefined
  /** `performance.now()` of its beginning. */
  readonly began: number
  /** What its method is; undefined: it was refused, or no method has that name. */
  readonly kind: GrpcMethod['kind'] | undefined
  /** Bytes of the message of a unary call; undefined: a stream, or none came. */
  readonly received: number | undefined
  /** Epoch milliseconds; undefined: none. */
  readonly deadline: number | undefined
  /** Aborted when the client cancels, the deadline passes or the connection breaks. Made on first use. */
  readonly signal: AbortSignal
  /** Aborted when the server begins to close: a call that would go on forever ends itself then. */
  readonly draining: AbortSignal
  /** Its step in a trace; undefined: nobody traces it. */
  span: Span | undefined
  /** Sets response metadata; before the first message only. */
  setHeader(name: string, value: string | string[]): void
  /** Adds one more value of a name. */
  addHeader(name: string, value: string): void
  setTrailer(name: string, value: string | string[]): void
}

/** A call whose messages the handler reads and writes itself. Without `onMessage` the request is held back at the sender. */
export interface GrpcStream extends GrpcCall {
  /** Set by a handler that takes one message and answers with one. */
  received: number | undefined
  onMessage: ((message: Buffer) => void) | undefined
  /** The client has sent everything. */
  onEnd: (() => void) | undefined
  /** The call is over, for whatever reason; undefined: ended by us. */
  onClose: ((reason: GrpcStatus | undefined) => void) | undefined
  onDrain: (() => void) | undefined
  /** Set by a handler that looks at messages during `onMessage`, or gives them back with `giveBack` soon after: their memory may be used again. */
  borrows: boolean
  pause(): void
  resume(): void
  /**
   * Sends one message already framed by `frame` or `seal`. False: wait for `onDrain`.
   * `lent`: nobody else looks at it, and its memory may be used again.
   */
  write(framed: Buffer, lent?: boolean): boolean
  /** Ends the call, with a last framed message or with an error. */
  end(framed?: Buffer): void
  fail(error: unknown): void
}

/** What server reflection tells of a method's messages, by their full names. */
export interface MethodTypes {
  readonly request: { readonly fullName: string }
  readonly response: { readonly fullName: string }
  readonly clientStreams?: boolean
  readonly serverStreams?: boolean
}

export type GrpcMethod =
  /** One message in, one out; both as protobuf bytes. */
  | { readonly kind: 'unary'; handle(request: Buffer, call: GrpcCall): Buffer | Promise<Buffer>; readonly types?: MethodTypes }
  | { readonly kind: 'stream'; handle(stream: GrpcStream): void; readonly types?: MethodTypes }
  /** The HTTP/2 stream as it is, for passing its bytes on; the handler ends it. What it throws is answered. */
  | {
      readonly kind: 'raw'
      handle(stream: ServerStream, headers: IncomingHttpHeaders, rawHeaders: readonly string[], peer?: SpiffeId): void
      readonly types?: MethodTypes
    }

export interface GrpcServerOptions {
  methods: ReadonlyMap<string, GrpcMethod>
  /** Takes methods that are not in the map (proxying). Without it: UNIMPLEMENTED. */
  unknown?: (path: string, headers: IncomingHttpHeaders) => GrpcMethod | undefined
  /** Looks at a call before its method runs; throws to refuse it. */
  admit?: (call: GrpcCall) => void
  /** Each call's end, before its trailers go out, so that it may still add some; undefined: OK. `sent`: bytes of a unary reply. */
  ended?: ((call: GrpcCall, status: GrpcStatus | undefined, sent: number) => void) | undefined
  /** Bytes of one message, both ways. Default 4 MiB. */
  maxMessageSize?: number
  /** Bounds the messages that all calls hold together; absent: nothing does. */
  bodies?: BodyBudget | undefined
  /** Bytes of metadata. Default 64 KiB. */
  maxHeaderSize?: number
  /** Streams under way on one connection. Default 2048. */
  maxStreams?: number
  keepalive?: KeepaliveOptions
}

/** What one call needs of its server. */
export interface CallContext {
  readonly options: GrpcServerOptions
  /** Bytes of one message, both ways. */
  readonly limit: number
  readonly draining: AbortSignal
}

/** TLS whose certificates change while a server listens, and by which it may learn who calls. */
export interface MutualTls {
  readonly options: TlsOptions
  /** Who has finished a handshake; undefined: not to be served. Without this function everyone is. */
  identify?(socket: TLSSocket): SpiffeId | undefined
  /** Hands over each later change of `options`, until disposed. */
  follow(apply: (options: TlsOptions) => void): Disposable
}

/** An address to listen on: a port, or a unix socket. With `tls` or `mutual` calls come encrypted; `ALPNProtocols` is set already. */
export type GrpcAddress = ({ host?: string | undefined; port: number } | { path: string }) & {
  tls?: TlsOptions
  mutual?: MutualTls | undefined
}

export interface GrpcServer {
  /** Serves a socket that was accepted elsewhere. */
  accept(socket: Socket): void
  /** Calls that came so far. */
  readonly calls: number
  /** Opens one more address; resolves with its port. */
  listen(at: GrpcAddress): Promise<number>
  /**
   * Takes no new connections and asks clients to take new calls elsewhere (GOAWAY); those under way finish within `grace`
   * milliseconds, then they are cut.
   */
  close(grace: number): Promise<void>
}

/** A request's message; throws GrpcStatus in Go's words for what is wrong in it. */
export function decodeRequest<Request>(decode: (message: Buffer) => Request, message: Buffer): Request {
  try {
    return decode(message)
  } catch (cause) {
    const text = `grpc: error unmarshalling request: ${cause instanceof WireError ? cause.goText : messageOf(cause)}`
    throw new GrpcStatus(Code.Internal, text, { cause })
  }
}

/** A method whose messages are decoded and encoded by functions. */
export function unary<Request, Response>(
  decode: (message: Buffer) => Request,
  encode: (response: Response) => Buffer,
  handle: (request: Request, call: GrpcCall) => Response | Promise<Response>,
): GrpcMethod {
  return {
    kind: 'unary',
    handle(message, call) {
      const response = handle(decodeRequest(decode, message), call)
      return response instanceof Promise ? response.then(encode) : encode(response)
    },
  }
}

/**
 * Bytes that a client may send ahead on one stream whose handler reads slowly. Each stream may hold so much, so it is small;
 * a connection's window is no bound, its bytes are given back as they come.
 */
const STREAM_WINDOW = 256 << 10

/**
 * A gRPC server: our own thin codec, because it must pass on methods it does not know, on our own HTTP/2 (transport/http2):
 * of a unary echo on node:http2 nine tenths of the CPU go to node:http2 (bench/codec.ts).
 */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const sessions = new Map<Http2Connection, ServerSession>()
  const stop = new AbortController()
  const context = { options, limit: options.maxMessageSize || 4 * 1024 * 1024, draining: stop.signal }
  const maxHeaderSize = options.maxHeaderSize ?? 65_536
  const limits = {
    maxStreams: options.maxStreams ?? 2048,
    streamWindow: STREAM_WINDOW,
    maxHeaderSize,
    // Beyond the limit there is a status to tell; far beyond it there is none.
    maxHeaderBlock: maxHeaderSize * 2 + 65_536,
    maxQueued: 64 << 20,
    // A client whose calls time out resets streams for good reason; one that does nothing else is cut off.
    resetBurst: 5000,
    resetRate: 500,
  }
  const gone = new Set<() => void>()
  const listeners: Server[] = []
  let calls = 0
  const accept = (socket: Socket, peer?: SpiffeId) => {
    const connection = new Http2Connection(accepted(socket), limits, {
      onStream(stream) {
        calls++
        const call = new GrpcServerCall(stream, session, context)
        const refusal = refuse(stream.headers, stream.rawHeaders, maxHeaderSize)
        if (refusal) call.refuse(refusal.http, refusal.status)
        else call.run()
      },
      onPing: () => session.pinged(),
      onIdle: () => session.idled(),
      onClose() {
        session.end()
        sessions.delete(connection)
        if (sessions.size === 0) for (const resolve of gone) resolve()
      },
    })
    const session = new ServerSession(connection, options.keepalive, peer)
    sessions.set(connection, session)
    if (stop.signal.aborted) session.drain()
  }
  const admit = (mutual: MutualTls | undefined) => (socket: TLSSocket) => {
    const peer = mutual?.identify?.(socket)
    if (mutual?.identify && !peer) socket.destroy()
    else accept(socket, peer)
  }

  return {
    accept: (socket) => accept(socket),
    get calls() {
      return calls
    },
    listen: ({ tls, mutual, ...at }) =>
      new Promise((resolve, reject) => {
        const secure = mutual?.options ?? tls
        const encrypted = secure && createTls({ ...secure, noDelay: true, ALPNProtocols: ['h2'] }, admit(mutual))
        const listener: Server = encrypted ?? createTcp({ noDelay: true }, (socket) => accept(socket))
        listener.once('error', reject)
        // A client that breaks off its handshake is no event.
        encrypted?.on('tlsClientError', () => {})
        const following = encrypted && mutual?.follow((fresh) => encrypted.setSecureContext(fresh))
        if (following) listener.once('close', () => following[Symbol.dispose]())
        listener.listen(at, () => {
          listener.removeListener('error', reject)
          listener.on('error', () => {})
          listeners.push(listener)
          const address = listener.address()
          resolve(address !== null && typeof address === 'object' ? address.port : 0)
        })
      }),
    async close(grace) {
      stop.abort()
      const closed = listeners.splice(0).map((listener) => new Promise<void>((resolve) => listener.close(() => resolve())))
      const left = sessions.size === 0 ? undefined : new Promise<void>((resolve) => gone.add(resolve))
      for (const session of sessions.values()) session.drain()
      const timer = setTimeout(() => {
        for (const connection of sessions.keys()) connection.destroy()
      }, grace)
      await Promise.all([...closed, left])
      clearTimeout(timer)
    },
  }
}
