import { Code, codeName } from '../errors.ts'
import type { GrpcSideMetrics } from '../telemetry/grpc-metrics.ts'
import {
  createGrpcClient,
  type GrpcCallOptions,
  type GrpcClientStream,
  type GrpcListener,
  type RawStream,
} from '../transport/grpc/client.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { ConcurrencyGate } from './concurrency.ts'
import { waitForPort } from './wait-for-port.ts'

export interface GrpcChannelOptions {
  /** Default 127.0.0.1. */
  host?: string
  port: number
  /** `grpcs` does not verify the app's certificate. Default `grpc`. */
  protocol?: 'grpc' | 'grpcs'
  /** Sent as metadata `dapr-api-token` when not empty; read for each call. */
  readonly token?: string | undefined
  /** Calls under way at once; 0 (default): no limit. */
  maxConcurrency?: number
  /** Bytes of one reply. Default 4 MiB. */
  maxMessageSize?: number
  /** Counts unary calls. */
  metrics?: GrpcSideMetrics | undefined
}

/** The application beside us, spoken to over gRPC. Redials by itself when the app comes back. */
export interface GrpcChannel extends AsyncDisposable {
  /** One unary call, e.g. `/dapr.proto.runtime.v1.AppCallback/OnTopicEvent`, counted against the concurrency limit. Rejects with GrpcStatus. */
  unary(path: string, message: Uint8Array, options?: GrpcCallOptions): Promise<Buffer>
  /** The same outside the limit and without the token: health probes. */
  probe(path: string, message: Uint8Array, options?: GrpcCallOptions): Promise<Buffer>
  /** A call of any kind, message by message; adds the token. Counted until it closes. */
  stream(path: string, options: GrpcCallOptions, listener: GrpcListener): GrpcClientStream
  /** A stream for passing bytes on, outside the limit: proxied calls may last. The token is the caller's to add. */
  raw(headers: readonly string[]): RawStream
  readonly token: string | undefined
  /** Resolves once the app's port accepts connections. */
  ready(signal: AbortSignal): Promise<void>
}

/** Makes the channel to a gRPC app. Nothing is dialled before the first call. */
export function createGrpcChannel(options: GrpcChannelOptions): GrpcChannel {
  const host = options.host ?? '127.0.0.1'
  const address = `${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${options.port}`
  const client = createGrpcClient({
    idleTimeout: 0,
    ...(options.maxMessageSize ? { maxMessageSize: options.maxMessageSize } : {}),
    ...(options.protocol === 'grpcs' ? { tls: { rejectUnauthorized: false, minVersion: 'TLSv1.2' } } : {}),
  })
  const gate = new ConcurrencyGate(options.maxConcurrency ?? 0)
  const withToken = (call: GrpcCallOptions): GrpcCallOptions =>
    options.token ? { ...call, headers: { ...call.headers, 'dapr-api-token': options.token } } : call
  const full = () =>
    new GrpcStatus(
      Code.ResourceExhausted,
      `the app has ${gate.waiting} calls waiting already: raise --app-max-concurrency or slow the callers`,
    )

  return {
    async unary(path, message, call = {}) {
      await entered(gate, call.signal, full)
      const began = performance.now()
      try {
        const reply = await client.unary(address, path, message, withToken(call))
        options.metrics?.unary(path, 'OK', reply.length, message.length, performance.now() - began)
        return reply
      } catch (error) {
        options.metrics?.unary(path, codeName(GrpcStatus.from(error).code), 0, message.length, performance.now() - began)
        throw error
      } finally {
        gate.leave()
      }
    },
    probe: (path, message, call) => client.unary(address, path, message, call),
    stream: (path, call, listener) =>
      new GatedStream(gate, full, listener, (heard) => client.stream(address, path, withToken(call), heard)),
    raw: (headers) => client.raw(address, headers),
    get token() {
      return options.token || undefined
    },
    ready: (signal) => waitForPort(host, options.port, signal),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** Resolves when a place is free, which then must be given back. */
function entered(gate: ConcurrencyGate, signal: AbortSignal | undefined, full: () => GrpcStatus): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(GrpcStatus.from(signal.reason))
    const onAbort = () => {
      giveUp?.()
      reject(new GrpcStatus(Code.Canceled, 'context canceled', { cause: signal?.reason }))
    }
    let entered = false
    const giveUp = gate.enter(() => {
      entered = true
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    if (!giveUp) reject(full())
    // The place may be free at once; then no listener may stay behind at a signal that outlives this call.
    else if (!entered) signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** A stream that may have to wait for its place: what is written before goes out when it has one. */
class GatedStream implements GrpcClientStream {
  readonly #giveUp: (() => void) | undefined
  readonly #listener: GrpcListener
  #stream: GrpcClientStream | undefined
  #early: { framed: Buffer | undefined; end: boolean }[] = []
  #paused = false
  #over = false

  constructor(gate: ConcurrencyGate, full: () => GrpcStatus, listener: GrpcListener, open: (listener: GrpcListener) => GrpcClientStream) {
    this.#listener = listener
    this.#giveUp = gate.enter(() => {
      const stream = open({
        ...(listener.onHeaders ? { onHeaders: (headers, raw) => listener.onHeaders?.(headers, raw) } : {}),
        onMessage: (message) => listener.onMessage(message),
        onClose: (status, trailers, raw) => {
          gate.leave()
          this.#close(status, trailers, raw)
        },
        onDrain: () => listener.onDrain?.(),
        onReady: () => listener.onReady?.(),
      })
      this.#stream = stream
      if (this.#paused) stream.pause()
      for (const { framed, end } of this.#early) {
        if (end) stream.end(framed)
        else if (framed) stream.write(framed)
      }
      const waited = this.#early.length > 0
      this.#early = []
      if (waited) queueMicrotask(() => this.#over || listener.onDrain?.())
    })
    if (!this.#giveUp) queueMicrotask(() => this.#close(full(), {}))
  }

  #close(...given: Parameters<GrpcListener['onClose']>): void {
    if (this.#over) return
    this.#over = true
    this.#listener.onClose(...given)
  }

  write(framed: Buffer): boolean {
    if (this.#over) return true
    if (this.#stream) return this.#stream.write(framed)
    this.#early.push({ framed, end: false })
    return false
  }

  end(framed?: Buffer): void {
    if (this.#over) return
    if (this.#stream) this.#stream.end(framed)
    else this.#early.push({ framed, end: true })
  }

  pause(): void {
    this.#paused = true
    this.#stream?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#stream?.resume()
  }

  cancel(reason?: GrpcStatus): void {
    if (this.#stream) return this.#stream.cancel(reason)
    this.#giveUp?.()
    this.#early = []
    this.#close(reason ?? new GrpcStatus(Code.Canceled, 'context canceled'), {})
  }
}
