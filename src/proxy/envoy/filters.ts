import { messageOf } from '../../errors.ts'
import { compileRange } from '../http/access.ts'
import { NO_CHANGES } from '../model/match.ts'
import type { AccessPolicy, AccessTest, CorsPolicy, FaultPolicy, RateLimit, RouteFilters } from '../model/route.ts'
import { headerMatch, headerOption, percent, range, stringMatch } from './common.ts'
import type { ConfigNode } from './reader.ts'

export function corsPolicy(node: ConfigNode): CorsPolicy | null {
  const enabled = node.get('filter_enabled')
  if (enabled && percent(enabled, 100) === 0) return null
  if (enabled && percent(enabled, 100) < 100) enabled.unsupported('must be 0 or 100 percent')
  return {
    origins: [
      ...node.list('allow_origin_string_match').map(stringMatch),
      ...node.list('allow_origin').map((one) => (one.value === '*' ? { prefix: '' } : { exact: one.asText() })),
    ],
    methods: node.text('allow_methods', ''),
    headers: node.text('allow_headers', ''),
    expose: node.text('expose_headers', ''),
    maxAge: node.text('max_age', ''),
    credentials: node.flag('allow_credentials', false),
  }
}

/** Undefined: nothing is disturbed. */
export function faultPolicy(node: ConfigNode): FaultPolicy | undefined {
  const abort = node.get('abort')
  const delay = node.get('delay')
  if (!abort && !delay) return undefined
  return {
    ...(abort && { abort: { status: abort.number('http_status', 503, 200, 599), percent: percent(abort.get('percentage'), 0) } }),
    ...(delay && { delay: { ms: delay.duration('fixed_delay', 0), percent: percent(delay.get('percentage'), 0) } }),
    headers: node.list('headers').map(headerMatch),
  }
}

/** Undefined: nothing is limited. */
export function rateLimit(node: ConfigNode): RateLimit | undefined {
  node.need('stat_prefix').asText()
  const bucket = node.get('token_bucket')
  const enabled = percent(node.get('filter_enabled'), 0)
  const enforced = percent(node.get('filter_enforced'), 0)
  const add = node.list('response_headers_to_add').map(headerOption)
  const status = node.get('status')?.choice('code', STATUS_CODES, '429') ?? '429'
  if (!bucket || enabled === 0 || enforced === 0) {
    bucket?.accept('max_tokens', 'tokens_per_fill', 'fill_interval')
    return undefined
  }
  const burst = bucket.number('max_tokens', 1, 1)
  return {
    burst,
    tokens: bucket.number('tokens_per_fill', 1, 1),
    interval: Math.max(1, bucket.duration('fill_interval', 1000)),
    status: Number(status),
    enabledPercent: (enabled * enforced) / 100,
    responseHeaders: { ...NO_CHANGES, add },
  }
}

/** https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/v3/http_status.proto */
const STATUS_CODES: Readonly<Record<string, string>> = {
  BADREQUEST: '400',
  UNAUTHORIZED: '401',
  FORBIDDEN: '403',
  NOTFOUND: '404',
  CONFLICT: '409',
  TOOMANYREQUESTS: '429',
  INTERNALSERVERERROR: '500',
  SERVICEUNAVAILABLE: '503',
  '400': '400',
  '401': '401',
  '403': '403',
  '404': '404',
  '409': '409',
  '429': '429',
  '500': '500',
  '503': '503',
}

/** RBAC of HTTP and of connections; undefined: it says nothing. */
export function accessPolicy(node: ConfigNode): AccessPolicy | undefined {
  node.accept('stat_prefix')
  const rules = node.get('rules')
  if (!rules) return undefined
  return {
    action: rules.choice('action', { ALLOW: 'allow', DENY: 'deny' }, 'allow'),
    rules: rules.map('policies').map(([name, policy]) => ({
      name,
      permissions: policy.list('permissions').map(permission),
      principals: policy.list('principals').map(principal),
    })),
  }
}

const NOBODY: AccessTest = { not: { any: true } }

function several(node: ConfigNode, which: 'and' | 'or', list: string, read: (node: ConfigNode) => AccessTest): AccessTest {
  const tests = node.list(list).map(read)
  return which === 'and' ? { all: tests } : { some: tests }
}

