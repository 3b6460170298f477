import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import type { App } from '../app/app.ts'
import type { GrpcAnswer, ResponseSink, ResponseSource } from '../app/response-sink.ts'
import { Code, messageOf } from '../errors.ts'
import type { Authorize } from '../policy/access-control.ts'
import {
  createGrpcServer,
  type GrpcCall,
  type GrpcMethod,
  type GrpcServerOptions,
  type GrpcStream,
  type MutualTls,
} from '../transport/grpc/server.ts'
import { describeStatus, GrpcStatus } from '../transport/grpc/status.ts'
import { ProtoReader } from '../transport/grpc/wire.ts'
import { giveBack } from '../transport/pieces.ts'
import type { Ports } from '../transport/ports.ts'
import { callApp } from './app-call.ts'
import { bodyLength, headerOf, responseHeaders } from './headers.ts'
import { type Invocation, MethodError, normalizeGrpcMethod, normalizeMethod } from './invocation.ts'
import {
  CALL_LOCAL,
  CALL_LOCAL_STREAM,
  decodeRequest,
  decodeRequestStream,
  encodeResponse,
  encodeResponseHead,
  type IncomingRequest,
  type OutgoingResponse,
} from './messages.ts'
import { type CallObserver, callerSpan, observedCall } from './observed-call.ts'
import { encodePayload } from './payload.ts'

const DEFAULT_LIMIT = 4 * 1024 * 1024

export interface PeerServerOptions {
  /** Default 0.0.0.0, as daprd. */
  host?: string
  port: number
  /** Without one every call answers `app channel is not initialized`. */
  app?: App | undefined
  appId: string
  namespace: string
  /** Bytes of one message and of a unary reply. Default 4 MiB. */
  maxMessageSize?: number
  /** Further methods: CallActor and its like. */
  methods?: ReadonlyMap<string, GrpcMethod>
  unknown?: GrpcServerOptions['unknown']
  /** Access control; the method is normalised already. */
  authorize?: Authorize | undefined
  /** Calls the app in place of `callApp`, under policies. `caller`: see InboundPolicies. */
  inbound?: ((caller: string, ...call: Parameters<typeof callApp>) => ReturnType<typeof callApp>) | undefined
  /** Hears of each call to the app. */
  observer?: CallObserver | undefined
  /** Admits only whom it identifies. Default: cleartext, whoever comes. */
  mutual?: MutualTls | undefined
  /** Where cleartext connections come from. Default: a socket of its own. */
  ports?: Ports | undefined
}

export interface PeerServer {
  readonly port: number
  /** Calls that came so far. */
  readonly calls: number
  /** Takes no new calls and lets those under way finish, at most `grace` milliseconds. */
  close(grace: number): Promise<void>
}

/** Serves other sidecars: dapr.proto.internals.v1.ServiceInvocation on the internal port. */
export async function createPeerServer(options: PeerServerOptions): Promise<PeerServer> {
  const limit = options.maxMessageSize || DEFAULT_LIMIT
  const methods = new Map<string, GrpcMethod>(options.methods)
  methods.set(CALL_LOCAL_STREAM, { kind: 'stream', handle: (stream) => new StreamedCall(options, stream) })
  methods.set(CALL_LOCAL, {
    kind: 'unary',
    handle: (message, call) =>
      new Promise((resolve, reject) => {
        const request = parse(() => decodeRequest(new ProtoReader(message)))
        const admitted = admit(options, request, call)
        const { app, invocation } = admitted
        invocation.body = request.data.length > 0 ? request.data : undefined
        const chunks: Buffer[] = []
        let size = 0
        let reply: OutgoingResponse = { status: 0, headers: {}, answer: undefined }
        let from: ResponseSource | undefined
        const cancel = toApp(options, admitted, CALL_LOCAL)(app, invocation, limit, {
          head(status, headers, source, answer) {
            reply = { status, headers: answer ? headers : responseHeaders(headers, false), answer }
            from = source
          },
          data(chunk) {
            size += chunk.length
            if (size <= limit) return void chunks.push(chunk)
            from?.abort()
            reject(new GrpcStatus(Code.ResourceExhausted, `the app's reply is larger than ${limit} bytes: call it with CallLocalStream`))
          },
          end: () => resolve(encodeResponse(reply, Buffer.concat(chunks))),
          failed: (error) => reject(appFailure(error)),
        })
        call.signal.addEventListener('abort', () => cancel(), { once: true })
      }),
  })
  const server = createGrpcServer({ methods, maxMessageSize: limit, ...(options.unknown ? { unknown: options.unknown } : {}) })
  const at = { host: options.host === '' ? undefined : (options.host ?? '0.0.0.0'), port: options.port }
  const { ports } = options
  const listening = ports && !options.mutual ? await ports.listen(at, (socket) => server.accept(socket)) : undefined
  const port = listening?.port ?? (await server.listen({ ...at, mutual: options.mutual }))
  return {
    port,
    get calls() {
      return server.calls
    },
    close(grace) {
      listening?.close()
      return server.close(grace)
    },
  }
}

