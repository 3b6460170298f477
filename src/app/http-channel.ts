import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import type { HttpMetrics } from '../telemetry/http-metrics.ts'
import { Exchange } from '../transport/http1/exchange.ts'
import { HttpPool } from '../transport/http1/pool.ts'
import type { AppChannel, AppRequest, AppResponse } from './channel.ts'
import { ConcurrencyGate } from './concurrency.ts'
import { H2cPool } from './h2c-pool.ts'
import { throughPipeline } from './middleware/outgoing.ts'
import type { Pipeline } from './middleware/pipeline.ts'
import type { ResponseSink, ResponseSource } from './response-sink.ts'
import { waitForPort } from './wait-for-port.ts'

export interface HttpChannelOptions {
  /** Default 127.0.0.1. */
  host?: string
  port: number
  /** Default `http`. `https` does not verify the app's certificate. */
  protocol?: 'http' | 'https' | 'h2c'
  /** With `https`: checks the certificate, by these authorities or the system's, and shows one if given. */
  tls?: { ca?: string | undefined; cert?: string | undefined; key?: string | undefined } | undefined
  /** Milliseconds for a connection to come up. Default 30,000, as daprd. */
  connectTimeout?: number
  /** Sent as `dapr-api-token` when not empty; read for each request. */
  readonly token?: string | undefined
  /** Calls under way at once, counted until the response body is consumed; 0 (default): no limit. */
  maxConcurrency?: number
  /** Bytes of a response body that `call` reads at most; streaming is not limited. Default 64 MiB. */
  maxBodySize?: number
  /** Bytes of response headers. Default 64 KiB. */
  maxHeaderSize?: number
  /** Middleware in front of the app; absent: none is configured. */
  pipeline?: Pipeline | undefined
  /** Counts calls and health probes. */
  metrics?: HttpMetrics | undefined
}

/** As AppRequest; headers may also be a flat `[name, value, name, value]` list, the cheapest form. */
export interface SinkRequest extends Omit<AppRequest, 'headers' | 'signal'> {
  headers: AppRequest['headers'] | string[]
}

/** An app spoken to over HTTP/1.1, TLS or h2c. */
export interface HttpChannel extends AppChannel, AsyncDisposable {
  /** Sends a request and feeds the reply to `sink`. Returns a function that gives the exchange up; the sink then hears nothing more. */
  dispatch(request: SinkRequest, sink: ResponseSink): (reason?: Error) => void
  /** Takes no more requests and lets those under way finish. Disposing cuts them. */
  close(): Promise<void>
}

/** One request on its way: what the pool carries, the sink's source, and the holder of a place in the queue, in one object. */
class AppExchange extends Exchange implements ResponseSource {
  readonly #sink: ResponseSink
  readonly #metrics: HttpMetrics | undefined
  readonly #began: number
  #status = 0
  #received = 0
  /** Gives up waiting for a place, or gives the place back. */
  giveUp: (() => void) | undefined

  constructor(request: SinkRequest, sink: ResponseSink, metrics: HttpMetrics | undefined) {
    super(request)
    this.#sink = sink
    this.#metrics = metrics
    this.#began = metrics ? performance.now() : 0
  }

  protected head(status: number, headers: IncomingHttpHeaders): void {
    this.#status = status
    this.#sink.head(status, headers, this)
  }

  protected data(chunk: Buffer): void {
    this.#received += chunk.length
    this.#sink.data(chunk)
  }

  protected end(): void {
    this.#sink.end()
  }

  protected failed(error: Error): void {
    this.#sink.failed(error)
  }

