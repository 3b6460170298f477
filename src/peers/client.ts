import { hostname } from 'node:os'
import type { Readable } from 'node:stream'
import type { ResponseSink, ResponseSource } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import { createGrpcClient, type GrpcClient, type GrpcClientStream, type GrpcListener } from '../transport/grpc/client.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { ProtoReader } from '../transport/grpc/wire.ts'
import { allocated } from '../transport/outside-heap.ts'
import { headerOf } from './headers.ts'
import type { Invocation } from './invocation.ts'
import {
  CALL_LOCAL,
  CALL_LOCAL_STREAM,
  decodeResponse,
  decodeResponseStream,
  encodeRequest,
  encodeRequestHead,
  type IncomingResponse,
} from './messages.ts'
import { encodePayload } from './payload.ts'

export interface PeerClientOptions {
  appId: string
  namespace: string
  /** Address other machines reach us by; for the Forwarded headers. Default 127.0.0.1. */
  hostAddress?: string
  hostName?: string
  maxMessageSize?: number
  /** Shared with other users of the internal port; made and disposed here when absent. */
  grpc?: GrpcClient
}

export interface PeerClient extends AsyncDisposable {
  /**
   * Invokes an app through its sidecar at `address` (`host:port`). Failures arrive at the sink as GrpcStatus; with `sent`
   * false the other side did nothing. Returns what gives the call up.
   */
  invoke(address: string, targetId: string, invocation: Invocation, sink: ResponseSink): (reason?: Error) => void
  /** Uses no longer the connections to this address. */
  forget(address: string): void
}

/** Bytes of body in one message: few messages, and yet far below any peer's limit. */
const CHUNK = 65_536

/** Calls other sidecars by dapr.proto.internals.v1.ServiceInvocation/CallLocalStream; by CallLocal those too old for it. */
export function createPeerClient(options: PeerClientOptions): PeerClient {
  const grpc =
    options.grpc ??
    createGrpcClient({
      keepalive: { interval: 10_000, timeout: 5000 },
      ...(options.maxMessageSize ? { maxMessageSize: options.maxMessageSize } : {}),
    })
  const ip = options.hostAddress ?? '127.0.0.1'
  const name = options.hostName ?? hostname()
  const bracketed = ip.includes(':') ? `"[${ip}]"` : ip
  const forwarded = `for=${bracketed};by=${bracketed};host=${name}`
  return {
    invoke(address, targetId, invocation, sink) {
      const metadata = [
        ...invocation.headers,
        'X-Forwarded-For',
        ip,
        'X-Forwarded-Host',
        name,
        'Forwarded',
        forwarded,
        'destination-app-id',
        targetId,
        'dapr-callee-app-id',
        targetId,
        'dapr-caller-app-id',
        options.appId,
        'dapr-caller-namespace',
        options.namespace,
      ]
      // A gRPC app gets these as metadata; what came over gRPC has its own.
      if (!invocation.internal && invocation.contentType) metadata.push('Content-Type', invocation.contentType)
      if (invocation.length !== undefined && invocation.body !== undefined) metadata.push('Content-Length', String(invocation.length))
      const call = new PeerCall(grpc, address, invocation, metadata, sink)
      return (reason) => call.abort(reason)
    },
    forget: (address) => grpc.forget(address),
    async [Symbol.asyncDispose]() {
      if (!options.grpc) await grpc[Symbol.asyncDispose]()
    },
  }
}

class PeerCall implements GrpcListener, ResponseSource {
  readonly borrows = true
  readonly #grpc: GrpcClient
  readonly #address: string
  readonly #invocation: Invocation
  readonly #metadata: string[]
  readonly #sink: ResponseSink
  #stream: GrpcClientStream
  #answered = false
  #over = false
  #nextSeq = 0
  #seq = 0
  /** Bytes of the reply still to come, where the app has said how many: then nobody waits for the end of the call. */
  #left = -1
  #stopBody: (() => void) | undefined
  readonly onReady: (() => void) | undefined
  readonly onDrain: (() => void) | undefined

