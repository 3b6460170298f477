import { connect } from 'node:net'
import { Readable } from 'node:stream'
// The package's index loads fetch, WebSocket and caches too: 7 MiB and 60 ms of every start.
import type { Dispatcher } from 'undici'
import Pool from 'undici/lib/dispatcher/pool.js'
import type { AppChannel, AppRequest, AppResponse } from './channel.ts'
import { ConcurrencyGate } from './concurrency.ts'
import { throughPipeline } from './middleware/outgoing.ts'
import type { Pipeline } from './middleware/pipeline.ts'
import type { ResponseSink, ResponseSource } from './response-sink.ts'

export interface HttpChannelOptions {
  /** Default 127.0.0.1. */
  host?: string
  port: number
  /** Default `http`. `https` does not verify the app's certificate. */
  protocol?: 'http' | 'https' | 'h2c'
  /** With `https`: checks the certificate, by these authorities or the system's, and shows one if given. */
  tls?: { ca?: string | undefined; cert?: string | undefined; key?: string | undefined } | undefined
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

/** One request on its way: undici's handler, the sink's source, and the holder of a place in the queue, in one object. */
class Exchange implements Dispatcher.DispatchHandler, ResponseSource {
  readonly #sink: ResponseSink
  readonly #gate: ConcurrencyGate
  #controller: Dispatcher.DispatchController | undefined
  #over = false
  #entered = false
  giveUp: (() => void) | undefined

  constructor(sink: ResponseSink, gate: ConcurrencyGate) {
    this.#sink = sink
    this.#gate = gate
  }

  get over(): boolean {
    return this.#over
  }

  entered(): void {
    this.#entered = true
  }

  #finish(): boolean {
    if (this.#over) return false
    this.#over = true
    if (this.#entered) this.#gate.leave()
    else this.giveUp?.()
    return true
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#over) controller.abort(new Error('the request was given up'))
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: AppResponse['headers']): void {
    // 1xx replies are hints, not the reply.
    if (status < 200 || this.#over) return
    this.#sink.head(status, headers, this)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over) this.#sink.data(chunk)
  }

  onResponseEnd(): void {
    if (this.#finish()) this.#sink.end()
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (this.#finish()) this.#sink.failed(error)
  }

  fail(error: Error): void {
    if (this.#finish()) this.#sink.failed(error)
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    if (!this.#over) this.#controller?.resume()
  }

  abort(reason?: Error): void {
    if (!this.#finish()) return
    this.#controller?.abort(reason ?? new Error('the request was given up'))
  }
}

/** Makes the channel to the app beside us. Connections open on first use and stay open; nothing is sent before that. */
export function createHttpChannel(options: HttpChannelOptions): HttpChannel {
  const host = options.host ?? '127.0.0.1'
  const protocol = options.protocol ?? 'http'
  const origin = `${protocol === 'https' ? 'https' : 'http'}://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${options.port}`
  const pool = new Pool(origin, {
    connections: protocol === 'h2c' ? 1 : 1024,
    pipelining: protocol === 'h2c' ? 1000 : 1,
    // How long an app may think is for the caller's timeout and the resiliency policies to say.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 60_000,
    maxHeaderSize: options.maxHeaderSize ?? 65_536,
    ...(protocol === 'h2c' ? { allowH2: true, useH2c: true } : {}),
    ...(protocol === 'https' ? { connect: { minVersion: 'TLSv1.2' as const, ...(options.tls ?? { rejectUnauthorized: false }) } } : {}),
  })
  const gate = new ConcurrencyGate(options.maxConcurrency ?? 0)
  const maxBodySize = options.maxBodySize ?? 64 * 1024 * 1024

  const send = (request: SinkRequest, sink: ResponseSink): Exchange => {
    const exchange = new Exchange(sink, gate)
    const dispatch = () => {
      exchange.entered()
      try {
        pool.dispatch(
          {
            method: request.method as Dispatcher.HttpMethod,
            path: request.path,
            headers: withToken(request.headers, options.token || undefined),
            body: request.body ?? null,
            // undici would close the connection after each HEAD, for servers that answer it with a body.
            reset: false,
          },
          exchange,
        )
      } catch (error) {
        exchange.fail(error instanceof Error ? error : new Error(String(error)))
      }
    }
    const giveUp = gate.enter(dispatch)
    if (giveUp) exchange.giveUp = giveUp
    else
      queueMicrotask(() =>
        exchange.fail(new Error(`the app has ${gate.waiting} calls waiting already: raise --app-max-concurrency or slow the callers`)),
      )
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
      return (reason) => exchange.abort(reason)
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
    ready: (signal) => waitForPort(host, options.port, signal),
    close: () => pool.close(),
    [Symbol.asyncDispose]: () => pool.destroy(),
  }
}

function withToken(headers: SinkRequest['headers'], token: string | undefined): SinkRequest['headers'] {
  if (token === undefined) return headers
  return Array.isArray(headers) ? [...headers, 'dapr-api-token', token] : { ...headers, 'dapr-api-token': token }
}

/** Resolves once a TCP connection succeeds: tries at once, then every 20 ms, slowing to 100 ms. */
export function waitForPort(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let pause = 20
    let timer: NodeJS.Timeout | undefined
    let socket: ReturnType<typeof connect> | undefined
    const onAbort = () => {
      clearTimeout(timer)
      socket?.destroy()
      reject(signal.reason)
    }
    const attempt = () => {
      socket = connect({ host, port, timeout: 500 })
      let settled = false
      const retry = () => {
        if (settled || signal.aborted) return
        settled = true
        socket?.destroy()
        timer = setTimeout(attempt, pause)
        pause = Math.min(100, pause * 1.25)
      }
      socket.once('connect', () => {
        if (settled) return
        settled = true
        socket?.destroy()
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      socket.once('timeout', retry)
      socket.on('error', retry)
    }
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    attempt()
  })
}
