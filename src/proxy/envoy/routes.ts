import { messageOf } from '../../errors.ts'
import type { RequestMatch } from '../model/match.ts'
import { NO_CHANGES } from '../model/match.ts'
import {
  type ForwardAction,
  type HashBy,
  RETRY_ON,
  type RedirectAction,
  type RetryPolicy,
  type Rewrite,
  type Route,
  type RouteTable,
  type VirtualHost,
  type WeightedService,
} from '../model/route.ts'
import { textOf } from '../tls.ts'
import { dataSource, headerChanges, headerMatch, percent, queryMatch, regex } from './common.ts'
import { routeFilters } from './filters.ts'
import type { ConfigNode } from './reader.ts'

/** RouteConfiguration. */
export function routeTable(node: ConfigNode): RouteTable {
  // Whether routes name clusters that exist is looked at in any case.
  node.accept('validate_clusters')
  return {
    name: node.text('name', ''),
    hosts: node.list('virtual_hosts').map(virtualHost),
    requestHeaders: headerChanges(node, 'request'),
    responseHeaders: headerChanges(node, 'response'),
  }
}

function virtualHost(node: ConfigNode): VirtualHost {
  const retry = node.get('retry_policy')
  const policy = retry && retryPolicy(retry)
  const domains = node.list('domains').map((one) => one.asText())
  if (domains.length === 0) node.complain('lacks domains')
  return {
    name: node.text('name', ''),
    domains,
    routes: node.list('routes').map((one) => route(one, policy)),
    requestHeaders: headerChanges(node, 'request'),
    responseHeaders: headerChanges(node, 'response'),
    requireTls: node.choice('require_tls', { NONE: 'none', EXTERNAL_ONLY: 'external', ALL: 'all' }, 'none'),
    filters: routeFilters(node),
    attemptCount: node.flag('include_request_attempt_count', false),
  }
}

function route(node: ConfigNode, retry: RetryPolicy | undefined): Route {
  const which = node.oneOf('route', 'redirect', 'direct_response')
  const inner = which === undefined ? undefined : node.get(which)
  const filters = routeFilters(node)
  const action: Route['action'] = !inner
    ? { kind: 'answer', status: 404, body: '' }
    : which === 'route'
      ? forward(inner, retry)
      : which === 'redirect'
        ? redirect(inner)
        : answer(inner)
  return {
    name: node.text('name', ''),
    match: routeMatch(node.need('match')),
    action,
    requestHeaders: headerChanges(node, 'request'),
    responseHeaders: headerChanges(node, 'response'),
    // The action may have `cors`, as it stood there before.
    filters: which === 'route' && inner ? { ...routeFilters(inner), ...filters } : filters,
  }
}

export function routeMatch(node: ConfigNode): RequestMatch {
  const which = node.oneOf('prefix', 'path', 'safe_regex', 'regex', 'path_separated_prefix')
  const text = (name: string) => node.text(name, '')
  const path: RequestMatch['path'] =
    which === 'path'
      ? { exact: text('path') }
      : which === 'safe_regex'
        ? { regex: regex(node.need('safe_regex')) }
        : which === 'regex'
          ? { regex: text('regex') }
          : which === 'path_separated_prefix'
            ? { pathPrefix: text('path_separated_prefix') }
            : { prefix: text('prefix') }
  const share = node.get('runtime_fraction')
  const grpc = node.get('grpc')
  return {
    path,
    ...(node.flag('case_sensitive', true) ? {} : { ignoreCase: true as const }),
    headers: node.list('headers').map(headerMatch),
    query: node.list('query_parameters').map(queryMatch),
    methods: [],
    ...(share && { percent: percent(share, 100) }),
    ...(grpc && { grpc: true as const }),
  }
}

function forward(node: ConfigNode, hostRetry: RetryPolicy | undefined): ForwardAction {
  const which = node.oneOf('cluster', 'cluster_header', 'weighted_clusters')
  const plain = { requestHeaders: NO_CHANGES, responseHeaders: NO_CHANGES }
  const to: ForwardAction['to'] =
    which === 'cluster_header'
      ? { header: node.text('cluster_header', '') }
      : which === 'weighted_clusters'
        ? weighted(node.need('weighted_clusters'))
        : [{ service: node.text('cluster', ''), weight: 1, ...plain }]
  node.choice('priority', { DEFAULT: 'default' })
  const retry = node.get('retry_policy')
  const idle = node.duration('idle_timeout')
  const mirrors = [
    ...node.list('request_mirror_policies'),
    ...(node.has('request_mirror_policy') ? [node.need('request_mirror_policy')] : []),
  ]
  const upgrades = node.has('upgrade_configs') ? upgradeNames(node) : undefined
  const host = hostRewrite(node)
  const rewrite = rewriteOf(node)
  return {
    kind: 'forward',
    to,
    timeout: node.duration('timeout', 15_000),
    ...(idle !== undefined && { idleTimeout: idle }),
    retry: retry ? retryPolicy(retry) : hostRetry,
    ...(rewrite && { rewrite }),
    ...(host && { host }),
    hashBy: node
      .list('hash_policy')
      .map(hashBy)
      .filter((one) => one !== undefined),
    mirrors: mirrors.map((one) => {
      const share = one.get('runtime_fraction')
      return { service: one.text('cluster', ''), percent: share ? percent(share, 100) : 100 }
    }),
    ...(upgrades && { upgrades }),
    unknownStatus: Number(
      node.choice('cluster_not_found_response_code', { SERVICE_UNAVAILABLE: '503', NOT_FOUND: '404', INTERNAL_SERVER_ERROR: '500' }, '503'),
    ),
  }
}

