import type { Balance, Cluster, Discovery, Endpoint, HealthCheck, Limits, OutlierDetection } from '../model/cluster.ts'
import { address, headerOption } from './common.ts'
import { ConfigError, type ConfigNode, ConfigReader } from './reader.ts'
import { clientTls, tlsContext } from './tls.ts'

const TYPES: Readonly<Record<string, Discovery>> = {
  STATIC: 'static',
  STRICT_DNS: 'strict-dns',
  LOGICAL_DNS: 'logical-dns',
  EDS: 'file',
  ORIGINAL_DST: 'original-destination',
}
const BALANCES: Readonly<Record<string, Balance>> = {
  ROUND_ROBIN: 'round-robin',
  LEAST_REQUEST: 'least-request',
  RANDOM: 'random',
  RING_HASH: 'ring-hash',
  CLUSTER_PROVIDED: 'round-robin',
}
const FAMILIES: Readonly<Record<string, Cluster['family']>> = {
  AUTO: 'auto',
  V4_ONLY: 'v4',
  V6_ONLY: 'v6',
  V4_PREFERRED: 'auto',
  ALL: 'all',
}

export const DEFAULT_LIMITS: Limits = { connections: 1024, pending: 1024, requests: 1024, retries: 3 }

export function cluster(node: ConfigNode): Cluster {
  const name = node.text('name', '')
  if (name === '') node.complain('lacks name')
  const discovery = node.choice('type', TYPES, 'static')
  const endpoints = [
    ...(node.get('load_assignment') ? assignment(node.need('load_assignment')) : []),
    ...node.list('hosts').map((one) => ({ ...address(one), weight: 1, priority: 0 })),
  ]
  const eds = discovery === 'file' ? edsOf(node) : {}
  const tls = tlsContext(node)
  const [check, ...more] = node.list('health_checks')
  more[0]?.unsupported('is a second health check; one is made')
  const outliers = node.get('outlier_detection')
  const protocol = protocolOf(node)
  const http = node.get('common_http_protocol_options')
  const lb = node.get('common_lb_config')
  const panic = lb?.get('healthy_panic_threshold')
  const model: Cluster = {
    name,
    discovery,
    endpoints,
    ...eds,
    balance: node.choice('lb_policy', BALANCES, 'round-robin'),
    choices: node.get('least_request_lb_config')?.number('choice_count', 2, 2) ?? 2,
    ring: ringOf(node.get('ring_hash_lb_config')),
    connectTimeout: node.duration('connect_timeout', 5000),
    protocol: protocol.http2 ?? 'http1',
    tls: tls && { ...clientTls(tls) },
    health: check && healthCheck(check),
    outliers: outliers && outlierDetection(outliers),
    limits: limitsOf(node.get('circuit_breakers')),
    dnsRefresh: node.duration('dns_refresh_rate', 5000),
    family: node.choice('dns_lookup_family', FAMILIES, 'auto'),
    panicPercent: panic ? panic.number('value', 50, 0, 100) : 50,
    idleTimeout: protocol.idleTimeout ?? http?.duration('idle_timeout', 3_600_000) ?? 3_600_000,
    closeOnFailure: node.flag('close_connections_on_host_health_failure', false),
  }
  if (discovery === 'static')
    for (const { host, path } of endpoints)
      if (path === undefined && !/^[\d.]+$|:/.test(host))
        node.complain(`is STATIC but has the name ${JSON.stringify(host)}; use STRICT_DNS or LOGICAL_DNS for names`)
  if (discovery === 'logical-dns' && endpoints.length !== 1) node.complain('is LOGICAL_DNS and must have one endpoint')
  return model
}

/** ClusterLoadAssignment. */
function assignment(node: ConfigNode): Endpoint[] {
  node.accept('cluster_name')
  return node.list('endpoints').flatMap((group) => {
    const priority = group.number('priority', 0, 0, 128)
    // Where endpoints are is only told; nothing is chosen by it here.
    group.accept('locality')
    return group.list('lb_endpoints').map((one): Endpoint => {
      const endpoint = one.need('endpoint')
      const health = endpoint.get('health_check_config')
      const status = one.choice(
        'health_status',
        { UNKNOWN: 'well', HEALTHY: 'well', UNHEALTHY: 'unhealthy', TIMEOUT: 'unhealthy', DEGRADED: 'well', DRAINING: 'draining' },
        'well',
      )
      const hostname = endpoint.text('hostname')
      const healthPort = health?.number('port_value')
      return {
        ...address(endpoint.need('address')),
        weight: one.number('load_balancing_weight', 1, 1),
        priority,
        ...(hostname && { hostname }),
        ...(healthPort && { healthPort }),
        ...(status !== 'well' && { health: status }),
      }
    })
  })
}

function edsOf(node: ConfigNode): { file?: string; serviceName?: string } {
  const config = node.need('eds_cluster_config')
  const source = config.need('eds_config')
  source.accept('resource_api_version')
  const file = source.text('path') ?? source.get('path_config_source')?.text('path')
  if (file === undefined) source.unsupported('must be a file here: path_config_source with its path')
  const serviceName = config.text('service_name')
  return { file: file ?? '', ...(serviceName && { serviceName }) }
}

