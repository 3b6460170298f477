import type { FieldMatch } from './match.ts'
import type { AccessPolicy, CorsPolicy, FaultPolicy, RateLimit, RouteTable } from './route.ts'
import type { CertificateSource, TextSource, TlsVersions, Validation } from './tls.ts'

/** Where access log lines go and what they say. */
export interface AccessLog {
  /** A path; /dev/stdout and /dev/stderr are the process's own. */
  path: string
  format: string | Readonly<Record<string, unknown>>
  /** Only requests that meet this are logged. */
  filter: { statusFrom?: number; durationFrom?: number; percent?: number; notHealthCheck?: true } | undefined
}

/** The HTTP filters there are, in the order they see a request; the router is last and stands for itself. */
export type HttpFilter =
  | { kind: 'fault'; policy: FaultPolicy | undefined }
  | { kind: 'cors' }
  | { kind: 'access'; policy: AccessPolicy | undefined }
  | { kind: 'rate-limit'; policy: RateLimit | undefined }
  | { kind: 'health'; headers: readonly FieldMatch[]; passThrough: boolean }
  | { kind: 'buffer'; maxBytes: number }

export interface HttpHandling {
  kind: 'http'
  /** Names its figures. */
  stat: string
  /** `auto` looks at the first bytes, or at ALPN. */
  protocol: 'auto' | 'http1' | 'http2'
  routes: RouteTable
  filters: readonly HttpFilter[]
  accessLogs: readonly AccessLog[]
  /** Protocols that may be changed to, in lower case. */
  upgrades: readonly string[]
  /** Milliseconds; 0: none. For the client to send all of a request. */
  requestTimeout: number
  /** Milliseconds; 0: none. Without a byte of an exchange, either way. */
  streamIdleTimeout: number
  /** Milliseconds; 0: none. Without a request. */
  idleTimeout: number
  maxHeaderSize: number
  /** Streams of one HTTP/2 connection. */
  maxStreams: number
  /** The client's address is trusted as it is and added to x-forwarded-for; else the header is believed. */
  useRemoteAddress: boolean
  /** Proxies before this one whose x-forwarded-for is believed. */
  trustedHops: number
  /** x-request-id where there is none. */
  requestId: boolean
  /** x-envoy-… headers both ways. */
  envoyHeaders: boolean
  /** Put into `server` of replies; undefined: as it comes. */
  serverName: string | undefined
  via: string
  normalizePath: boolean
  mergeSlashes: boolean
  /** Ports in Host are taken off before routes are looked up: any, or the listener's own. */
  stripPort: 'any' | 'matching' | undefined
  /** Milliseconds that open exchanges have once the listener drains. */
  drainTimeout: number
}

export interface TcpHandling {
  kind: 'tcp'
  stat: string
  to: readonly { service: string; weight: number }[]
  /** Milliseconds without a byte; 0: none. */
  idleTimeout: number
  maxConnectAttempts: number
  accessLogs: readonly AccessLog[]
}

/** TLS as a server speaks it. */
export interface ServerTls {
  certificates: readonly CertificateSource[]
  requireClientCertificate: boolean
  validation: Validation | undefined
  alpn: readonly string[]
  versions: TlsVersions
  ciphers: readonly string[]
}

/** Connections that one chain takes; an empty list takes all. */
export interface ChainMatch {
  /** Exact or `*.suffix`. */
  serverNames: readonly string[]
  transport: 'tls' | 'raw' | undefined
  applicationProtocols: readonly string[]
  destinationPort: number | undefined
  destinations: readonly string[]
  sources: readonly string[]
}

export interface FilterChain {
  name: string
  match: ChainMatch
  tls: ServerTls | undefined
  /** Who may connect at all. */
  access: readonly AccessPolicy[]
  handling: HttpHandling | TcpHandling
}

export interface Listener {
  name: string
  host: string
  port: number
  /** Path of a unix socket in place of host and port. */
  path?: string
  chains: readonly FilterChain[]
  /** Connections were sent here by iptables: where they wanted to go is asked of the socket. */
  originalDestination: boolean
  /** Milliseconds in which a client must show what it speaks. */
  detectTimeout: number
  /** Bytes that one connection may hold for either side. */
  bufferLimit: number
  backlog: number
  accessLogs: readonly AccessLog[]
}

export type { CertificateSource, CorsPolicy, TextSource }
