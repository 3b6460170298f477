import type { Server, ServerResponse } from 'node:http'
import { levelOf } from '../telemetry/log.ts'
import { createServer } from '../transport/node-http.ts'
import { VERSION } from '../version.ts'
import { prometheus, statsText } from './admin-stats.ts'
import type { Host } from './cluster/host.ts'
import type { ProxyServer } from './server.ts'

/** What answers at one path: text, or a value as JSON. */
type Answer = string | { json: unknown } | { status: number; text: string }
type Handle = (proxy: ProxyServer, query: URLSearchParams, failing: { on: boolean }) => Answer

interface Page {
  method: 'GET' | 'POST'
  help: string
  handle: Handle
}

const PAGES: Readonly<Record<string, Page>> = {
  '/certs': {
    method: 'GET',
    help: 'the certificates of listeners, by their files',
    handle: (proxy) => ({ json: { certificates: certificates(proxy) } }),
  },
  '/clusters': {
    method: 'GET',
    help: 'endpoints with their health and figures (?format=json)',
    handle: (proxy, query) =>
      query.get('format') === 'json' ? { json: { cluster_statuses: clusterStatuses(proxy) } } : clustersText(proxy),
  },
  '/config_dump': {
    method: 'GET',
    help: 'what this proxy does, as it was understood; keys are left out',
    handle: (proxy) => ({ json: { configs: [withoutKeys(proxy.model)] } }),
  },
  '/drain_listeners': {
    method: 'POST',
    help: 'takes no more connections',
    handle: (proxy) => {
      void proxy.drain()
      return 'OK\n'
    },
  },
  '/healthcheck/fail': { method: 'POST', help: 'makes /ready fail', handle: (_, __, failing) => told(failing, true) },
  '/healthcheck/ok': { method: 'POST', help: 'takes /healthcheck/fail back', handle: (_, __, failing) => told(failing, false) },
  '/listeners': {
    method: 'GET',
    help: 'listeners and their addresses',
    handle: ({ listeners }) => listeners.map(({ model, port }) => `${model.name}::${model.path ?? `${model.host}:${port}`}\n`).join(''),
  },
  '/logging': {
    method: 'POST',
    help: 'changes the level of the log (?level=debug|info|warning|error)',
    handle: ({ log }, query) => {
      const level = levelOf(query.get('level') ?? '')
      if (!level) return { status: 400, text: 'say which level: ?level=debug, info, warning or error\n' }
      log.setLevel?.(level)
      return `the level is ${level}\n`
    },
  },
  '/ready': {
    method: 'GET',
    help: '200 when requests are taken',
    handle: ({ state }, _, { on }) =>
      state === 'open' && !on ? 'LIVE\n' : { status: 503, text: state === 'draining' || on ? 'DRAINING\n' : 'PRE_INITIALIZING\n' },
  },
  '/server_info': {
    method: 'GET',
    help: 'version, state and age',
    handle: ({ model, started, state }) => ({
      json: {
        version: `outrider ${VERSION}`,
        state: state === 'open' ? 'LIVE' : state.toUpperCase(),
        uptime_current_epoch: `${Math.floor((Date.now() - started) / 1000)}s`,
        node: model.node,
      },
    }),
  },
  '/stats': {
    method: 'GET',
    help: 'figures (?filter=REGEX, ?usedonly, ?format=json|prometheus)',
    handle: (proxy, query) => {
      if (query.get('format') === 'prometheus') return prometheus(proxy)
      const filter = pattern(query.get('filter'))
      if (filter === undefined) return { status: 400, text: 'the filter is no regular expression\n' }
      const lines = statsText(proxy).filter(([name, value]) => filter.test(name) && (!query.has('usedonly') || value !== 0))
      if (query.get('format') === 'json') return { json: { stats: lines.map(([name, value]) => ({ name, value })) } }
      return lines.map(([name, value]) => `${name}: ${value}\n`).join('')
    },
  },
  '/stats/prometheus': { method: 'GET', help: "figures in Prometheus's text format", handle: (proxy) => prometheus(proxy) },
}

/** The port for operators: Envoy's pages, as far as there is something to tell. */
export class Admin implements AsyncDisposable {
  readonly #proxy: ProxyServer
  readonly #server: Server
  readonly #failing = { on: false }