/** A call that may be made, and how it reaches the app. */
interface Admitted {
  app: App
  invocation: Invocation
  caller: string
  inbound: PeerServerOptions['inbound']
}

function toApp(
  { observer, appId }: PeerServerOptions,
  { inbound, caller }: Pick<Admitted, 'inbound' | 'caller'>,
  api: string,
): typeof callApp {
  return (app, invocation, limit, sink) => {
    const reply = observer ? observedCall(observer, appId, api, invocation, sink) : sink
    return inbound ? inbound(caller, app, invocation, limit, reply) : callApp(app, invocation, limit, reply)
  }
}

function parse<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof GrpcStatus
      ? error
      : new GrpcStatus(Code.InvalidArgument, `parsing InternalInvokeRequest error: ${messageOf(error)}`)
  }
}

function appFailure(error: unknown): GrpcStatus {
  const text = error instanceof GrpcStatus ? describeStatus(error) : messageOf(error)
  return new GrpcStatus(Code.Internal, `error invoking app channel: ${text}`, { cause: error })
}

function admit(options: PeerServerOptions, request: IncomingRequest, call: Pick<GrpcCall, 'headers' | 'peer'>): Admitted {
  const { app, inbound } = options
  if (!app) throw new GrpcStatus(Code.Internal, 'app channel is not initialized')
  let method: string
  try {
    method = app.wire === 'grpc' ? normalizeGrpcMethod(request.method) : normalizeMethod(request.method)
  } catch (error) {
    throw error instanceof MethodError ? new GrpcStatus(Code.InvalidArgument, error.message) : error
  }
  const { metadata } = request
  options.authorize?.({ method, verb: request.verb, http: app.wire === 'http', peer: call.peer })
  for (const name of ['traceparent', 'tracestate']) {
    const value = call.headers[name]
    if (typeof value === 'string' && headerOf(metadata, name) === undefined) metadata.push(name, value)
  }
  return {
    app,
    inbound,
    caller: inbound ? (call.peer?.uri ?? headerOf(metadata, 'dapr-caller-app-id') ?? '') : '',
    invocation: {
      verb: request.verb,
      method,
      query: request.query,
      headers: metadata,
      internal: true,
      contentType: request.contentType,
      typeUrl: request.typeUrl,
      length: bodyLength(metadata),
      body: undefined,
      ...(options.observer?.tracer && { calledBy: callerSpan(call.headers) }),
    },
  }
}

/**
 * One CallLocalStream. The request: leading message → the app is called at once when the body is complete or known to be
 * longer, else at the next turn of the loop, so that a short body without a length still goes as one Buffer.
 * The reply: head and first bytes leave in one message, as do most whole replies.
 */
class StreamedCall implements ResponseSink {
  readonly #options: PeerServerOptions
  readonly #stream: GrpcStream
  #call: Admitted | undefined
  #cancel: ((reason?: Error) => void) | undefined
  #first: Buffer | undefined
  #body: Readable | undefined
  #started = false
  #sse = false
  #ended = false
  #nextSeq = 0
  #source: ResponseSource | undefined
  #head: OutgoingResponse | undefined
  #held: Buffer | undefined
  #finished = false
  #seq = 0