/** Reads a file of endpoints: a DiscoveryResponse with one ClusterLoadAssignment for this service. Throws ConfigError. */
export function readEndpoints(text: string, file: string, serviceName: string): Endpoint[] {
  const reader = new ConfigReader(text, file)
  reader.root.accept('version_info', 'nonce', 'type_url')
  const found = reader.root.list('resources').find((one) => {
    one.accept('@type')
    return one.text('cluster_name') === serviceName
  })
  if (!found) reader.complain(['resources'], `has no ClusterLoadAssignment of ${serviceName}`)
  const endpoints = found ? assignment(found) : []
  const { problems } = reader
  if (problems.length > 0) throw new ConfigError(problems)
  return endpoints
}

function ringOf(node: ConfigNode | undefined): { minSize: number; maxSize: number } {
  node?.choice('hash_function', { XX_HASH: 'any', MURMUR_HASH_2: 'any' })
  const min = node?.number('minimum_ring_size', 1024, 1, 65_536) ?? 1024
  return { minSize: min, maxSize: Math.max(min, node?.number('maximum_ring_size', 65_536, 1, 8_388_608) ?? 65_536) }
}

function limitsOf(node: ConfigNode | undefined): Limits {
  const limits = { ...DEFAULT_LIMITS }
  for (const one of node?.list('thresholds') ?? []) {
    if (!one.choice('priority', { DEFAULT: 'default' }, 'default')) continue
    limits.connections = one.number('max_connections', limits.connections)
    limits.pending = one.number('max_pending_requests', limits.pending)
    limits.requests = one.number('max_requests', limits.requests)
    limits.retries = one.number('max_retries', limits.retries)
  }
  return limits
}

interface Protocol {
  http2?: Cluster['protocol']
  idleTimeout?: number
}

/** The protocol spoken to endpoints, in its old and its new place. */
function protocolOf(node: ConfigNode): Protocol {
  const old = node.get('http2_protocol_options')
  if (old) return { http2: 'http2' }
  const found: Protocol = {}
  for (const [name, options] of node.map('typed_extension_protocol_options')) {
    if (!name.endsWith('HttpProtocolOptions')) {
      options.unsupported('is not known here')
      continue
    }
    options.accept('@type')
    const common = options.get('common_http_protocol_options')
    const idle = common?.duration('idle_timeout')
    if (idle !== undefined) found.idleTimeout = idle
    const explicit = options.get('explicit_http_config')
    const same = options.get('use_downstream_protocol_config')
    if (explicit) {
      const http2 = explicit.get('http2_protocol_options')
      explicit.accept('http_protocol_options')
      if (http2) found.http2 = 'http2'
    } else if (same) {
      found.http2 = 'auto'
      same.accept('http_protocol_options')
      same.get('http2_protocol_options')
    }
  }
  return found
}

function healthCheck(node: ConfigNode): HealthCheck {
  const which = node.oneOf('http_health_check', 'tcp_health_check', 'grpc_health_check')
  const http = node.get('http_health_check')
  const tcp = node.get('tcp_health_check')
  const grpc = node.get('grpc_health_check')
  const statuses = http?.list('expected_statuses').map((one) => ({ from: one.number('start', 200), to: one.number('end', 201) })) ?? []
  return {
    kind: which === 'tcp_health_check' ? 'tcp' : which === 'grpc_health_check' ? 'grpc' : 'http',
    timeout: node.duration('timeout', 1000),
    interval: node.duration('interval', 5000),
    jitter: node.duration('interval_jitter', 0),
    unhealthyThreshold: node.number('unhealthy_threshold', 2, 1),
    healthyThreshold: node.number('healthy_threshold', 2, 1),
    path: http?.text('path', '/') ?? '/',
    host: http?.text('host') ?? grpc?.text('authority'),
    statuses: statuses.length > 0 ? statuses : [{ from: 200, to: 201 }],
    http2: http?.choice('codec_client_type', { HTTP1: 'no', HTTP2: 'yes' }, 'no') === 'yes',
    headers:
      http?.list('request_headers_to_add').flatMap((one) => {
        const { name, value } = headerOption(one)
        return [name, value]
      }) ?? [],
    send: tcp?.get('send')?.text('text'),
    receive: tcp?.list('receive').map((one) => one.text('text', '')) ?? [],
    grpcService: grpc?.text('service_name', '') ?? '',
    alwaysLog: node.flag('always_log_health_check_failures', false),
  }
}

function outlierDetection(node: ConfigNode): OutlierDetection {
  return {
    consecutive5xx: node.number('consecutive_5xx', 5),
    consecutiveGatewayFailure: node.number('consecutive_gateway_failure', 5),
    enforcing5xx: node.number('enforcing_consecutive_5xx', 100, 0, 100),
    enforcingGatewayFailure: node.number('enforcing_consecutive_gateway_failure', 0, 0, 100),
    consecutiveLocalFailure: node.number('consecutive_local_origin_failure', 5),
    splitLocal: node.flag('split_external_local_origin_errors', false),
    interval: node.duration('interval', 10_000),
    baseEjection: node.duration('base_ejection_time', 30_000),
    maxEjection: node.duration('max_ejection_time', 300_000),
    maxEjectionPercent: node.number('max_ejection_percent', 10, 0, 100),
    successRateMinHosts: node.number('success_rate_minimum_hosts', 5),
    successRateRequestVolume: node.number('success_rate_request_volume', 100),
    successRateStdevFactor: node.number('success_rate_stdev_factor', 1900),
    enforcingSuccessRate: node.number('enforcing_success_rate', 100, 0, 100),
  }
}
