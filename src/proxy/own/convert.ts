import type { HeadersText, ListenerText, ProxySpec, RouteText, ServiceText } from '../../resources/proxy-schema.ts'
import type { Cluster } from '../model/cluster.ts'
import type { HttpHandling, Listener } from '../model/listener.ts'
import type { HeaderChanges } from '../model/match.ts'
import type { ProxyModel } from '../model/model.ts'
import type { Route, VirtualHost } from '../model/route.ts'
import { compileProxy } from './compile.ts'

export interface Converted {
  spec: ProxySpec
  /** What the spec does not say as the model has it, by its place: `changed` works otherwise in a detail, `lost` is not there. */
  changed: readonly string[]
  lost: readonly string[]
}

/** Details in which our own kind has ways of its own; a difference in anything else is a loss. */
const DETAILS =
  /\.(name|stat|id|cluster|backlog|bufferLimit|detectTimeout|envoyHeaders|serverName|requestId|normalizePath|mergeSlashes|streamIdleTimeout|maxHeaderSize|maxStreams|drainTimeout|family|dnsRefresh|panicPercent|backoff\.\w+|otherEndpoint|idempotentOnly|interval|maxEjection|jitter|statuses\[0\]\.to|consecutiveGatewayFailure|consecutiveLocalFailure|enforcing\w+|successRate\w+|choices|maxEjectionPercent|outliers|alwaysLog|maxConnectAttempts|discovery|accessLogs\[\d+\]\.format|alpn|filters\[\d+\]\.kind)$/

/** Says what a model does in our own words, compiles that again, and tells every difference. */
export function convert(model: ProxyModel): Converted {
  const services: Record<string, ServiceText> = {}
  for (const cluster of model.clusters) services[cluster.name] = serviceText(cluster)
  const spec: ProxySpec = {
    listeners: model.listeners.map(listenerText),
    ...(model.clusters.length > 0 && { services }),
    ...(model.admin && { admin: model.admin.port }),
  }
  const changed: string[] = []
  const lost: string[] = []
  differences(withoutIdle(model), compileProxy(spec), '', (path, was, is) => {
    const list = DETAILS.test(path) ? changed : lost
    list.push(`${path}: ${short(was)}, becomes ${short(is)}`)
  })
  return { spec, changed, lost }
}

/** Filters that no route has anything to say to do nothing. */
function withoutIdle(model: ProxyModel): ProxyModel {
  const idle = ({ routes }: HttpHandling) =>
    !routes.hosts.some((host) => host.filters.cors || host.routes.some(({ filters }) => filters.cors))
  const listeners = model.listeners.map((listener) => ({
    ...listener,
    chains: listener.chains.map((chain) => {
      const { handling } = chain
      if (handling.kind !== 'http' || !idle(handling)) return chain
      return { ...chain, handling: { ...handling, filters: handling.filters.filter(({ kind }) => kind !== 'cors') } }
    }),
  }))
  return { ...model, listeners }
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 77)}…` : text
}

function differences(was: unknown, is: unknown, path: string, tell: (path: string, was: unknown, is: unknown) => void): void {
  if (Object.is(was, is)) return
  if (typeof was !== 'object' || typeof is !== 'object' || was === null || is === null || Array.isArray(was) !== Array.isArray(is))
    return tell(path, was, is)
  for (const name of new Set([...Object.keys(was), ...Object.keys(is)]))
    differences(
      (was as Record<string, unknown>)[name],
      (is as Record<string, unknown>)[name],
      Array.isArray(was) ? `${path}[${name}]` : `${path}.${name}`,
      tell,
    )
}

const time = (ms: number) => (ms === 0 ? '0' : ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`)

function serviceText({
  discovery,
  endpoints,
  file,
  balance,
  protocol,
  tls,
  connectTimeout,
  health,
  outliers,
  limits,
}: Cluster): ServiceText {
  const fewer = Object.fromEntries(
    Object.entries(limits).filter(([name, value]) => value !== { connections: 1024, pending: 1024, requests: 1024, retries: 1024 }[name]),
  )
  const ca = tls?.validation?.ca
  return {
    ...(discovery === 'file'
      ? { file: file ?? '' }
      : { endpoints: endpoints.map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)) }),
    ...(balance !== 'least-request' && { balance }),
    ...(protocol !== 'http1' && { protocol }),
    ...(tls && {
      tls: {
        ...(tls.sni !== '' && { name: tls.sni }),
        ...(ca && 'file' in ca && { ca: ca.file }),
        ...(!tls.validation && { insecure: true }),
        ...(tls.certificate && 'file' in tls.certificate.chain && { certificate: tls.certificate.chain.file }),
        ...(tls.certificate && 'file' in tls.certificate.key && { key: tls.certificate.key.file }),
      },
    }),
    ...(connectTimeout !== 5000 && { connectTimeout: time(connectTimeout) }),
    ...(health && {
      health: {
        ...(health.kind === 'http' ? { path: health.path } : { kind: health.kind }),
        ...(health.interval !== 5000 && { interval: time(health.interval) }),
        ...(health.timeout !== 1000 && { timeout: time(health.timeout) }),
        ...(health.unhealthyThreshold !== 2 && { unhealthy: health.unhealthyThreshold }),
        ...(health.healthyThreshold !== 2 && { healthy: health.healthyThreshold }),
      },
    }),
    ...(outliers
      ? {
          outliers: {
            ...(outliers.consecutive5xx !== 5 && { failures: outliers.consecutive5xx }),
            ...(outliers.baseEjection !== 30_000 && { time: time(outliers.baseEjection) }),
            percent: outliers.maxEjectionPercent,
          },
        }
      : { outliers: { failures: 0 } }),
    ...(Object.keys(fewer).length > 0 && { limits: fewer }),
  }
}

