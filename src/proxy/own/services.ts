import { isIP } from 'node:net'
import { parseDuration } from '../../components/metadata.ts'
import type { ServiceText } from '../../resources/proxy-schema.ts'
import type { Cluster, Endpoint, HealthCheck, OutlierDetection } from '../model/cluster.ts'
import { type ClientTls, DEFAULT_VERSIONS } from '../model/tls.ts'

/** Milliseconds of a duration that fits the schema. */
export function ms(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : text === '0' ? 0 : (parseDuration(text) as number)
}

export function serviceCluster(name: string, text: ServiceText): Cluster {
  const endpoints = (text.endpoints ?? []).map(endpointOf)
  const fixed = endpoints.every(({ host }) => isIP(host) !== 0)
  const { limits = {} } = text
  return {
    name,
    discovery: text.app !== undefined ? 'sidecar' : text.file !== undefined ? 'file' : fixed ? 'static' : 'strict-dns',
    endpoints,
    ...(text.file !== undefined && { file: text.file }),
    ...(text.app !== undefined && { serviceName: text.app }),
    balance: text.balance ?? 'least-request',
    choices: 2,
    ring: { minSize: 1024, maxSize: 65_536 },
    connectTimeout: ms(text.connectTimeout, 5000),
    protocol: text.protocol ?? 'http1',
    tls: text.tls && clientTls(text.tls),
    health: text.health && healthOf(text.health),
    // The sidecar puts those of an app aside that fail; it is no endpoint to put aside itself.
    outliers: text.app !== undefined || text.outliers?.failures === 0 ? undefined : outliersOf(text.outliers ?? {}),
    // An endpoint that dies fails all that it had under way at once: three second attempts, as Envoy allows, are soon not enough.
    limits: { connections: 1024, pending: 1024, requests: 1024, retries: 1024, ...limits },
    dnsRefresh: 5000,
    family: 'auto',
    panicPercent: 50,
    idleTimeout: 3_600_000,
    closeOnFailure: false,
  }
}

function endpointOf(text: string): Endpoint {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)), weight: 1, priority: 0 }
}

/** Who speaks TLS looks at the certificate, unless told not to. */
function clientTls({ name, ca, certificate, key, insecure = false }: NonNullable<ServiceText['tls']>): ClientTls {
  return {
    certificate: certificate !== undefined && key !== undefined ? { chain: { file: certificate }, key: { file: key } } : undefined,
    sni: name ?? '',
    autoSni: false,
    checkName: !insecure,
    validation: insecure
      ? undefined
      : { ca: ca === undefined ? undefined : { file: ca }, systemCa: ca === undefined, names: [], hashes: [], acceptUntrusted: false },
    alpn: [],
    versions: DEFAULT_VERSIONS,
    ciphers: [],
  }
}

function healthOf(text: NonNullable<ServiceText['health']>): HealthCheck {
  return {
    kind: text.kind ?? 'http',
    timeout: ms(text.timeout, 1000),
    interval: ms(text.interval, 5000),
    jitter: 0,
    unhealthyThreshold: text.unhealthy ?? 2,
    healthyThreshold: text.healthy ?? 2,
    path: text.path ?? '/',
    host: undefined,
    statuses: [{ from: 200, to: 300 }],
    http2: false,
    headers: [],
    send: undefined,
    receive: [],
    grpcService: '',
    alwaysLog: false,
  }
}

function outliersOf({ failures = 5, time, percent = 50 }: NonNullable<ServiceText['outliers']>): OutlierDetection {
  return {
    consecutive5xx: failures,
    consecutiveGatewayFailure: 0,
    enforcing5xx: 100,
    enforcingGatewayFailure: 0,
    consecutiveLocalFailure: 0,
    splitLocal: false,
    interval: 1000,
    baseEjection: ms(time, 30_000),
    maxEjection: 300_000,
    maxEjectionPercent: percent,
    successRateMinHosts: 5,
    successRateRequestVolume: 100,
    successRateStdevFactor: 1900,
    enforcingSuccessRate: 0,
  }
}