function weighted(node: ConfigNode): WeightedService[] {
  // Shares follow from the weights alone.
  node.accept('total_weight')
  return node.list('clusters').map((one) => ({
    service: one.text('name', ''),
    weight: one.number('weight', 0),
    requestHeaders: headerChanges(one, 'request'),
    responseHeaders: headerChanges(one, 'response'),
  }))
}

export function upgradeNames(node: ConfigNode): string[] {
  return node.list('upgrade_configs').flatMap((one) => {
    const type = one.text('upgrade_type', '').toLowerCase()
    if (type === 'connect') one.unsupported('is CONNECT, which is not spoken here')
    return one.flag('enabled', true) ? [type] : []
  })
}

function rewriteOf(node: ConfigNode): Rewrite | undefined {
  if (node.has('prefix_rewrite')) return { prefix: node.text('prefix_rewrite', '') }
  const pattern = node.get('regex_rewrite')
  return pattern && { regex: regex(pattern.need('pattern')), by: pattern.text('substitution', '') }
}

function hostRewrite(node: ConfigNode): ForwardAction['host'] {
  const literal = node.text('host_rewrite_literal') ?? node.text('host_rewrite')
  if (literal !== undefined) return { host: literal }
  if (node.flag('auto_host_rewrite', false)) return { auto: true }
  const header = node.text('host_rewrite_header') ?? node.text('auto_host_rewrite_header')
  if (header !== undefined) return { header }
  const path = node.get('host_rewrite_path_regex')
  return path && { pathRegex: regex(path.need('pattern')), by: path.text('substitution', '') }
}

export function retryPolicy(node: ConfigNode): RetryPolicy {
  const on = node
    .text('retry_on', '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  for (const word of on)
    if (!RETRY_ON.includes(word)) node.get('retry_on')?.unsupported(`names ${JSON.stringify(word)}; known here: ${RETRY_ON.join(', ')}`)
  const backoff = node.get('retry_back_off')
  const base = backoff?.duration('base_interval', 25) ?? 25
  let otherEndpoint = false
  for (const one of node.list('retry_host_predicate')) {
    const name = one.text('name', '')
    one.get('typed_config')?.accept('@type')
    if (/previous_hosts$/.test(name)) otherEndpoint = true
    else one.unsupported(`is ${name}; envoy.retry_host_predicates.previous_hosts is known here`)
  }
  // How often another endpoint is looked for is bounded here anyway.
  node.accept('host_selection_retry_max_attempts')
  return {
    on,
    retries: node.number('num_retries', node.number('max_retries', 1)),
    perTryTimeout: node.duration('per_try_timeout', 0),
    backoff: { base, max: backoff?.duration('max_interval', base * 10) ?? base * 10 },
    statusCodes: node.list('retriable_status_codes').map((one) => Number(one.value)),
    otherEndpoint,
    idempotentOnly: false,
  }
}

function hashBy(node: ConfigNode): HashBy | undefined {
  const which = node.oneOf('header', 'cookie', 'connection_properties', 'query_parameter')
  const terminal = node.flag('terminal', false)
  if (which === undefined) return undefined
  const inner = node.need(which)
  if (which === 'header') return { header: inner.text('header_name', ''), terminal }
  if (which === 'query_parameter') return { query: inner.text('name', ''), terminal }
  if (which === 'connection_properties') {
    if (!inner.flag('source_ip', false)) inner.complain('must have source_ip: true')
    return { sourceIp: true, terminal }
  }
  return { cookie: inner.text('name', ''), terminal }
}

function redirect(node: ConfigNode): RedirectAction {
  const scheme = node.flag('https_redirect', false) ? 'https' : node.text('scheme_redirect')
  const host = node.text('host_redirect')
  const port = node.number('port_redirect')
  const path = node.text('path_redirect')
  const rewrite = rewriteOf(node)
  const status = node.choice(
    'response_code',
    { MOVED_PERMANENTLY: '301', FOUND: '302', SEE_OTHER: '303', TEMPORARY_REDIRECT: '307', PERMANENT_REDIRECT: '308' },
    '301',
  )
  return {
    kind: 'redirect',
    status: Number(status),
    ...(scheme && { scheme }),
    ...(host && { host }),
    ...(port && { port }),
    ...(path && { path }),
    ...(rewrite && { rewrite }),
    stripQuery: node.flag('strip_query', false),
  }
}

function answer(node: ConfigNode): Route['action'] {
  const body = node.get('body')
  let text = ''
  try {
    if (body) text = textOf(dataSource(body))
  } catch (error) {
    body?.complain(`cannot be read: ${messageOf(error)}`)
  }
  return { kind: 'answer', status: node.number('status', 200, 200, 599), body: text }
}