function listenerText({ name, host, port, chains }: Listener): ListenerText {
  const [chain] = chains
  const handling = chain?.handling
  const tls = chain?.tls
  const certificate = tls?.certificates[0]
  const text: ListenerText = { name, ...(host !== '127.0.0.1' && { address: host }), port }
  if (certificate && 'file' in certificate.chain && 'file' in certificate.key) {
    const ca = tls.validation?.ca
    text.tls = {
      certificate: certificate.chain.file,
      key: certificate.key.file,
      ...(ca && 'file' in ca && { clientCA: ca.file }),
      ...(tls.validation && tls.validation.names.length > 0 && { clientNames: tls.validation.names.map(({ exact = '' }) => exact) }),
    }
  }
  if (handling?.kind === 'tcp') return { ...text, protocol: 'tcp', to: handling.to[0]?.service ?? '' }
  return handling ? { ...text, ...httpText(handling) } : text
}

function httpText(handling: HttpHandling): Partial<ListenerText> {
  const { protocol, upgrades, idleTimeout, useRemoteAddress, accessLogs, filters } = handling
  const limit = filters.find((one) => one.kind === 'rate-limit')?.policy
  return {
    ...(protocol !== 'auto' && { protocol }),
    ...(upgrades.join() !== 'websocket' && { upgrades: [...upgrades] }),
    ...(idleTimeout !== 3_600_000 && { idleTimeout: time(idleTimeout) }),
    ...(useRemoteAddress && { edge: true }),
    ...(accessLogs[0] && { accessLog: accessLogs[0].path === '/dev/stdout' ? 'stdout' : accessLogs[0].path }),
    ...(limit && { rateLimit: { burst: limit.burst, perSecond: Math.round((limit.tokens * 1000) / limit.interval) } }),
    routes: handling.routes.hosts.flatMap((host) =>
      host.domains.flatMap((domain) => host.routes.map((route) => routeText(route, host, domain, handling))),
    ),
  }
}

function routeText(
  { match, action, requestHeaders, responseHeaders }: Route,
  host: VirtualHost,
  domain: string,
  { routes }: HttpHandling,
): RouteText {
  const { path } = match
  const exact = (fields: Route['match']['headers']) => Object.fromEntries(fields.map(({ name, exact: value = '' }) => [name, value]))
  const request = headersText(requestHeaders, host.requestHeaders, routes.requestHeaders)
  const response = headersText(responseHeaders, host.responseHeaders, routes.responseHeaders)
  return {
    ...(domain !== '*' && { host: domain }),
    ...('exact' in path
      ? { path: path.exact }
      : 'regex' in path
        ? { regex: path.regex }
        : 'prefix' in path && path.prefix !== '/'
          ? { prefix: path.prefix }
          : {}),
    ...(match.headers.length > 0 && { headers: exact(match.headers) }),
    ...(match.query.length > 0 && { query: exact(match.query) }),
    ...actionText(action),
    ...(request && { requestHeaders: request }),
    ...(response && { responseHeaders: response }),
  }
}

function headersText(...all: readonly HeaderChanges[]): HeadersText | undefined {
  const add = all.flatMap((one) => one.add)
  const remove = all.flatMap((one) => one.remove)
  if (add.length === 0 && remove.length === 0) return undefined
  const of = (how: string) => Object.fromEntries(add.filter((one) => one.how === how).map(({ name, value }) => [name, value]))
  const set = of('overwrite')
  const more = of('append')
  return {
    ...(Object.keys(set).length > 0 && { set }),
    ...(Object.keys(more).length > 0 && { add: more }),
    ...(remove.length > 0 && { remove: [...remove] }),
  }
}

function actionText(action: Route['action']): Partial<RouteText> {
  if (action.kind === 'answer')
    return { answer: { ...(action.status !== 200 && { status: action.status }), ...(action.body !== '' && { body: action.body }) } }
  if (action.kind === 'redirect') {
    const { status, scheme, host, path } = action
    return { redirect: { ...(status !== 301 && { status }), ...(scheme && { scheme }), ...(host && { host }), ...(path && { path }) } }
  }
  const { to, timeout, retry, rewrite, host, hashBy, mirrors } = action
  const targets = 'header' in to ? [] : to
  const [by] = hashBy
  return {
    ...(targets.length === 1
      ? { to: targets[0]?.service ?? '' }
      : { split: Object.fromEntries(targets.map(({ service, weight }) => [service, weight])) }),
    ...(timeout !== 15_000 && { timeout: time(timeout) }),
    retries: retry
      ? {
          attempts: retry.retries,
          on: [...retry.on],
          ...(retry.perTryTimeout > 0 && { tryTimeout: time(retry.perTryTimeout) }),
          ...(!retry.idempotentOnly && { any: true }),
        }
      : { attempts: 0 },
    ...(rewrite && 'prefix' in rewrite && { rewrite: rewrite.prefix }),
    ...(host && 'host' in host && { rewriteHost: host.host }),
    ...(host && 'auto' in host && { rewriteHost: 'auto' }),
    ...(by && 'header' in by && { hashHeader: by.header }),
    ...(mirrors[0] && { mirror: mirrors[0].service }),
  }
}
