import { object } from './agent-schema.ts'
import type { Schema } from './json-schema.ts'

const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$|^0$'
const text: Schema = { type: 'string', minLength: 1 }
const texts: Schema = { type: 'array', items: text }
const textMap: Schema = { type: 'object', additionalProperties: { type: 'string' } }
const flag = (description: string): Schema => ({ type: 'boolean', description })
const time = (description: string): Schema => ({ type: 'string', pattern: DURATION, description })
const count = (description: string, minimum = 0, maximum = 2 ** 31): Schema => ({ type: 'integer', minimum, maximum, description })
const word = (description: string, ...words: string[]): Schema => ({ type: 'string', enum: words, description })
const port = (description: string): Schema => count(description, 0, 65_535)
const said = (description: string, schema: Schema): Schema => ({ ...schema, description })

const headers = object({
  set: said('Put in place of what is there.', textMap),
  add: said('Added to what is there.', textMap),
  remove: said('Taken out.', texts),
})

const retries = object({
  attempts: count('Attempts after the first; 0: none. Default 2.', 0, 100),
  on: said('Words of Envoy: connect-failure, refused-stream, reset, 5xx, gateway-error, retriable-4xx … Default the first three.', texts),
  tryTimeout: time('Of one attempt. Default none.'),
  any: flag('Also what may do harm a second time, as POST, once it was sent in part. Default false.'),
})

const route = object({
  host: said('Domains, exact or *.suffix. Default any.', text),
  path: said('The whole path.', text),
  prefix: said('What the path begins with. Default /.', text),
  regex: said('What the whole path must fit.', text),
  methods: texts,
  headers: said('Headers and their values.', textMap),
  query: said('Parameters and their values.', textMap),
  to: said('A service.', text),
  split: said('Services and their shares, in place of one.', { type: 'object', additionalProperties: { type: 'integer', minimum: 0 } }),
  timeout: time('For the whole exchange; 0: none. Default 15s.'),
  retries,
  rewrite: said('In place of the prefix.', text),
  rewriteHost: said('Host that the service sees; auto: the name of the endpoint.', text),
  hashHeader: said('Header by whose value a ring-hash service chooses.', text),
  mirror: said('A service that gets a copy; its answers are dropped.', text),
  redirect: object({ status: count('Default 301.', 300, 399), scheme: text, host: text, path: text }),
  answer: object({ status: count('Default 200.', 200, 599), body: { type: 'string' } }),
  requestHeaders: headers,
  responseHeaders: headers,
})

const listener = object(
  {
    name: text,
    address: said('Default 127.0.0.1.', text),
    port: port('Where it listens.'),
    protocol: word('auto tells HTTP/1.1 from HTTP/2. Default auto.', 'auto', 'http1', 'http2', 'tcp'),
    to: said('The service of everything, for tcp or without routes.', text),
    routes: { type: 'array', items: route },
    tls: object(
      {
        certificate: said('Path of its chain.', text),
        key: said('Path of its key.', text),
        clientCA: said('Path of the authority of clients: they must have a certificate of it.', text),
        clientNames: said('Names of which a client must have one.', texts),
      },
      ['certificate', 'key'],
    ),
    upgrades: said('Protocols that may be changed to. Default websocket.', texts),
    idleTimeout: time('Of a connection without requests. Default 1h.'),
    edge: flag('Clients are not trusted to say who they are: x-forwarded-for gets their address. Default false.'),
    accessLog: said('Path, or stdout. Default none.', text),
    rateLimit: object({ burst: count('Requests at once.', 1), perSecond: count('Further requests each second.', 1) }, [
      'burst',
      'perSecond',
    ]),
  },
  ['port'],
)

const service = object({
  endpoints: said('host:port each; names are looked up again and again.', texts),
  app: said('An app id, in place of endpoints: the sidecar beside calls the app, over HTTP.', text),
  file: said('File of endpoints in the form of EDS, followed while it runs.', text),
  balance: word('Default least-request.', 'round-robin', 'least-request', 'random', 'ring-hash'),
  protocol: word('auto speaks what the client spoke. Default http1.', 'http1', 'http2', 'auto'),
  tls: object({
    name: said('Name to ask for and to find in the certificate. Default the name of the endpoint.', text),
    ca: said("Path of its authority. Default the system's.", text),
    certificate: said('Path of a chain to show.', text),
    key: said('Path of its key.', text),
    insecure: flag('Any certificate will do. Default false.'),
  }),
  connectTimeout: time('Default 5s.'),
  health: object({
    kind: word('Default http.', 'http', 'tcp', 'grpc'),
    path: said('Default /.', text),
    interval: time('Default 5s.'),
    timeout: time('Default 1s.'),
    unhealthy: count('Failures in a row that take it out. Default 2.', 1),
    healthy: count('Successes in a row that take it in. Default 2.', 1),
  }),
  outliers: object({
    failures: count('Failures in a row that put an endpoint aside; 0: never. Default 5.'),
    time: time('How long at first. Default 30s.'),
    percent: count('Most of them aside at once. Default 50.', 0, 100),
  }),
  limits: object({
    connections: count('To one endpoint. Default 1024.'),
    pending: count('Requests that wait for one. Default 1024.'),
    requests: count('At once. Default 1024.'),
    retries: count('At once. Default 1024.'),
  }),
})