  constructor(proxy: ProxyServer) {
    this.#proxy = proxy
    this.#server = createServer((request, response) => {
      request.resume()
      const [path = '/', query = ''] = (request.url ?? '/').split('?', 2)
      this.#answer(request.method ?? 'GET', path, new URLSearchParams(query), response)
    })
  }

  get port(): number {
    const address = this.#server.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  /** Rejects when the port cannot be had. */
  async open({ host, port }: { host: string; port: number }): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) =>
        reject(new Error(`the admin port ${host}:${port} cannot be opened: ${error.message}; choose another`)),
      )
      this.#server.listen({ host, port }, () => resolve())
    })
  }

  #answer(method: string, path: string, query: URLSearchParams, response: ServerResponse): void {
    const page = Object.hasOwn(PAGES, path) ? PAGES[path] : undefined
    if (!page) {
      const help = Object.entries(PAGES).map(([name, one]) => `${one.method} ${name}: ${one.help}\n`)
      return send(response, path === '/' || path === '/help' ? 200 : 404, 'text/plain; charset=utf-8', help.join(''))
    }
    // What changes something is asked for with POST, as Envoy wants it; what only tells, with any method.
    if (page.method === 'POST' && method !== 'POST')
      return send(response, 405, 'text/plain', `Method ${method} not allowed, POST required.\n`)
    const answer = page.handle(this.#proxy, query, this.#failing)
    if (typeof answer === 'string') send(response, 200, 'text/plain; charset=utf-8', answer)
    else if ('json' in answer) send(response, 200, 'application/json', `${JSON.stringify(answer.json, null, 1)}\n`)
    else send(response, answer.status, 'text/plain; charset=utf-8', answer.text)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response
    .writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-cache, max-age=0' })
    .end(text)
}

function told(failing: { on: boolean }, on: boolean): string {
  failing.on = on
  return 'OK\n'
}

function pattern(source: string | null): RegExp | undefined {
  try {
    return new RegExp(source ?? '')
  } catch {
    return undefined
  }
}

function certificates({ model }: ProxyServer): unknown[] {
  return model.listeners.flatMap(({ name, chains }) =>
    chains.flatMap(
      (chain) =>
        chain.tls?.certificates.map(({ chain: source }) => ({
          listener: name,
          chain: chain.name,
          ...('file' in source && { path: source.file }),
        })) ?? [],
    ),
  )
}

/** Texts of keys and passwords are not shown. */
function withoutKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutKeys)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      (name === 'key' || name === 'password') && inner !== null && typeof inner === 'object' && 'text' in inner
        ? { text: '[redacted]' }
        : withoutKeys(inner),
    ]),
  )
}

function flagsOf({ health }: Host): string {
  const flags = [
    health.failedCheck && '/failed_active_hc',
    health.ejected && '/failed_outlier_check',
    health.declared && `/${health.declared === 'draining' ? 'eds_status_draining' : 'failed_eds_health'}`,
  ]
  return flags.filter((flag) => flag).join('') || 'healthy'
}

function clustersText({ clusters }: ProxyServer): string {
  const lines: string[] = []
  for (const [name, { hosts, model }] of clusters) {
    const { connections, pending, requests, retries } = model.limits
    lines.push(`${name}::default_priority::max_connections::${connections}`, `${name}::default_priority::max_pending_requests::${pending}`)
    lines.push(`${name}::default_priority::max_requests::${requests}`, `${name}::default_priority::max_retries::${retries}`)
    for (const host of hosts) {
      const at = `${name}::${host.address}`
      lines.push(`${at}::cx_active::${host.connections}`, `${at}::rq_active::${host.active}`, `${at}::rq_total::${host.total}`)
      lines.push(`${at}::rq_success::${host.successes}`, `${at}::rq_error::${host.errors}`, `${at}::rq_timeout::${host.timeouts}`)
      lines.push(`${at}::cx_connect_fail::${host.connectFailures}`, `${at}::hostname::${host.endpoint.hostname ?? ''}`)
      lines.push(
        `${at}::health_flags::${flagsOf(host)}`,
        `${at}::weight::${host.endpoint.weight}`,
        `${at}::priority::${host.endpoint.priority}`,
      )
    }
  }
  return lines.map((line) => `${line}\n`).join('')
}

function clusterStatuses({ clusters }: ProxyServer): unknown[] {
  return [...clusters].map(([name, { hosts }]) => ({
    name,
    host_statuses: hosts.map((host) => ({
      address: { socket_address: { address: host.endpoint.host, port_value: host.endpoint.port } },
      stats: [
        { name: 'rq_total', value: String(host.total) },
        { name: 'rq_success', value: String(host.successes) },
        { name: 'rq_error', value: String(host.errors) },
        { name: 'rq_timeout', value: String(host.timeouts) },
        { name: 'cx_connect_fail', value: String(host.connectFailures) },
        { name: 'rq_active', value: String(host.active), type: 'GAUGE' },
      ],
      health_status: {
        eds_health_status: host.health.declared ? host.health.declared.toUpperCase() : 'HEALTHY',
        ...(host.health.failedCheck && { failed_active_health_check: true }),
        ...(host.health.ejected && { failed_outlier_check: true }),
      },
      weight: host.endpoint.weight,
    })),
  }))
}
