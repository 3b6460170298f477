import { existsSync } from 'node:fs'
import type { ProxySpec } from '../../resources/proxy-schema.ts'
import type { Cluster } from '../model/cluster.ts'
import type { FilterChain, Listener, TcpHandling } from '../model/listener.ts'
import { NO_CHANGES } from '../model/match.ts'
import type { Route } from '../model/route.ts'
import { httpHandling, listener, virtualHost } from './parts.ts'
import { serviceCluster } from './services.ts'

/** The service of those who say themselves where they go. */
const ORIGINAL = 'original-destination'
/** Milliseconds in which a client must have shown what it speaks; a server that speaks first is waited for no longer. */
const DETECT = 1000

export function originalCluster(): Cluster {
  return { ...serviceCluster(ORIGINAL, { endpoints: [] }), discovery: 'original-destination', protocol: 'auto', outliers: undefined }
}

/** HTTP to services by name, all else where it wanted to go: TLS stays closed, other bytes are passed on. */
export function transparentListeners(
  { outbound = 15001, inbound = 15006, address = everyAddress() }: NonNullable<ProxySpec['transparent']>,
  services: readonly string[],
): Listener[] {
  return [one('outbound', address, outbound, services), one('inbound', address, inbound, [])]
}

/** Connections come over both families, for `outrider iptables` sends those of both; a kernel without IPv6 has only the older one. */
function everyAddress(): string {
  return process.platform === 'linux' && !existsSync('/proc/net/if_inet6') ? '0.0.0.0' : '::'
}

function one(name: string, address: string, port: number, services: readonly string[]): Listener {
  const hosts = services.map((service) => virtualHost(service, [service, `${service}:*`], [to(service)]))
  const http = httpHandling({ port }, name, [...hosts, virtualHost('*', ['*'], [to(ORIGINAL)])])
  const tcp: TcpHandling = {
    kind: 'tcp',
    stat: name,
    to: [{ service: ORIGINAL, weight: 1 }],
    idleTimeout: 3_600_000,
    maxConnectAttempts: 1,
    accessLogs: [],
  }
  const bytes = listener(name, address, port, tcp, undefined)
  const [chain] = bytes.chains as [FilterChain]
  const web: FilterChain = {
    ...chain,
    name: `${name}-http`,
    match: { ...chain.match, applicationProtocols: ['http/1.1', 'h2c'], transport: 'raw' },
    handling: http,
  }
  return { ...bytes, chains: [web, chain], originalDestination: true, detectTimeout: DETECT }
}

/** Requests go through as they are: nobody has asked for retries or for a limit of time. */
function to(service: string): Route {
  return {
    name: '',
    match: { path: { prefix: '' }, headers: [], query: [], methods: [] },
    action: {
      kind: 'forward',
      to: [{ service, weight: 1, requestHeaders: NO_CHANGES, responseHeaders: NO_CHANGES }],
      timeout: 0,
      retry:
        service === ORIGINAL
          ? undefined
          : {
              on: ['connect-failure', 'refused-stream', 'reset'],
              retries: 2,
              perTryTimeout: 0,
              backoff: { base: 25, max: 250 },
              statusCodes: [],
              otherEndpoint: true,
              idempotentOnly: true,
            },
      hashBy: [],
      mirrors: [],
      unknownStatus: 503,
    },
    requestHeaders: NO_CHANGES,
    responseHeaders: NO_CHANGES,
    filters: {},
  }
}