function permission(node: ConfigNode): AccessTest {
  const which = node.oneOf(
    'any',
    'and_rules',
    'or_rules',
    'not_rule',
    'header',
    'url_path',
    'destination_port',
    'destination_ip',
    'requested_server_name',
  )
  if (which === undefined) return NOBODY
  const inner = node.need(which)
  switch (which) {
    case 'any':
      return { any: true }
    case 'and_rules':
      return several(inner, 'and', 'rules', permission)
    case 'or_rules':
      return several(inner, 'or', 'rules', permission)
    case 'not_rule':
      return { not: permission(inner) }
    case 'header':
      return { header: headerMatch(inner) }
    case 'url_path':
      return { path: stringMatch(inner.need('path')) }
    case 'destination_port':
      return { port: node.number('destination_port', 0) }
    case 'destination_ip':
      return { destination: checked(inner) }
    default:
      return { serverName: stringMatch(inner) }
  }
}

function principal(node: ConfigNode): AccessTest {
  const which = node.oneOf(
    'any',
    'and_ids',
    'or_ids',
    'not_id',
    'authenticated',
    'source_ip',
    'direct_remote_ip',
    'remote_ip',
    'header',
    'url_path',
  )
  if (which === undefined) return NOBODY
  const inner = node.need(which)
  switch (which) {
    case 'any':
      return { any: true }
    case 'and_ids':
      return several(inner, 'and', 'ids', principal)
    case 'or_ids':
      return several(inner, 'or', 'ids', principal)
    case 'not_id':
      return { not: principal(inner) }
    case 'authenticated': {
      const name = inner.get('principal_name')
      return name ? { identity: stringMatch(name) } : { authenticated: true }
    }
    case 'direct_remote_ip':
    case 'source_ip':
      return { direct: checked(inner) }
    case 'remote_ip':
      return { source: checked(inner) }
    case 'header':
      return { header: headerMatch(inner) }
    default:
      return { path: stringMatch(inner.need('path')) }
  }
}

function checked(node: ConfigNode): string {
  const text = range(node)
  try {
    compileRange(text)
  } catch (error) {
    node.complain(messageOf(error))
    return '0.0.0.0/32'
  }
  return text
}

/** What a route or virtual host has of its own for the listener's filters, by the filter's name. */
export function routeFilters(node: ConfigNode): RouteFilters {
  const found: { -readonly [K in keyof RouteFilters]: RouteFilters[K] } = {}
  const old = node.get('cors')
  if (old) found.cors = corsPolicy(old)
  for (const [name, config] of [...node.map('typed_per_filter_config'), ...node.map('per_filter_config')]) {
    const kind = config
      .text('@type', BY_FILTER[name] ?? '')
      .split('.')
      .at(-1)
    if (kind === 'FilterConfig' && config.flag('disabled', false)) {
      const key = KEY_OF[BY_FILTER[name] ?? '']
      if (key) found[key] = null
      else config.unsupported('switches off a filter that cannot be switched off here')
    } else if (kind === 'CorsPolicy') found.cors = corsPolicy(config)
    else if (kind === 'HTTPFault') found.fault = faultPolicy(config) ?? null
    else if (kind === 'LocalRateLimit') found.rateLimit = rateLimit(config) ?? null
    else if (kind === 'RBACPerRoute') {
      const rbac = config.get('rbac')
      found.access = (rbac && accessPolicy(rbac)) ?? null
    } else config.unsupported(`is for a filter that is not known here: ${name}`)
  }
  return found
}

const BY_FILTER: Readonly<Record<string, string>> = {
  'envoy.cors': 'CorsPolicy',
  'envoy.filters.http.cors': 'CorsPolicy',
  'envoy.fault': 'HTTPFault',
  'envoy.filters.http.fault': 'HTTPFault',
  'envoy.filters.http.local_ratelimit': 'LocalRateLimit',
  'envoy.filters.http.rbac': 'RBACPerRoute',
}
const KEY_OF: Readonly<Record<string, keyof RouteFilters>> = {
  CorsPolicy: 'cors',
  HTTPFault: 'fault',
  LocalRateLimit: 'rateLimit',
  RBACPerRoute: 'access',
}
