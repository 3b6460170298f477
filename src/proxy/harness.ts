import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import { createLogger } from '../telemetry/log.ts'
import { readBootstrap } from './envoy/bootstrap.ts'
import { readEndpoints } from './envoy/clusters.ts'
import { ProxyServer } from './server.ts'

/** For tests: what runs, and what it logged. */
export async function startProxy(yaml: string) {
  const { model } = readBootstrap(yaml, 'test.yaml')
  const lines: string[] = []
  const log = createLogger({ level: 'debug', json: false, appId: 'test', version: '0', write: (line) => void lines.push(line) })
  const proxy = new ProxyServer(model, { log, original: undefined, readFile: readEndpoints })
  await proxy.open()
  return {
    proxy,
    lines,
    port: proxy.listeners[0]?.port ?? 0,
    figure(cluster: string, name: string): number {
      return proxy.clusters.get(cluster)?.figures[name] ?? Number.NaN
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
    },
  }
}

export interface Backend extends AsyncDisposable {
  port: number
  server: Server
  hits: number
}

/** A server of HTTP/1.1 that says what it was asked, unless it is given what to do. */
export async function startBackend(name: string, serve?: RequestListener): Promise<Backend> {
  const backend = {
    hits: 0,
    port: 0,
    server: createServer((incoming, response) => {
      backend.hits++
      if (serve) return serve(incoming, response)
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () => {
        const body = Buffer.concat(chunks).toString()
        response.setHeader('content-type', 'application/json')
        response.setHeader('x-backend', name)
        response.end(JSON.stringify({ name, method: incoming.method, url: incoming.url, headers: incoming.headers, body }))
      })
    }),
    async [Symbol.asyncDispose]() {
      backend.server.closeAllConnections()
      if (backend.server.listening) await new Promise((resolve) => backend.server.close(resolve))
    },
  }
  backend.server.keepAliveTimeout = 60_000
  backend.server.listen(0, '127.0.0.1')
  await once(backend.server, 'listening')
  backend.port = (backend.server.address() as AddressInfo).port
  return backend
}

export interface Reply {
  status: number
  headers: IncomingMessage['headers']
  text: string
}

/** One call over HTTP/1.1 on a connection of its own. */
export async function call(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Reply> {
  const { method = 'GET', headers = {}, body } = options
  const sent = request({ host: '127.0.0.1', port, path, method, headers, agent: false })
  sent.end(body)
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of reply) chunks.push(chunk as Buffer)
  return { status: reply.statusCode ?? 0, headers: reply.headers, text: Buffer.concat(chunks).toString() }
}

/** A bootstrap with one HTTP listener on a free port. `routes` and `clusters` are YAML at the margin. */
export function bootstrap({
  routes,
  clusters,
  filters = '',
  manager = '',
}: {
  routes: string
  clusters: string
  filters?: string
  manager?: string
}): string {
  return `
static_resources:
  listeners:
    - name: main
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: main
${indent(manager, 16)}
                http_filters:
${indent(filters, 18)}
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
${indent(routes, 24)}
  clusters:
${indent(clusters, 4)}
`
}

export function cluster(name: string, ports: readonly number[], more = ''): string {
  const endpoints = ports.map((port) => `{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } } }`)
  return `- name: ${name}
  connect_timeout: 1s
  load_assignment:
    cluster_name: ${name}
    endpoints: [{ lb_endpoints: [${endpoints.join(', ')}] }]
${indent(more, 2)}
`
}

function indent(text: string, by: number): string {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => ' '.repeat(by) + line)
    .join('\n')
}

/** Resolves when a process has said this; what it says later is read and dropped. */
export function untilSaid(output: Readable, wanted: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    output.on('data', (chunk) => {
      text += chunk
      if (wanted.test(text)) resolve()
    })
    output.once('close', () => reject(new Error(`it ended without ${wanted}: ${text}`)))
  })
}