/** spec of a Proxy. */
export const proxySpec: Schema = {
  type: 'object',
  properties: {
    envoy: said('Path of a static configuration of Envoy that says all of it, in place of everything below.', text),
    lenient: flag('Fields of that file that nothing here acts on are reported and passed over. Default false: they are mistakes.'),
    listeners: { type: 'array', items: listener },
    services: { type: 'object', additionalProperties: service, description: 'What there is to call, by name.' },
    explicit: port('Port on loopback that serves http://localhost:PORT/proxy/<service>/<path>.'),
    ambassador: object({
      port: port('Port on loopback. Default 3000.'),
      rootUri: said('The service of everything that no prefix takes.', text),
      routes: said('Prefixes and their services; the prefix is taken off.', textMap),
      tcp: said('Ports on loopback and the services whose bytes they pass on.', textMap),
    }),
    transparent: said(
      'For connections that iptables sends here: to services by their name in Host, else where they wanted to go.',
      object({
        outbound: port('Port for what the application sends. Default 15001.'),
        inbound: port('Port for what is sent to the application. Default 15006.'),
        address: said('Default :: (both families; 0.0.0.0 where there is no IPv6).', text),
      }),
    ),
    prana: said(
      "Prana's local API: /proxy, /eureka/hosts, /dynamicproperties, /healthcheck, /ping, /status.",
      object({
        port: port('Port on loopback. Default 8078.'),
        properties: said('What /dynamicproperties tells.', textMap),
        healthUrl: said("The application's own health, which /healthcheck asks: http://…. Default: it is well.", {
          type: 'string',
          pattern: '^http://[^/]',
        }),
      }),
    ),
    admin: port('Port on loopback for operators: /ready, /stats, /clusters …'),
  },
  additionalProperties: false,
}

export interface HeadersText {
  set?: Record<string, string>
  add?: Record<string, string>
  remove?: string[]
}

export interface RetriesText {
  attempts?: number
  on?: string[]
  tryTimeout?: string
  any?: boolean
}

export interface RouteText {
  host?: string
  path?: string
  prefix?: string
  regex?: string
  methods?: string[]
  headers?: Record<string, string>
  query?: Record<string, string>
  to?: string
  split?: Record<string, number>
  timeout?: string
  retries?: RetriesText
  rewrite?: string
  rewriteHost?: string
  hashHeader?: string
  mirror?: string
  redirect?: { status?: number; scheme?: string; host?: string; path?: string }
  answer?: { status?: number; body?: string }
  requestHeaders?: HeadersText
  responseHeaders?: HeadersText
}

export interface ListenerText {
  name?: string
  address?: string
  port: number
  protocol?: 'auto' | 'http1' | 'http2' | 'tcp'
  to?: string
  routes?: RouteText[]
  tls?: { certificate: string; key: string; clientCA?: string; clientNames?: string[] }
  upgrades?: string[]
  idleTimeout?: string
  edge?: boolean
  accessLog?: string
  rateLimit?: { burst: number; perSecond: number }
}

export interface ServiceText {
  endpoints?: string[]
  app?: string
  file?: string
  balance?: 'round-robin' | 'least-request' | 'random' | 'ring-hash'
  protocol?: 'http1' | 'http2' | 'auto'
  tls?: { name?: string; ca?: string; certificate?: string; key?: string; insecure?: boolean }
  connectTimeout?: string
  health?: { kind?: 'http' | 'tcp' | 'grpc'; path?: string; interval?: string; timeout?: string; unhealthy?: number; healthy?: number }
  outliers?: { failures?: number; time?: string; percent?: number }
  limits?: { connections?: number; pending?: number; requests?: number; retries?: number }
}

