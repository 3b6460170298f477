import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Service {
  ID?: string
  Name: string
  Address?: string
  Port?: number
  Meta?: Record<string, string>
  [member: string]: unknown
}

export interface ConsulAgent extends AsyncDisposable {
  readonly port: number
  readonly services: Map<string, Service>
  /** Ids whose checks fail. */
  readonly critical: Set<string>
  readonly requests: { line: string; headers: IncomingMessage['headers'] }[]
}

/** For tests, where no Consul is to be had: an agent's paths, parameters and shapes as its HTTP API documents them. */
export async function startConsulAgent(options: { port?: number; token?: string } = {}): Promise<ConsulAgent> {
  const services = new Map<string, Service>()
  const critical = new Set<string>()
  const requests: ConsulAgent['requests'] = []
  const server = createServer(async (request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers })
    const json = (value: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': '1' }).end(JSON.stringify(value))
    if (options.token && request.headers['x-consul-token'] !== options.token) return response.writeHead(403).end('Permission denied')
    const url = new URL(request.url ?? '/', 'http://agent')
    const [, kind, id = ''] =
      /^\/v1\/(agent\/self|agent\/service\/register|agent\/service\/deregister|health\/service)\/?(.*)$/.exec(url.pathname) ?? []
    switch (`${request.method} ${kind}`) {
      case 'GET agent/self':
        return json({ Config: { Datacenter: 'dc1', NodeName: 'here' }, Member: {} })
      case 'PUT agent/service/register': {
        const chunks: Buffer[] = []
        for await (const chunk of request) chunks.push(chunk as Buffer)
        const service = JSON.parse(Buffer.concat(chunks).toString()) as Service
        services.set(service.ID ?? service.Name, service)
        return response.writeHead(200).end()
      }
      case 'PUT agent/service/deregister':
        if (!services.delete(decodeURIComponent(id))) return response.writeHead(404).end(`Unknown service ID "${id}"`)
        return response.writeHead(200).end()
      case 'GET health/service': {
        const found = [...services.entries()].filter(
          ([key, { Name }]) => Name === decodeURIComponent(id) && !(url.searchParams.has('passing') && critical.has(key)),
        )
        return json(
          found.map(([key, { Address, Port, Meta, Name, Tags }]) => ({
            Node: { ID: '', Node: 'here', Address: '127.0.0.1', Datacenter: 'dc1' },
            Service: { ID: key, Service: Name, Address: Address ?? '', Port: Port ?? 0, Meta: Meta ?? {}, Tags: Tags ?? [] },
            Checks: [],
          })),
        )
      }
      default:
        return response.writeHead(404).end()
    }
  }).listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    services,
    critical,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
