import type { IncomingHttpHeaders } from 'node:http'
import type { ConnectionOptions } from 'node:tls'
import { Exchange, givenUp, type HttpRequest } from './exchange.ts'
import { HttpPool } from './pool.ts'
import { nextRequest } from './redirect.ts'

export interface HttpClientOptions {
  /** Connections to one server. */
  connections: number
  /** Milliseconds to connect. Default 10,000. */
  connectTimeout?: number
  /** Milliseconds without a byte of an awaited reply; 0 (default): no limit. */
  silenceTimeout?: number
  /** Redirections that are followed; the reply after the last is given as it is. Default 0. */
  redirections?: number
  /** For https; the certificate is checked unless this says otherwise. */
  tls?: ConnectionOptions
}

export interface WholeRequest {
  method: string
  url: URL
  /** What is asked for at that server where a URL would not keep it as it is: percent-encoded, query included. */
  path?: string
  headers?: Readonly<Record<string, string>>
  body?: Buffer | string | undefined
  signal?: AbortSignal | undefined
  /** Bytes of the reply's body; 0: no limit. A longer one rejects with `tooLarge`. */
  limit: number
  tooLarge: () => Error
}

export interface WholeReply {
  status: number
  /** The server's own words for the status, often empty. */
  reason: string
  headers: IncomingHttpHeaders
  body: Buffer
}

/** Servers whose connections are kept. The one asked longest ago goes first. */
const KEPT = 16

/** Whole exchanges with services outside, for what is asked now and then; the paths of every call use a HttpPool themselves. */
export class HttpClient implements AsyncDisposable {
  readonly #options: HttpClientOptions
  readonly #pools = new Map<string, HttpPool>()
  #closed = false

  constructor(options: HttpClientOptions) {
    this.#options = options
  }

  /** Rejects when no reply came, or with the signal's reason. Any status resolves. */
  async request(wanted: WholeRequest): Promise<WholeReply> {
    let request = wanted
    for (let left = this.#options.redirections ?? 0; ; left--) {
      const reply = await this.#once(request)
      const next = left > 0 ? nextRequest(request, reply) : undefined
      if (!next) return reply
      request = next
    }
  }

  #once(wanted: WholeRequest): Promise<WholeReply> {
    const { method, url, path = url.pathname + url.search, headers = {}, body, signal } = wanted
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        exchange.abort()
        reject(signal?.reason)
      }
      const exchange = new Collected(
        { method, path, headers, body: typeof body === 'string' ? Buffer.from(body) : body },
        wanted,
        (reply) => {
          signal?.removeEventListener('abort', onAbort)
          if (reply instanceof Error) reject(reply)
          else resolve(reply)
        },
      )
      if (this.#closed) return exchange.onError(givenUp())
      this.#poolOf(url).dispatch(exchange)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  #poolOf(url: URL): HttpPool {
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      throw new Error(`${url.protocol} is no protocol for ${url.host}: use http or https`)
    const { connections, connectTimeout = 10_000, silenceTimeout = 0, tls = {} } = this.#options
    const secure = url.protocol === 'https:'
    const pool =
      this.#pools.get(url.origin) ??
      new HttpPool({
        host: url.hostname,
        port: Number(url.port || (secure ? 443 : 80)),
        maxSockets: connections,
        connectTimeout,
        silenceTimeout,
        tls: secure ? tls : undefined,
      })
    this.#pools.delete(url.origin)
    this.#pools.set(url.origin, pool)
    if (this.#pools.size > KEPT) {
      for (const [origin, oldest] of this.#pools) {
        this.#pools.delete(origin)
        void oldest.close()
        break
      }
    }
    return pool
  }

  /** Takes no more requests and lets those under way finish. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()))
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#pools.values()].map((pool) => pool[Symbol.asyncDispose]()))
  }
}

/** An exchange whose reply is kept whole. */
class Collected extends Exchange {
  readonly #bounds: Pick<WholeRequest, 'limit' | 'tooLarge'>
  readonly #done: (reply: WholeReply | Error) => void
  readonly #chunks: Buffer[] = []
  #size = 0
  #status = 0
  #reason = ''
  #headers: IncomingHttpHeaders = {}

  constructor(request: HttpRequest, bounds: Pick<WholeRequest, 'limit' | 'tooLarge'>, done: (reply: WholeReply | Error) => void) {
    super(request)
    this.#bounds = bounds
    this.#done = done
  }

  protected head(status: number, headers: IncomingHttpHeaders, reason: string): void {
    this.#status = status
    this.#reason = reason
    this.#headers = headers
  }

  protected data(chunk: Buffer): void {
    this.#size += chunk.length
    const { limit, tooLarge } = this.#bounds
    if (limit > 0 && this.#size > limit) {
      this.abort()
      this.#done(tooLarge())
    } else this.#chunks.push(chunk)
  }

  protected end(): void {
    this.#done({ status: this.#status, reason: this.#reason, headers: this.#headers, body: Buffer.concat(this.#chunks, this.#size) })
  }

  protected failed(error: Error): void {
    this.#done(error)
  }
}
