import { isIPv6 } from 'node:net'
import type { Balancer } from './resolver-balancer.ts'

/** Where a sidecar listens for other sidecars. */
export interface Address {
  host: string
  port: number
  /** With mTLS: who has to be there, as the path of its SPIFFE id, e.g. `/ns/default/orders`. */
  identity?: string
}

/** What a sidecar says of itself. */
export interface Registration extends Address {
  appId: string
  namespace: string
  /** Port of the HTTP API, for registries that check health. */
  httpPort?: number
  /** Port of the app, absent without one. */
  appPort?: number
}

/** Finds the sidecars of an app by name. */
export interface Resolver extends AsyncDisposable {
  /** Addresses of the app, none when it is unknown. Answers at once from memory where it can. */
  resolve(appId: string, namespace: string, signal?: AbortSignal): Address[] | Promise<Address[]>
  /** Makes this sidecar known until disposed. */
  register(registration: Registration): Promise<AsyncDisposable>
  /** An address could not be reached: look again before using what is remembered. */
  invalidate(appId: string, namespace: string): void
  /** Chooses among the addresses of an app; absent: any of them. */
  readonly balancer?: Balancer | undefined
}

/** `host:port`, IPv6 in brackets; then the path of who has to be there, when it is known. */
export function formatAddress({ host, port, identity = '' }: Address): string {
  return host.includes(':') ? `[${host}]:${port}${identity}` : `${host}:${port}${identity}`
}

/** Reads `host:port`, `[v6]:port` or, with a default port, `host`. Undefined when it is none of them. */
export function parseAddress(text: string, defaultPort?: number): Address | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text.trim())
  const host = match?.[1] ?? match?.[2]
  const port = match?.[3] === undefined ? defaultPort : Number(match[3])
  if (host === undefined || port === undefined || port < 1 || port > 65_535 || !isHost(host)) return undefined
  return { host, port }
}

/** An IP address or a DNS name, such as can stand in a URL. Link-local IPv6 needs a zone, which cannot. */
export function isHost(text: string): boolean {
  return isIPv6(text)
    ? !text.includes('%') && !/^fe[89ab]/i.test(text)
    : text.length < 254 && /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$/.test(text)
}

/** 127.0.0.0/8, ::1 and `localhost`: addresses that mean something on this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
