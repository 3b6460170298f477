import type { HeadersText, ListenerText, ProxySpec, RetriesText, RouteText } from '../../resources/proxy-schema.ts'
import type { Listener, ServerTls } from '../model/listener.ts'
import { type HeaderChanges, NO_CHANGES, type RequestMatch } from '../model/match.ts'
import type { ProxyModel } from '../model/model.ts'
import type { ForwardAction, RetryPolicy, Route } from '../model/route.ts'
import { DEFAULT_VERSIONS } from '../model/tls.ts'
import { httpHandling, listener, logs, virtualHost } from './parts.ts'
import { ms, serviceCluster } from './services.ts'
import { originalCluster, transparentListeners } from './transparent.ts'

const LOOPBACK = '127.0.0.1'
/** Prefix of the explicit form: /proxy/<service>/<path>. */
const EXPLICIT = '/proxy/'
/** Name of the listener with Prana's API; its own paths are answered by `prana.ts`. */
export const PRANA = 'prana'

/** What a Proxy of our own says, as a model. The spec fits its schema and its check. */
export function compileProxy(spec: ProxySpec): ProxyModel {
  const { listeners = [], services = {}, explicit, ambassador, prana, transparent, admin } = spec
  const all: Listener[] = listeners.map((one, index) => listenerOf(one, one.name ?? `listener-${index}`))
  if (explicit !== undefined) all.push(plain('explicit', explicit, explicitRoutes(Object.keys(services))))
  if (prana) all.push(plain(PRANA, prana.port ?? 8078, explicitRoutes(Object.keys(services))))
  if (ambassador) {
    const { port = 3000, rootUri, routes = {}, tcp = {} } = ambassador
    const prefixes = Object.entries(routes).sort(([a], [b]) => b.length - a.length)
    const texts: RouteText[] = prefixes.map(([prefix, to]) => ({ prefix, to, rewrite: '/' }))
    if (rootUri !== undefined) texts.push({ to: rootUri })
    if (texts.length > 0)
      all.push(
        plain(
          'ambassador',
          port,
          texts.map((text) => (text.rewrite ? underPrefix(text) : routeOf(text))),
        ),
      )
    for (const [at, to] of Object.entries(tcp)) all.push(listenerOf({ port: Number(at), protocol: 'tcp', to }, `ambassador-${at}`))
  }
  const clusters = Object.entries(services).map(([name, text]) => serviceCluster(name, text))
  if (transparent) {
    all.push(...transparentListeners(transparent, Object.keys(services)))
    clusters.push(originalCluster())
  }
  return {
    listeners: all,
    clusters,
    admin: admin === undefined ? undefined : { host: LOOPBACK, port: admin },
    node: { id: '', cluster: '' },
  }
}

/** The prefix is taken off at a border of the path: /users and /users/1 belong to /users, /usersx does not. */
function underPrefix(text: RouteText): Route {
  const prefix = (text.prefix ?? '/').replace(/\/+$/, '')
  const route = routeOf(text)
  const { action } = route
  const escaped = prefix.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return {
    ...route,
    match: { ...route.match, path: prefix === '' ? { prefix: '/' } : { pathPrefix: prefix } },
    action: action.kind === 'forward' ? { ...action, rewrite: { regex: `^${escaped}/?`, by: '/' } } : action,
  }
}

export function explicitRoutes(services: readonly string[]): Route[] {
  return services.map((name) => underPrefix({ prefix: EXPLICIT + encodeURIComponent(name), to: name, rewrite: '/' }))
}

export function plain(name: string, port: number, routes: readonly Route[]): Listener {
  return listener(name, LOOPBACK, port, httpHandling({ port }, name, [virtualHost('all', ['*'], routes)]), undefined)
}

