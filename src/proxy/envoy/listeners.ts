import { messageOf } from '../../errors.ts'
import { compileFormat, compileJson, DEFAULT_FORMAT } from '../http/format.ts'
import type { AccessLog, ChainMatch, FilterChain, HttpFilter, HttpHandling, Listener, TcpHandling } from '../model/listener.ts'
import { textOf } from '../tls.ts'
import { address, dataSource, type Extension, extension, headerMatch, percent, range } from './common.ts'
import { accessPolicy, faultPolicy, rateLimit } from './filters.ts'
import type { ConfigNode } from './reader.ts'
import { routeTable, upgradeNames } from './routes.ts'
import { serverTls, tlsContext } from './tls.ts'

export function listener(node: ConfigNode, index: number): Listener {
  const name = node.text('name', `listener_${index}`)
  let originalDestination = node.flag('use_original_dst', false)
  for (const one of node.list('listener_filters')) {
    const { kind, name: filter } = extension(one)
    if (kind === 'OriginalDst') originalDestination = true
    // What a client speaks and whom it asks for is looked at wherever something depends on it.
    else if (kind !== 'TlsInspector' && kind !== 'HttpInspector') one.unsupported(`is ${filter}, which is not known here`)
  }
  const chains = node.list('filter_chains').map((one, at) => chain(one, `${name}_${at}`))
  const fallback = node.get('default_filter_chain')
  if (fallback) chains.push(chain(fallback, `${name}_default`))
  if (chains.length === 0) node.complain('has no filter chain')
  return {
    name,
    ...address(node.need('address')),
    chains,
    originalDestination,
    detectTimeout: node.duration('listener_filters_timeout', 15_000),
    bufferLimit: node.number('per_connection_buffer_limit_bytes', 1 << 20),
    backlog: node.number('tcp_backlog_size', 511, 1),
    accessLogs: [],
  }
}

function chain(node: ConfigNode, name: string): FilterChain {
  const match = node.get('filter_chain_match')
  const tls = tlsContext(node)
  const access: FilterChain['access'][number][] = []
  let handling: HttpHandling | TcpHandling | undefined
  for (const one of node.list('filters')) {
    const found = extension(one)
    if (found.kind === 'RBAC' && found.config) {
      const policy = accessPolicy(found.config)
      if (policy) access.push(policy)
    } else if (found.kind === 'HttpConnectionManager' && found.config) handling = httpHandling(found.config)
    else if (found.kind === 'TcpProxy' && found.config) handling = tcpHandling(found.config)
    else one.unsupported(`is ${found.name}; known here: the HTTP connection manager, the TCP proxy, RBAC`)
  }
  if (!handling) node.complain('has neither an HTTP connection manager nor a TCP proxy')
  return {
    name: node.text('name', name),
    match: chainMatch(match),
    tls: tls && serverTls(tls),
    access,
    handling: handling ?? { kind: 'tcp', stat: '', to: [], idleTimeout: 0, maxConnectAttempts: 1, accessLogs: [] },
  }
}

function chainMatch(node: ConfigNode | undefined): ChainMatch {
  const transport = node?.text('transport_protocol')
  return {
    serverNames: node?.list('server_names').map((one) => one.asText()) ?? [],
    transport: transport === 'tls' ? 'tls' : transport === 'raw_buffer' ? 'raw' : undefined,
    applicationProtocols: node?.list('application_protocols').map((one) => one.asText()) ?? [],
    destinationPort: node?.number('destination_port'),
    destinations: node?.list('prefix_ranges').map(range) ?? [],
    sources: node?.list('source_prefix_ranges').map(range) ?? [],
  }
}

function httpHandling(node: ConfigNode): HttpHandling {
  const common = node.get('common_http_protocol_options')
  const http2 = node.get('http2_protocol_options')
  // HTTP/1.0 is always answered.
  node.get('http_protocol_options')?.accept('accept_http_10')
  const filters: HttpFilter[] = []
  let envoyHeaders = true
  let router = false
  for (const one of node.list('http_filters')) {
    const found = extension(one)
    if (router) one.complain('comes after the router, which must be last')
    if (found.kind === 'Router') {
      router = true
      // Figures of single endpoints are kept in any case.
      found.config?.accept('dynamic_stats')
      envoyHeaders = !found.config?.flag('suppress_envoy_headers', false)
      continue
    }
    const filter = httpFilter(found)
    if (filter) filters.push(filter)
    else if (!one.flag('is_optional', false))
      one.unsupported(`is ${found.name}; known here: router, cors, fault, rbac, local_ratelimit, health_check, buffer`)
  }
  if (!router) node.complain('has no router as the last of its http_filters')
  const keep = node.choice('server_header_transformation', { OVERWRITE: 'own', PASS_THROUGH: 'theirs' }, 'own')
  const serverName = node.text('server_name', 'envoy')
  // A request's id is kept, whoever gave it.
  if (node.has('preserve_external_request_id') && !node.flag('preserve_external_request_id', true))
    node.unsupported('must preserve_external_request_id')
  return {
    kind: 'http',
    stat: node.text('stat_prefix', 'http'),
    protocol: node.choice('codec_type', { AUTO: 'auto', HTTP1: 'http1', HTTP2: 'http2' }, 'auto'),
    routes: routeTable(node.need('route_config')),
    filters,
    accessLogs: accessLogs(node),
    upgrades: upgradeNames(node),
    requestTimeout: node.duration('request_timeout', 0),
    streamIdleTimeout: node.duration('stream_idle_timeout', 300_000),
    idleTimeout: common?.duration('idle_timeout') ?? node.duration('idle_timeout', 3_600_000),
    maxHeaderSize: node.number('max_request_headers_kb', 60, 1, 8192) * 1024,
    maxStreams: http2?.number('max_concurrent_streams', 1024, 1) ?? 1024,
    useRemoteAddress: node.flag('use_remote_address', false),
    trustedHops: node.number('xff_num_trusted_hops', 0),
    requestId: node.flag('generate_request_id', true),
    envoyHeaders,
    serverName: keep === 'own' ? serverName : undefined,
    via: node.text('via', ''),
    normalizePath: node.flag('normalize_path', false),
    mergeSlashes: node.flag('merge_slashes', false),
    stripPort: node.flag('strip_any_host_port', false) ? 'any' : node.flag('strip_matching_host_port', false) ? 'matching' : undefined,
    drainTimeout: node.duration('drain_timeout', 5000),
  }
}