/** As written. */
export interface ProxySpec {
  envoy?: string
  lenient?: boolean
  listeners?: ListenerText[]
  services?: Record<string, ServiceText>
  explicit?: number
  ambassador?: { port?: number; rootUri?: string; routes?: Record<string, string>; tcp?: Record<string, string> }
  prana?: { port?: number; properties?: Record<string, string>; healthUrl?: string }
  transparent?: { outbound?: number; inbound?: number; address?: string }
  admin?: number
}

/** What the schema cannot say. */
export function checkProxy(given: Readonly<Record<string, unknown>>): { message: string; path?: string[] } | undefined {
  const spec = given as ProxySpec
  const { envoy, lenient, services = {}, listeners = [], ambassador } = spec
  if (envoy !== undefined) {
    const also = Object.keys(spec).find((name) => name !== 'envoy' && name !== 'lenient')
    return also === undefined
      ? undefined
      : { message: `spec.${also} stands beside spec.envoy, which says everything; take one of them out`, path: ['spec', also] }
  }
  if (lenient !== undefined) return { message: 'spec.lenient is about spec.envoy, which is missing', path: ['spec', 'lenient'] }
  if (listeners.length === 0 && spec.explicit === undefined && !ambassador && spec.prana === undefined && !spec.transparent)
    return { message: 'spec asks for nothing: give listeners, explicit, ambassador, transparent, prana or envoy', path: ['spec'] }
  for (const [name, { endpoints, app, file }] of Object.entries(services)) {
    const there = [endpoints, app, file].filter((one) => one !== undefined).length
    if (there !== 1) return { message: `spec.services.${name} must have one of endpoints, app, file`, path: ['spec', 'services', name] }
    const idle =
      app === undefined
        ? undefined
        : ['protocol', 'tls', 'health', 'outliers', 'balance'].find((field) => Object.hasOwn(services[name] ?? {}, field))
    if (idle !== undefined)
      return {
        message: `spec.services.${name}.${idle} means nothing beside app: the sidecar calls it; take one of them out`,
        path: ['spec', 'services', name, idle],
      }
    const wrong = endpoints?.find((one) => !/^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):\d{1,5}$/.test(one))
    if (wrong !== undefined)
      return { message: `spec.services.${name}.endpoints has "${wrong}"; write host:port`, path: ['spec', 'services', name, 'endpoints'] }
  }
  const isApp = (service: string | undefined) => service !== undefined && services[service]?.app !== undefined
  const missing = (service: string, path: string[]) =>
    Object.hasOwn(services, service)
      ? undefined
      : { message: `${path.join('.')} names the service "${service}", which is not in spec.services`, path }
  for (const [at, { routes = [], to, protocol }] of listeners.entries()) {
    const where = ['spec', 'listeners', String(at)]
    if (routes.length === 0 && to === undefined) return { message: `${where.join('.')} has neither routes nor to`, path: where }
    if (protocol === 'tcp' && (routes.length > 0 || to === undefined))
      return { message: `${where.join('.')} is tcp: it has to, and no routes`, path: where }
    if (protocol === 'tcp' && isApp(to))
      return { message: `${where.join('.')} is tcp, and the app "${to}" is called over HTTP`, path: where }
    const wrong = to !== undefined ? missing(to, [...where, 'to']) : undefined
    if (wrong) return wrong
    for (const [index, one] of routes.entries()) {
      const path = [...where, 'routes', String(index)]
      const kinds = ['to', 'split', 'redirect', 'answer'].filter((name) => Object.hasOwn(one, name))
      if (kinds.length !== 1) return { message: `${path.join('.')} must have one of to, split, redirect, answer`, path }
      if (['path', 'prefix', 'regex'].filter((name) => Object.hasOwn(one, name)).length > 1)
        return { message: `${path.join('.')} may have only one of path, prefix, regex`, path }
      if (isApp(one.mirror)) return { message: `${path.join('.')} mirrors to the app "${one.mirror}"; mirror to endpoints`, path }
      for (const service of [one.to, one.mirror, ...Object.keys(one.split ?? {})]) {
        const found = service === undefined ? undefined : missing(service, path)
        if (found) return found
      }
    }
  }
  const tcpApp = Object.values(ambassador?.tcp ?? {}).find(isApp)
  if (tcpApp !== undefined)
    return { message: `spec.ambassador.tcp names the app "${tcpApp}", which is called over HTTP`, path: ['spec', 'ambassador', 'tcp'] }
  for (const service of [ambassador?.rootUri, ...Object.values(ambassador?.routes ?? {}), ...Object.values(ambassador?.tcp ?? {})]) {
    const found = service === undefined ? undefined : missing(service, ['spec', 'ambassador'])
    if (found) return found
  }
  return undefined
}