function listenerOf(text: ListenerText, name: string): Listener {
  const { address = LOOPBACK, port, protocol, to, routes = [], tls } = text
  const server: ServerTls | undefined = tls && {
    certificates: [{ chain: { file: tls.certificate }, key: { file: tls.key } }],
    requireClientCertificate: tls.clientCA !== undefined,
    validation:
      tls.clientCA === undefined
        ? undefined
        : {
            ca: { file: tls.clientCA },
            systemCa: false,
            names: (tls.clientNames ?? []).map((exact) => ({ exact })),
            hashes: [],
            acceptUntrusted: false,
          },
    alpn: protocol === 'tcp' ? [] : protocol === 'http1' ? ['http/1.1'] : protocol === 'http2' ? ['h2'] : ['h2', 'http/1.1'],
    versions: DEFAULT_VERSIONS,
    ciphers: [],
  }
  if (protocol === 'tcp') {
    const handling = {
      kind: 'tcp' as const,
      stat: name,
      to: [{ service: to ?? '', weight: 1 }],
      idleTimeout: ms(text.idleTimeout, 3_600_000),
      maxConnectAttempts: 3,
      accessLogs: logs(text),
    }
    return listener(name, address, port, handling, server)
  }
  const all = to === undefined ? routes : [...routes, { to }]
  const byHost = Map.groupBy(all, ({ host = '*' }) => host)
  // A route without a host is there for those of every host, after their own.
  const anywhere = byHost.get('*') ?? []
  const hosts = [...byHost].map(([host, own]) => virtualHost(host, [host], (host === '*' ? own : [...own, ...anywhere]).map(routeOf)))
  return listener(name, address, port, httpHandling(text, name, hosts), server)
}

export function routeOf(text: RouteText): Route {
  return {
    name: '',
    match: matchOf(text),
    action: actionOf(text),
    requestHeaders: changes(text.requestHeaders),
    responseHeaders: changes(text.responseHeaders),
    filters: {},
  }
}

function matchOf({ path, prefix = '/', regex, methods = [], headers = {}, query = {} }: RouteText): RequestMatch {
  const fields = (from: Record<string, string>) => Object.entries(from).map(([name, exact]) => ({ name, exact }))
  return {
    path: path !== undefined ? { exact: path } : regex !== undefined ? { regex } : { prefix },
    headers: fields(headers),
    query: fields(query),
    methods,
  }
}

function actionOf(text: RouteText): Route['action'] {
  const { to, split, redirect, answer, rewrite, rewriteHost, hashHeader, mirror } = text
  if (answer) return { kind: 'answer', status: answer.status ?? 200, body: answer.body ?? '' }
  if (redirect) {
    const { status = 301, scheme, host, path } = redirect
    return { kind: 'redirect', status, ...(scheme && { scheme }), ...(host && { host }), ...(path && { path }), stripQuery: false }
  }
  const shares = split ?? { [to ?? '']: 1 }
  const forward: ForwardAction = {
    kind: 'forward',
    to: Object.entries(shares).map(([service, weight]) => ({ service, weight, requestHeaders: NO_CHANGES, responseHeaders: NO_CHANGES })),
    timeout: ms(text.timeout, 15_000),
    retry: retryOf(text.retries ?? {}),
    ...(rewrite !== undefined && { rewrite: { prefix: rewrite } }),
    ...(rewriteHost !== undefined && { host: rewriteHost === 'auto' ? { auto: true as const } : { host: rewriteHost } }),
    hashBy: hashHeader === undefined ? [] : [{ header: hashHeader, terminal: false }],
    mirrors: mirror === undefined ? [] : [{ service: mirror, percent: 100 }],
    unknownStatus: 503,
  }
  return forward
}

function retryOf({
  attempts = 2,
  on = ['connect-failure', 'refused-stream', 'reset'],
  tryTimeout,
  any = false,
}: RetriesText): RetryPolicy | undefined {
  if (attempts === 0) return undefined
  return {
    on,
    retries: attempts,
    perTryTimeout: ms(tryTimeout, 0),
    backoff: { base: 25, max: 250 },
    statusCodes: [],
    otherEndpoint: true,
    idempotentOnly: !any,
  }
}

function changes({ set = {}, add = {}, remove = [] }: HeadersText = {}): HeaderChanges {
  return {
    add: [
      ...Object.entries(set).map(([name, value]) => ({ name, value, how: 'overwrite' as const })),
      ...Object.entries(add).map(([name, value]) => ({ name, value, how: 'append' as const })),
    ],
    remove,
  }
}
