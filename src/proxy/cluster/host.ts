import type { ConnectionOptions } from 'node:tls'
import { HttpPool } from '../../transport/http1/pool.ts'
import { ClientPool } from '../../transport/http2/client-pool.ts'
import type { Cluster, Endpoint } from '../model/cluster.ts'
import type { Attempt, AttemptRequest, AttemptSink } from './attempt.ts'
import { Http1Attempt } from './http1-attempt.ts'
import { Http2Attempt } from './http2-attempt.ts'

/** Bytes that an endpoint may send ahead on one stream. */
const STREAM_WINDOW = 256 << 10
const MAX_HEADERS = 65_536

/** Why an endpoint is left out. */
export interface HostHealth {
  failedCheck: boolean
  ejected: boolean
  /** By whoever named it. */
  declared: 'unhealthy' | 'draining' | undefined
}

/** One endpoint: its health, its figures and its connections, which are opened when they are first needed. */
export class Host {
  readonly endpoint: Endpoint
  /** `address:port`, for logs and hashing. */
  readonly address: string
  readonly health: HostHealth
  active = 0
  total = 0
  errors = 0
  timeouts = 0
  connectFailures = 0
  successes = 0
  /** For outlier detection. */
  consecutive5xx = 0
  consecutiveGateway = 0
  consecutiveLocal = 0
  ejections = 0
  ejectedUntil = 0
  windowTotal = 0
  windowSuccess = 0
  /** For the weighted round. */
  current = 0
  readonly #cluster: Cluster
  readonly #tls: (() => ConnectionOptions) | undefined
  #http1: HttpPool | undefined
  #http2: ClientPool | undefined

  constructor(cluster: Cluster, endpoint: Endpoint, tls: (() => ConnectionOptions) | undefined) {
    this.#cluster = cluster
    this.endpoint = endpoint
    this.#tls = tls
    this.address = addressOf(endpoint)
    this.health = { failedCheck: false, ejected: false, declared: endpoint.health }
  }

  get healthy(): boolean {
    const { failedCheck, ejected, declared } = this.health
    return !failedCheck && !ejected && declared === undefined
  }

  /** HTTP/1.1 connections that are open or opening. */
  get connections(): number {
    return this.#http1?.size ?? 0
  }

  get pending(): number {
    return this.#http1?.waiting ?? 0
  }

  send(request: AttemptRequest, sink: AttemptSink, http2: boolean): Attempt {
    if (http2) {
      const attempt = new Http2Attempt(request, sink)
      this.#http2 ??= this.#openHttp2()
      this.#http2.request(this.address, attempt.stream)
      return attempt
    }
    const attempt = new Http1Attempt(request, sink)
    this.#http1 ??= this.#openHttp1()
    this.#http1.dispatch(attempt)
    return attempt
  }

  #openHttp1(): HttpPool {
    const { endpoint, limits, connectTimeout, idleTimeout } = {
      endpoint: this.endpoint,
      limits: this.#cluster.limits,
      connectTimeout: this.#cluster.connectTimeout,
      idleTimeout: this.#cluster.idleTimeout,
    }
    return new HttpPool({
      host: endpoint.host,
      port: endpoint.port,
      socketPath: endpoint.path,
      tls: this.#tls,
      connectTimeout,
      idleTimeout: idleTimeout || 2 ** 31 - 1,
      maxSockets: limits.connections,
      maxWaiting: limits.pending,
      maxHeaderSize: MAX_HEADERS,
    })
  }

  #openHttp2(): ClientPool {
    const { limits, connectTimeout, idleTimeout } = this.#cluster
    const tls = this.#tls
    return new ClientPool({
      tls: tls && (() => ({ ...tls(), ALPNProtocols: ['h2'] })),
      maxConnections: limits.connections,
      maxWaiting: limits.pending,
      streamWindow: STREAM_WINDOW,
      maxHeaderSize: MAX_HEADERS,
      maxHeaderBlock: MAX_HEADERS * 2,
      connectTimeout,
      idleTimeout,
      keepalive: undefined,
    })
  }

  /** Ends its idle connections, and those in use with their exchanges. */
  async retire(): Promise<void> {
    const http1 = this.#http1
    const http2 = this.#http2
    this.#http1 = this.#http2 = undefined
    http2?.forget()
    await http1?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http1?.[Symbol.asyncDispose](), this.#http2?.destroy()])
  }
}

/** As Envoy writes it. */
export function addressOf({ host, port, path }: Pick<Endpoint, 'host' | 'port' | 'path'>): string {
  if (path !== undefined) return `unix:${path}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