/** Undefined: there is no such filter here. */
function httpFilter({ kind, config }: Extension): HttpFilter | undefined {
  switch (kind) {
    case 'Cors':
      return { kind: 'cors' }
    case 'HTTPFault':
      return { kind: 'fault', policy: config && faultPolicy(config) }
    case 'RBAC':
      return { kind: 'access', policy: config && accessPolicy(config) }
    case 'LocalRateLimit':
      return { kind: 'rate-limit', policy: config && rateLimit(config) }
    case 'HealthCheck':
      if (config?.flag('pass_through_mode', false)) config.unsupported('must not have pass_through_mode: true')
      return { kind: 'health', headers: config?.list('headers').map(headerMatch) ?? [], passThrough: false }
    case 'Buffer':
      return { kind: 'buffer', maxBytes: config?.number('max_request_bytes', 1 << 20, 1) ?? 1 << 20 }
    default:
      return undefined
  }
}

function tcpHandling(node: ConfigNode): TcpHandling {
  const which = node.oneOf('cluster', 'weighted_clusters')
  return {
    kind: 'tcp',
    stat: node.text('stat_prefix', 'tcp'),
    to:
      which === 'weighted_clusters'
        ? node
            .need('weighted_clusters')
            .list('clusters')
            .map((one) => ({ service: one.text('name', ''), weight: one.number('weight', 0) }))
        : [{ service: node.text('cluster', ''), weight: 1 }],
    idleTimeout: node.duration('idle_timeout', 3_600_000),
    maxConnectAttempts: node.number('max_connect_attempts', 1, 1),
    accessLogs: accessLogs(node),
  }
}

export function accessLogs(node: ConfigNode): AccessLog[] {
  return node.list('access_log').flatMap((one) => {
    const { kind, name, config } = extension(one)
    const path =
      kind === 'StdoutAccessLog'
        ? '/dev/stdout'
        : kind === 'StderrAccessLog'
          ? '/dev/stderr'
          : kind === 'FileAccessLog'
            ? config?.text('path', '')
            : undefined
    if (path === undefined) {
      one.unsupported(`is ${name}; known here: file, stdout, stderr`)
      return []
    }
    const filter = one.get('filter')
    return [{ path, format: config ? formatOf(config) : DEFAULT_FORMAT, filter: filter && logFilter(filter) }]
  })
}

function formatOf(node: ConfigNode): AccessLog['format'] {
  const inner = node.get('log_format') ?? node
  const source = inner.get('text_format_source')
  const found = inner.get('text_format') ?? inner.get('format') ?? inner.get('json_format') ?? inner.get('typed_json_format')
  let format: AccessLog['format'] = DEFAULT_FORMAT
  try {
    if (source) format = textOf(dataSource(source))
    else if (found) format = typeof found.value === 'string' ? found.value : (found.raw() as Record<string, unknown>)
    if (typeof format === 'string') compileFormat(format)
    else compileJson(format)
  } catch (error) {
    ;(source ?? found ?? inner).unsupported(`cannot be used: ${messageOf(error)}`)
    return DEFAULT_FORMAT
  }
  return format
}

function logFilter(node: ConfigNode): AccessLog['filter'] {
  const comparison = (name: string) => {
    const inner = node.get(name)?.need('comparison')
    if (!inner) return undefined
    inner.choice('op', { GE: 'ge' }, 'ge')
    const value = inner.need('value')
    value.accept('runtime_key')
    return value.number('default_value', 0)
  }
  const statusFrom = comparison('status_code_filter')
  const durationFrom = comparison('duration_filter')
  const runtime = node.get('runtime_filter')
  runtime?.accept('runtime_key')
  const notHealthCheck = node.get('not_health_check_filter')
  return {
    ...(statusFrom !== undefined && { statusFrom }),
    ...(durationFrom !== undefined && { durationFrom }),
    ...(runtime && { percent: percent(runtime.get('percent_sampled'), 0) }),
    ...(notHealthCheck && { notHealthCheck: true as const }),
  }
}