  constructor(grpc: GrpcClient, address: string, invocation: Invocation, metadata: string[], sink: ResponseSink) {
    this.#grpc = grpc
    this.#address = address
    this.#invocation = invocation
    this.#metadata = metadata
    this.#sink = sink
    const { body } = invocation
    const streamed = body !== undefined && !Buffer.isBuffer(body)
    if (streamed) {
      // Reading begins when the connection stands: until then the call can move to another address.
      this.onReady = () => this.#send(body)
      this.onDrain = () => body.resume()
    }
    this.#stream = grpc.stream(address, CALL_LOCAL_STREAM, { headers: this.#trace() }, this)
    if (streamed) this.#stream.write(encodeRequestHead(invocation, metadata, undefined))
    else if (!body || body.length <= CHUNK) this.#stream.end(encodeRequestHead(invocation, metadata, body))
    else {
      this.#stream.write(encodeRequestHead(invocation, metadata, body.subarray(0, CHUNK)))
      this.#seq = 1
      for (let at = CHUNK; at < body.length; at += CHUNK)
        this.#stream.write(encodePayload(body.subarray(at, at + CHUNK), this.#seq++), true)
      this.#stream.end()
    }
  }

  #trace(): Record<string, string> {
    const traceparent = headerOf(this.#invocation.headers, 'traceparent')
    return traceparent === undefined ? {} : { traceparent }
  }

  #send(body: Readable): void {
    const onData = (chunk: Buffer) => {
      allocated(chunk.length)
      for (let at = 0; at < chunk.length; at += CHUNK) {
        const piece = chunk.length <= CHUNK ? chunk : chunk.subarray(at, at + CHUNK)
        if (!this.#stream.write(encodePayload(piece, this.#seq++), true)) body.pause()
      }
    }
    const onEnd = () => this.#stream.end()
    const onError = (error: Error) =>
      this.#stream.cancel(new GrpcStatus(Code.Canceled, `the request body broke off: ${error.message}`, { cause: error }))
    const onClose = () => void (body.readableEnded || onError(new Error('closed before its end')))
    body.on('data', onData).once('end', onEnd).once('error', onError).once('close', onClose)
    this.#stopBody = () => {
      body.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
    }
  }

  onMessage(bytes: Buffer): void {
    if (this.#over) return
    try {
      const { head, payload } = decodeResponseStream(bytes)
      if (!this.#answered) {
        if (!head) throw new GrpcStatus(Code.Internal, 'the leading message of the reply carries no status')
        this.#answer(head)
      } else if (head && (head.status > 0 || Object.keys(head.headers).length > 0))
        throw new GrpcStatus(Code.Internal, 'response metadata found in non-leading chunk')
      if (!payload) return this.#whole()
      if (payload.seq !== this.#nextSeq)
        throw new GrpcStatus(Code.Internal, `invalid sequence number received: ${payload.seq} (expected: ${this.#nextSeq})`)
      this.#nextSeq++
      if (payload.data.length > 0) this.#sink.data(payload.data)
      this.#left -= payload.data.length
      this.#whole()
    } catch (error) {
      this.#stream.cancel(GrpcStatus.from(error))
    }
  }

  #answer(head: IncomingResponse): void {
    this.#answered = true
    const length = head.headers['content-length']
    if (length !== undefined && head.status >= 200 && this.#invocation.verb !== 'HEAD') this.#left = Number(length)
    this.#sink.head(head.status, head.headers, this, head.answer)
  }

  #whole(): void {
    // A request that is still being sent needs the call a little longer.
    if (this.#left !== 0 || this.#over || this.#stopBody) return
    this.#over = true
    this.#sink.end()
  }

  onClose(status: GrpcStatus | undefined): void {
    this.#stopBody?.()
    if (this.#over) return
    const { body } = this.#invocation
    if (status?.code === Code.Unimplemented && !this.#answered && (body === undefined || Buffer.isBuffer(body))) return this.#unary(body)
    this.#over = true
    if (status) this.#sink.failed(status)
    else if (this.#answered) this.#sink.end()
    else this.#sink.failed(new GrpcStatus(Code.Internal, 'the peer ended the call without a reply'))
  }

  #unary(body: Buffer | undefined): void {
    this.#grpc
      .unary(this.#address, CALL_LOCAL, encodeRequest(this.#invocation, this.#metadata, body), { headers: this.#trace() })
      .then((bytes) => {
        if (this.#over) return
        const response = decodeResponse(new ProtoReader(bytes))
        this.#answer(response)
        if (response.data.length > 0) this.#sink.data(response.data)
        this.#over = true
        this.#sink.end()
      })
      .catch((error: unknown) => {
        if (this.#over) return
        this.#over = true
        this.#sink.failed(GrpcStatus.from(error))
      })
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    this.#stream.resume()
  }

  abort(reason?: Error): void {
    if (this.#over) return
    this.#over = true
    this.#stream.cancel(new GrpcStatus(Code.Canceled, reason?.message ?? 'context canceled'))
  }
}
