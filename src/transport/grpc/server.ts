import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createTcp, type Server } from 'node:net'
import { Code } from '../../errors.ts'
import { GrpcServerCall } from './server-call.ts'
import { GrpcStatus } from './status.ts'

/** What every handler knows of its call. */
export interface GrpcCall {
  /** e.g. `/dapr.proto.runtime.v1.Dapr/GetState`. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The same as they came, pseudo headers first: `[name, value, …]`. */
  readonly rawHeaders: readonly string[]
  /** Epoch milliseconds; undefined: none. */
  readonly deadline: number | undefined
  /** Aborted when the client cancels, the deadline passes or the connection breaks. Made on first use. */
  readonly signal: AbortSignal
  /** Adds response metadata; before the first message only. */
  setHeader(name: string, value: string | string[]): void
  setTrailer(name: string, value: string | string[]): void
}

/** A call whose messages the handler reads and writes itself. Without `onMessage` the request is held back at the sender. */
export interface GrpcStream extends GrpcCall {
  onMessage: ((message: Buffer) => void) | undefined
  /** The client has sent everything. */
  onEnd: (() => void) | undefined
  /** The call is over, for whatever reason; undefined: ended by us. */
  onClose: ((reason: GrpcStatus | undefined) => void) | undefined
  onDrain: (() => void) | undefined
  pause(): void
  resume(): void
  /** Sends one message already framed by `frame` or `seal`. False: wait for `onDrain`. */
  write(framed: Buffer): boolean
  /** Ends the call, with a last framed message or with an error. */
  end(framed?: Buffer): void
  fail(error: unknown): void
}

export type GrpcMethod =
  /** One message in, one out; both as protobuf bytes. */
  | { readonly kind: 'unary'; handle(request: Buffer, call: GrpcCall): Buffer | Promise<Buffer> }
  | { readonly kind: 'stream'; handle(stream: GrpcStream): void }
  /** The HTTP/2 stream as it is, for passing its bytes on; the handler ends it. What it throws is answered. */
  | { readonly kind: 'raw'; handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void }

export interface GrpcServerOptions {
  methods: ReadonlyMap<string, GrpcMethod>
  /** Takes methods that are not in the map (proxying). Without it: UNIMPLEMENTED. */
  unknown?: (path: string, headers: IncomingHttpHeaders) => GrpcMethod | undefined
  /** Looks at a call before its method runs; throws to refuse it. */
  admit?: (path: string, headers: IncomingHttpHeaders) => void
  /** Bytes of one message. Default 4 MiB. */
  maxMessageSize?: number
  /** Bytes of metadata. Default 64 KiB. */
  maxHeaderSize?: number
  /** Streams under way on one connection. Default 2048. */
  maxStreams?: number
}

export interface GrpcServer {
  /** For handing it sockets: `http2.emit('connection', socket)`. */
  readonly http2: Http2Server
  /** Calls that came so far. */
  readonly calls: number
  /** Opens one more address; resolves with its port. */
  listen(at: { host?: string | undefined; port: number } | { path: string }): Promise<number>
  /** Takes no new calls, lets those under way finish for at most `grace` milliseconds, then cuts them. */
  close(grace: number): Promise<void>
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
      let request: Request
      try {
        request = decode(message)
      } catch (error) {
        throw new GrpcStatus(
          Code.Internal,
          `grpc: error unmarshalling request: ${error instanceof Error ? error.message : String(error)}`,
          { cause: error },
        )
      }
      const response = handle(request, call)
      return response instanceof Promise ? response.then(encode) : encode(response)
    },
  }
}

/** A gRPC server on node:http2 without TLS: our own thin codec, because it must pass on methods it does not know. */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const sessions = new Set<ServerHttp2Session>()
  const limit = options.maxMessageSize || 4 * 1024 * 1024
  const http2 = createServer({
    settings: {
      maxConcurrentStreams: options.maxStreams ?? 2048,
      initialWindowSize: 1 << 20,
      maxHeaderListSize: options.maxHeaderSize ?? 65_536,
      enablePush: false,
    },
    maxSessionMemory: 64,
  })
  const listeners: Server[] = []
  let draining = false
  let calls = 0

  http2.on('session', (session) => {
    session.setLocalWindowSize(4 << 20)
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    session.on('error', () => {})
    if (draining) session.close()
  })
  http2.on('sessionError', () => {})
  http2.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _: number, rawHeaders: string[]) => {
    calls++
    const contentType = headers['content-type']
    if (headers[':method'] !== 'POST' || typeof contentType !== 'string' || !contentType.startsWith('application/grpc')) {
      stream.on('error', () => {})
      const reply: OutgoingHttpHeaders = { ':status': headers[':method'] === 'POST' ? 415 : 405 }
      stream.respond(reply, { endStream: true })
      return
    }
    const path = headers[':path'] as string
    let call: GrpcServerCall | undefined
    try {
      options.admit?.(path, headers)
      const method = options.methods.get(path) ?? options.unknown?.(path, headers)
      if (!method)
        throw new GrpcStatus(
          Code.Unimplemented,
          `unknown method ${path.slice(path.lastIndexOf('/') + 1)} for service ${path.slice(1, path.lastIndexOf('/'))}`,
        )
      if (method.kind === 'raw') return method.handle(stream, headers, rawHeaders)
      call = new GrpcServerCall(stream, headers, rawHeaders, path, limit)
      call.run(method)
    } catch (error) {
      call ??= new GrpcServerCall(stream, headers, rawHeaders, path, limit)
      call.fail(error)
    }
  })

  return {
    http2,
    get calls() {
      return calls
    },
    listen: (at) =>
      new Promise((resolve, reject) => {
        // One HTTP/2 server can listen once only; addresses are several, so each has its own listener in front.
        const listener = createTcp({ noDelay: true }, (socket) => http2.emit('connection', socket))
        listener.once('error', reject)
        listener.listen(at, () => {
          listener.removeListener('error', reject)
          listeners.push(listener)
          const address = listener.address()
          resolve(address !== null && typeof address === 'object' ? address.port : 0)
        })
      }),
    async close(grace) {
      draining = true
      const closed = listeners.splice(0).map((listener) => new Promise<void>((resolve) => listener.close(() => resolve())))
      const left = [...sessions].map((session) => new Promise<void>((resolve) => session.once('close', () => resolve())))
      for (const session of sessions) session.close()
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy()
      }, grace)
      await Promise.all([...closed, ...left])
      clearTimeout(timer)
    },
  }
}
