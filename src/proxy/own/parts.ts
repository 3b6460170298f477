import type { ListenerText } from '../../resources/proxy-schema.ts'
import { DEFAULT_FORMAT } from '../http/format.ts'
import type { AccessLog, HttpHandling, Listener, ServerTls } from '../model/listener.ts'
import { NO_CHANGES } from '../model/match.ts'
import type { Route, RouteTable, VirtualHost } from '../model/route.ts'
import { ms } from './services.ts'

export function listener(
  name: string,
  host: string,
  port: number,
  handling: Listener['chains'][number]['handling'],
  tls: ServerTls | undefined,
): Listener {
  const match = {
    serverNames: [],
    transport: undefined,
    applicationProtocols: [],
    destinationPort: undefined,
    destinations: [],
    sources: [],
  }
  return {
    name,
    host,
    port,
    chains: [{ name, match, tls, access: [], handling }],
    originalDestination: false,
    detectTimeout: 15_000,
    bufferLimit: 1 << 20,
    backlog: 511,
    accessLogs: [],
  }
}

export function virtualHost(name: string, domains: readonly string[], routes: readonly Route[]): VirtualHost {
  return {
    name,
    domains,
    routes,
    requestHeaders: NO_CHANGES,
    responseHeaders: NO_CHANGES,
    requireTls: 'none',
    filters: {},
    attemptCount: false,
  }
}

export function httpHandling(text: ListenerText, name: string, hosts: VirtualHost[]): HttpHandling {
  const routes: RouteTable = { name, hosts, requestHeaders: NO_CHANGES, responseHeaders: NO_CHANGES }
  const { protocol, rateLimit } = text
  return {
    kind: 'http',
    stat: name,
    protocol: protocol === 'http1' || protocol === 'http2' ? protocol : 'auto',
    routes,
    filters: rateLimit
      ? [
          {
            kind: 'rate-limit',
            policy: {
              burst: rateLimit.burst,
              tokens: rateLimit.perSecond,
              interval: 1000,
              status: 429,
              enabledPercent: 100,
              responseHeaders: NO_CHANGES,
            },
          },
        ]
      : [],
    accessLogs: logs(text),
    upgrades: (text.upgrades ?? ['websocket']).map((one) => one.toLowerCase()),
    requestTimeout: 0,
    streamIdleTimeout: 300_000,
    idleTimeout: ms(text.idleTimeout, 3_600_000),
    maxHeaderSize: 60 * 1024,
    maxStreams: 1024,
    useRemoteAddress: text.edge ?? false,
    trustedHops: 0,
    requestId: false,
    envoyHeaders: false,
    serverName: undefined,
    via: '',
    normalizePath: true,
    mergeSlashes: false,
    stripPort: undefined,
    drainTimeout: 5000,
  }
}

export function logs({ accessLog }: ListenerText): AccessLog[] {
  if (accessLog === undefined) return []
  return [{ path: accessLog === 'stdout' ? '/dev/stdout' : accessLog, format: DEFAULT_FORMAT, filter: undefined }]
}