  constructor(options: PeerServerOptions, stream: GrpcStream) {
    this.#options = options
    this.#stream = stream
    stream.borrows = true
    stream.onMessage = (message) => this.#message(message)
    stream.onEnd = () => this.#requestEnd()
    stream.onDrain = () => this.#source?.resume()
    stream.onClose = (reason) => {
      if (reason) this.#cancel?.(reason)
      this.#body?.destroy()
    }
  }

  #message(bytes: Buffer): void {
    try {
      const { head, payload } = parse(() => decodeRequestStream(bytes))
      if (!this.#call) {
        if (!head) throw new GrpcStatus(Code.InvalidArgument, 'parsing InternalInvokeRequest error: the leading message carries no request')
        this.#call = admit(this.#options, head, this.#stream)
        this.#sse = headerOf(head.metadata, 'accept') === 'text/event-stream'
        if (payload) this.#take(payload)
        const known = this.#call.invocation.length
        if (known !== undefined) this.#start(known <= (this.#first?.length ?? 0))
        else setImmediate(() => this.#start(false))
        return
      }
      if (head) throw new GrpcStatus(Code.InvalidArgument, 'request metadata found in non-leading chunk')
      if (payload) {
        this.#start(false)
        this.#take(payload)
      }
    } catch (error) {
      this.#cancel?.()
      this.#body?.destroy(error as Error)
      this.#stream.fail(error)
    }
  }

  #take(payload: { data: Buffer; seq: number }): void {
    if (payload.seq !== this.#nextSeq)
      throw new GrpcStatus(Code.InvalidArgument, `invalid sequence number received: ${payload.seq} (expected: ${this.#nextSeq})`)
    this.#nextSeq++
    if (payload.data.length === 0) return
    if (!this.#started) this.#first = payload.data
    else if (this.#body && !this.#body.destroyed && !this.#body.push(payload.data)) this.#stream.pause()
  }

  #requestEnd(): void {
    this.#ended = true
    if (!this.#call)
      return this.#stream.fail(
        new GrpcStatus(Code.InvalidArgument, 'parsing InternalInvokeRequest error: the stream ended without a request'),
      )
    this.#start(true)
    if (this.#body && !this.#body.destroyed) this.#body.push(null)
  }

  #start(whole: boolean): void {
    if (this.#started || !this.#call) return
    this.#started = true
    const { app, invocation } = this.#call
    if (whole) invocation.body = this.#first
    else {
      const stream = this.#stream
      this.#body = new Readable({ read: () => stream.resume() })
      // Whoever reads it hears of the failure; this only keeps the event from being unhandled.
      this.#body.on('error', () => {})
      if (this.#first && !this.#body.push(this.#first)) stream.pause()
      invocation.body = this.#body
    }
    try {
      const call = toApp(this.#options, this.#call, CALL_LOCAL_STREAM)
      this.#cancel = call(app, invocation, this.#options.maxMessageSize || DEFAULT_LIMIT, this)
    } catch (error) {
      this.#stream.fail(error instanceof MethodError ? new GrpcStatus(Code.InvalidArgument, error.message) : appFailure(error))
    }
  }

  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void {
    this.#source = source
    if (this.#sse && status >= 300) {
      // As daprd: who asks for events gets events, or an error of the call.
      source.abort()
      return this.failed(new Error('no response received from stream'))
    }
    this.#head = { status, headers: answer ? headers : responseHeaders(headers, true), answer }
    process.nextTick(() => this.#flush())
  }

  #flush(): void {
    const head = this.#head
    if (!head) return
    this.#head = undefined
    const first = this.#held
    this.#held = undefined
    if (first) this.#seq = 1
    const message = encodeResponseHead(head, first)
    if (first) giveBack(first)
    if (this.#finished) this.#stream.end(message)
    else if (!this.#stream.write(message)) this.#source?.pause()
  }

  data(chunk: Buffer): void {
    if (this.#head) {
      if (!this.#held) {
        this.#held = chunk
        return
      }
      this.#flush()
    }
    const message = encodePayload(chunk, this.#seq++)
    giveBack(chunk)
    if (!this.#stream.write(message, true)) this.#source?.pause()
  }

  end(): void {
    this.#finished = true
    if (!this.#head) this.#stream.end()
  }

  failed(error: Error): void {
    this.#head = undefined
    this.#stream.fail(appFailure(error))
    if (!this.#ended) this.#body?.destroy()
  }
}