  protected override finished(): void {
    this.giveUp?.()
    const { method, path, body, direct } = this.request as SinkRequest
    if (!this.#metrics || this.#status === 0) return
    const elapsed = performance.now() - this.#began
    const query = path.indexOf('?')
    const sent = Buffer.isBuffer(body) ? body.length : 0
    if (direct) this.#metrics.probed(this.#status, elapsed)
    else this.#metrics.called(method, query < 0 ? path : path.slice(0, query), this.#status, sent, this.#received, elapsed)
  }
}

/** Makes the channel to the app beside us. Connections open on first use and stay open; nothing is sent before that. */
export function createHttpChannel(options: HttpChannelOptions): HttpChannel {
  const { port, protocol = 'http', host = '127.0.0.1' } = options
  let token = options.token
  const extra = tokenHeader(token)
  const pool =
    protocol === 'h2c'
      ? new H2cPool({ host, port, extra })
      : new HttpPool({
          host,
          port,
          extra,
          connectTimeout: options.connectTimeout ?? 30_000,
          // How long an app may think is for the caller's timeout and the resiliency policies to say.
          silenceTimeout: 0,
          // daprd lets every reply end before its Content-Length. A long one that does is cut off, and the caller should hear of it.
          shortBodies: 64 * 1024,
          maxHeaderSize: options.maxHeaderSize ?? 65_536,
          ...(protocol === 'https' ? { tls: { minVersion: 'TLSv1.2' as const, ...(options.tls ?? { rejectUnauthorized: false }) } } : {}),
        })
  const limit = options.maxConcurrency ?? 0
  const gate = limit > 0 ? new ConcurrencyGate(limit) : undefined
  const maxBodySize = options.maxBodySize ?? 64 * 1024 * 1024

  const send = (request: SinkRequest, sink: ResponseSink): AppExchange => {
    if (options.token !== token) {
      token = options.token
      pool.setExtra(tokenHeader(token))
    }
    const exchange = new AppExchange(request, sink, options.metrics)
    if (!gate) {
      pool.dispatch(exchange)
      return exchange
    }
    let entered = false
    const leaveQueue = gate.enter(() => {
      entered = true
      exchange.giveUp = () => gate.leave()
      pool.dispatch(exchange)
    })
    if (!leaveQueue)
      queueMicrotask(() =>
        exchange.onError(new Error(`the app has ${gate.waiting} calls waiting already: raise --app-max-concurrency or slow the callers`)),
      )
    else if (!entered) exchange.giveUp = leaveQueue
    return exchange
  }

  const { pipeline } = options
  const start = pipeline
    ? (wanted: SinkRequest, sink: ResponseSink) => (wanted.direct ? send(wanted, sink) : throughPipeline(pipeline, wanted, sink, send))
    : send

  const request = (wanted: AppRequest): Promise<AppResponse> =>
    new Promise((resolve, reject) => {
      const { signal } = wanted
      if (signal?.aborted) return reject(signal.reason)
      let body: Readable | undefined
      let onAbort: (() => void) | undefined
      const settle = () => onAbort && signal?.removeEventListener('abort', onAbort)
      const exchange = start(wanted, {
        head(status, headers, source) {
          body = new Readable({
            read: () => source.resume(),
            destroy: (error, done) => {
              settle()
              source.abort(error ?? undefined)
              done(error)
            },
          })
          const readable = body
          this.data = (chunk) => void (readable.push(chunk) || source.pause())
          resolve({ status, headers, body })
        },
        data() {},
        end() {
          settle()
          body?.push(null)
        },
        failed(error) {
          settle()
          if (body) body.destroy(error)
          else reject(error)
        },
      })
      if (signal && !exchange.over) {
        onAbort = () => {
          exchange.abort(signal.reason)
          if (body) body.destroy(signal.reason)
          else reject(signal.reason)
        }
        signal.addEventListener('abort', onAbort, { once: true })
      }
    })

  return {
    request,
    dispatch(wanted, sink) {
      const exchange = start(wanted, sink)
      return (reason) => void exchange.abort(reason)
    },
    call: (wanted) =>
      new Promise((resolve, reject) => {
        const { signal } = wanted
        if (signal?.aborted) return reject(signal.reason)
        const chunks: Buffer[] = []
        let size = 0
        let status = 0
        let headers: AppResponse['headers'] = {}
        let from: ResponseSource
        const onAbort = () => {
          exchange.abort(signal?.reason)
          reject(signal?.reason)
        }
        const exchange = start(wanted, {
          head(code, fields, source) {
            status = code
            headers = fields
            from = source
          },
          data(chunk) {
            size += chunk.length
            if (size > maxBodySize) {
              signal?.removeEventListener('abort', onAbort)
              const error = new Error(`the app's reply to ${wanted.method} ${wanted.path} is larger than ${maxBodySize} bytes`)
              from.abort(error)
              return reject(error)
            }
            chunks.push(chunk)
          },
          end() {
            signal?.removeEventListener('abort', onAbort)
            resolve({ status, headers, body: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) })
          },
          failed(error) {
            signal?.removeEventListener('abort', onAbort)
            reject(error)
          },
        })
        if (!exchange.over) signal?.addEventListener('abort', onAbort, { once: true })
      }),
    ready: (signal) => waitForPort(host, port, signal),
    close: () => pool.close(),
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  }
}

function tokenHeader(token: string | undefined): [string, string][] {
  return token ? [['dapr-api-token', token]] : []
}
