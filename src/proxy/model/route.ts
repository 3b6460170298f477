import type { HeaderChanges, RequestMatch, TextMatch } from './match.ts'

/** On what a request is sent again; the words are Envoy's. */
export const RETRY_ON: readonly string[] = [
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'refused-stream',
  'retriable-4xx',
  'retriable-status-codes',
  'envoy-ratelimited',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
]

export interface RetryPolicy {
  on: readonly string[]
  /** Attempts after the first. */
  retries: number
  /** Milliseconds; 0: none. */
  perTryTimeout: number
  /** Milliseconds; waits grow from `base` twofold up to `max`, each at random below its figure. */
  backoff: { base: number; max: number }
  statusCodes: readonly number[]
  /** Not on an endpoint that was tried before, as long as there is another. */
  otherEndpoint: boolean
  /** What was sent, if only in part, is sent again only where a second time does no harm: GET, HEAD, OPTIONS, TRACE, PUT, DELETE. */
  idempotentOnly: boolean
}

/** By what a request finds its place on the ring. */
export type HashBy =
  | { header: string; terminal: boolean }
  | { cookie: string; ttl?: number; path?: string; terminal: boolean }
  | { query: string; terminal: boolean }
  | { sourceIp: true; terminal: boolean }

export interface CorsPolicy {
  origins: readonly TextMatch[]
  methods: string
  headers: string
  expose: string
  maxAge: string
  credentials: boolean
}

export interface FaultPolicy {
  abort?: { status: number; percent: number }
  delay?: { ms: number; percent: number }
  headers: RequestMatch['headers']
}

/** Tokens: `burst` at first, `tokens` more each `interval` milliseconds. */
export interface RateLimit {
  burst: number
  tokens: number
  interval: number
  status: number
  enabledPercent: number
  responseHeaders: HeaderChanges
}

/** One rule of RBAC: any of `permissions` by any of `principals`. */
export interface AccessRule {
  name: string
  permissions: readonly AccessTest[]
  principals: readonly AccessTest[]
}

/** What RBAC looks at. */
export type AccessTest =
  | { any: true }
  | { all: readonly AccessTest[] }
  | { some: readonly AccessTest[] }
  | { not: AccessTest }
  | { header: RequestMatch['headers'][number] }
  | { path: TextMatch }
  | { port: number }
  | { destination: string }
  | { source: string }
  | { direct: string }
  | { identity: TextMatch }
  | { authenticated: true }
  | { serverName: TextMatch }

export interface AccessPolicy {
  action: 'allow' | 'deny'
  rules: readonly AccessRule[]
}

/** What differs from the listener's filters for one route; null: the filter is off. */
export interface RouteFilters {
  cors?: CorsPolicy | null
  fault?: FaultPolicy | null
  rateLimit?: RateLimit | null
  access?: AccessPolicy | null
}

export interface WeightedService {
  service: string
  weight: number
  requestHeaders: HeaderChanges
  responseHeaders: HeaderChanges
}

export type Rewrite = { prefix: string } | { regex: string; by: string }
export type HostRewrite = { host: string } | { auto: true } | { header: string } | { pathRegex: string; by: string }

export interface ForwardAction {
  kind: 'forward'
  to: readonly WeightedService[] | { header: string }
  /** Milliseconds for the whole exchange, retries included; 0: none. */
  timeout: number
  /** Milliseconds without a byte either way; undefined: the listener's. */
  idleTimeout?: number
  retry: RetryPolicy | undefined
  rewrite?: Rewrite
  host?: HostRewrite
  hashBy: readonly HashBy[]
  mirrors: readonly { service: string; percent: number }[]
  /** Protocols that may be changed to; undefined: the listener's. */
  upgrades?: readonly string[]
  /** Answer when the service is not known. */
  unknownStatus: number
}

export interface RedirectAction {
  kind: 'redirect'
  status: number
  scheme?: string
  host?: string
  port?: number
  path?: string
  rewrite?: Rewrite
  stripQuery: boolean
}

export interface AnswerAction {
  kind: 'answer'
  status: number
  body: string
}

export interface Route {
  name: string
  match: RequestMatch
  action: ForwardAction | RedirectAction | AnswerAction
  requestHeaders: HeaderChanges
  responseHeaders: HeaderChanges
  filters: RouteFilters
}

export interface VirtualHost {
  name: string
  /** Exact, `*.suffix`, `prefix.*` or `*`. */
  domains: readonly string[]
  routes: readonly Route[]
  requestHeaders: HeaderChanges
  responseHeaders: HeaderChanges
  requireTls: 'none' | 'external' | 'all'
  filters: RouteFilters
  /** Tells the upstream which attempt this is. */
  attemptCount: boolean
}

export interface RouteTable {
  name: string
  hosts: readonly VirtualHost[]
  requestHeaders: HeaderChanges
  responseHeaders: HeaderChanges
}
