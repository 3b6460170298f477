import type { ClientTls } from './tls.ts'

export interface Endpoint {
  host: string
  port: number
  /** Path of a unix socket in place of both. */
  path?: string
  weight: number
  /** 0 is asked first; the next one when too few of the former are well. */
  priority: number
  /** Another port for health checks. */
  healthPort?: number
  /** Of the Host header where a route says `auto`, and of health checks. */
  hostname?: string
  /** Said to be so by whoever wrote it. */
  health?: 'unhealthy' | 'draining'
}

export type Balance = 'round-robin' | 'least-request' | 'random' | 'ring-hash'

/**
 * Where endpoints come from. `strict-dns`: every address of the name; `logical-dns`: the name, asked anew for each connection;
 * `sidecar`: it is an app, which the sidecar beside calls.
 */
export type Discovery = 'static' | 'strict-dns' | 'logical-dns' | 'file' | 'original-destination' | 'sidecar'

export interface HealthCheck {
  kind: 'http' | 'tcp' | 'grpc'
  /** Milliseconds. */
  timeout: number
  interval: number
  /** Spread of the intervals at random, in milliseconds. */
  jitter: number
  unhealthyThreshold: number
  healthyThreshold: number
  path: string
  host: string | undefined
  /** From (inclusive) to (exclusive). */
  statuses: readonly { from: number; to: number }[]
  http2: boolean
  /** Headers of the request, name and value in turn. */
  headers: readonly string[]
  send: string | undefined
  receive: readonly string[]
  grpcService: string
  alwaysLog: boolean
}

export interface OutlierDetection {
  consecutive5xx: number
  consecutiveGatewayFailure: number
  /** Percent of cases in which the limit is acted upon. */
  enforcing5xx: number
  enforcingGatewayFailure: number
  /** Failures of ours to reach it; only counted by themselves with `splitLocal`. */
  consecutiveLocalFailure: number
  splitLocal: boolean
  /** Milliseconds. */
  interval: number
  baseEjection: number
  maxEjection: number
  maxEjectionPercent: number
  successRateMinHosts: number
  successRateRequestVolume: number
  successRateStdevFactor: number
  enforcingSuccessRate: number
}

export interface Limits {
  connections: number
  pending: number
  requests: number
  retries: number
}

export interface Cluster {
  name: string
  discovery: Discovery
  endpoints: readonly Endpoint[]
  /** Path of the file of endpoints. */
  file?: string
  /** The name that the file, or the resolver, knows it by. */
  serviceName?: string
  balance: Balance
  /** Endpoints that least-request compares. */
  choices: number
  ring: { minSize: number; maxSize: number }
  /** Milliseconds. */
  connectTimeout: number
  /** `auto` speaks what the client spoke. */
  protocol: 'http1' | 'http2' | 'auto'
  tls: ClientTls | undefined
  health: HealthCheck | undefined
  outliers: OutlierDetection | undefined
  limits: Limits
  /** Milliseconds between two looks at DNS. */
  dnsRefresh: number
  family: 'auto' | 'v4' | 'v6' | 'all'
  /** With fewer well endpoints than this many percent, health is not looked at. */
  panicPercent: number
  /** Milliseconds that an idle connection is kept. */
  idleTimeout: number
  /** Connections to an endpoint end as soon as a health check fails. */
  closeOnFailure: boolean
}
