import { messageOf } from '../../errors.ts'
import type { ProxySpec } from '../../resources/proxy-schema.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import type { ServerExchange } from '../../transport/http1/server-exchange.ts'
import type { ProxyServer } from '../server.ts'

const HEALTH_TIMEOUT = 2000
const HEALTH_LIMIT = 65_536

/**
 * The local API of Netflix's Prana: `/proxy?vip=<service>&path=<path>` is sent on, what else there is, is answered here.
 * https://github.com/Netflix/Prana/wiki
 */
export function pranaApi(spec: NonNullable<ProxySpec['prana']>): (proxy: ProxyServer) => (exchange: ServerExchange) => boolean {
  return (proxy) => (exchange) => {
    const { target } = exchange.head
    const [path = '/', search = ''] = target.split('?', 2)
    const query = new URLSearchParams(search)
    if (path === '/proxy') return !sentOn(exchange, query)
    if (path.startsWith('/proxy/')) return false
    if (path === '/ping') answer(exchange, 200, 'text/plain', 'pong')
    else if (path === '/status') json(exchange, 200, statusOf(proxy))
    else if (path === '/eureka/hosts' || path.startsWith('/eureka/hosts/')) {
      const name = query.get('appName') ?? query.get('vip') ?? decoded(path.slice('/eureka/hosts/'.length))
      const cluster = proxy.clusters.get(name)
      if (cluster)
        json(
          exchange,
          200,
          cluster.hosts.filter((host) => host.healthy).map((host) => host.address),
        )
      else json(exchange, 404, { error: `there is no service ${name}; there is ${[...proxy.clusters.keys()].join(', ')}` })
    } else if (path === '/dynamicproperties') {
      const { properties = {} } = spec
      const ids = query.getAll('id')
      json(exchange, 200, Object.fromEntries(ids.filter((id) => Object.hasOwn(properties, id)).map((id) => [id, properties[id]])))
    } else if (path === '/healthcheck') void health(exchange, spec.healthUrl)
    else json(exchange, 404, { error: `nothing is served at ${path}` })
    return true
  }
}

/** Gives the request the form that routes know. False: it names no service, and has been answered. */
function sentOn(exchange: ServerExchange, query: URLSearchParams): boolean {
  const vip = query.get('vip')
  if (!vip) {
    json(exchange, 400, { error: 'name the service with vip: /proxy?vip=<service>&path=/<path>' })
    return false
  }
  const path = query.get('path') ?? '/'
  // What cannot stand in a request line is escaped; what is escaped stays so.
  const escaped = encodeURI(path).replace(/%25([0-9a-fA-F]{2})/g, '%$1')
  exchange.head.target = `/proxy/${encodeURIComponent(vip)}${escaped.startsWith('/') ? '' : '/'}${escaped}`
  return true
}

function statusOf({ clusters, state }: ProxyServer): unknown {
  return {
    state,
    services: Object.fromEntries(
      [...clusters].map(([name, { figures }]) => [name, { endpoints: figures.membership_total, healthy: figures.membership_healthy }]),
    ),
  }
}

async function health(exchange: ServerExchange, url: string | undefined): Promise<void> {
  if (url === undefined) return answer(exchange, 200, 'text/plain', 'OK')
  const client = new HttpClient({ connections: 1, connectTimeout: HEALTH_TIMEOUT })
  try {
    const { status } = await client.request({
      method: 'GET',
      url: new URL(url),
      signal: AbortSignal.timeout(HEALTH_TIMEOUT),
      limit: HEALTH_LIMIT,
      tooLarge: () => new Error('the answer is too large'),
    })
    if (status < 300) answer(exchange, 200, 'text/plain', 'OK')
    else answer(exchange, 503, 'text/plain', `the application answers ${status}`)
  } catch (error) {
    answer(exchange, 503, 'text/plain', `the application cannot be asked: ${messageOf(error)}`)
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function json(exchange: ServerExchange, status: number, value: unknown): void {
  answer(exchange, status, 'application/json', JSON.stringify(value))
}

function answer(exchange: ServerExchange, status: number, type: string, text: string): void {
  const body = Buffer.from(text)
  exchange.respond(status, ['content-type', type, 'content-length', String(body.length)])
  if (exchange.head.method !== 'HEAD') exchange.write(body)
  exchange.end()
}
