import { rmSync } from 'node:fs'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { tokenMatcher } from '../api/api-token.ts'
import { readBody } from '../api/http/body.ts'
import { cleanPath, Router } from '../api/http/router.ts'
import { messageOf, OutriderError } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import { createServer } from '../transport/node-http.ts'
import type { AgentRoute } from './role.ts'

export interface AgentPortOptions {
  host: string
  /** 0: any that is free. */
  port: number
  /** Path of a unix socket that is served as well. */
  socket?: string | undefined
  /** Asked for in `outrider-agent-token`, or as a Bearer token, when it is not empty. */
  token?: string | undefined
  log: Logger
  /** What is there whatever roles there are; a role's own route of the same path wins. */
  fallback: readonly AgentRoute[]
}

/** Paths that probes read without a token. */
const OPEN: ReadonlySet<string> = new Set(['/health', '/ready'])

/** The port that all roles share (9001). Its routes change while it is open. */
export class AgentPort implements AsyncDisposable {
  readonly #options: AgentPortOptions
  readonly #allowed: ((given: unknown) => boolean) | undefined
  readonly #stop = new AbortController()
  readonly #servers: Server[] = []
  readonly #owners = new Map<string, readonly AgentRoute[]>()
  #router = new Router<AgentRoute>()

  constructor(options: AgentPortOptions) {
    this.#options = options
    this.#allowed = tokenMatcher(options.token || undefined)
    this.#route()
  }

  /** Of the TCP listener, once it is open. */
  get port(): number {
    const address = this.#servers[0]?.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  /** Rejects when it cannot be bound. */
  async open(): Promise<void> {
    const { host, port, socket } = this.#options
    if (socket) rmSync(socket, { force: true })
    for (const at of [{ host, port }, ...(socket ? [{ path: socket }] : [])]) {
      const server = createServer((request, response) => void this.#serve(request, response))
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error) =>
          reject(
            new Error(
              `the agents' ${'path' in at ? `socket ${at.path}` : `port ${port}`} cannot be opened: ${error.message}; choose another`,
            ),
          ),
        )
        server.listen(at, () => resolve())
      })
      this.#servers.push(server)
    }
  }

  /** Puts the routes of one owner in, instead of those it had. Throws when another one has such a route. */
  set(owner: string, routes: readonly AgentRoute[]): void {
    const shape = (path: string) => path.replace(/:[^/]+/g, ':')
    for (const [other, theirs] of this.#owners) {
      if (other === owner) continue
      for (const { path, methods } of routes) {
        const taken = theirs.find((one) => shape(one.path) === shape(path) && one.methods.some((method) => methods.includes(method)))
        if (taken) throw new Error(`${path} on the agents' port is served by ${other}; one of the two has to go`)
      }
    }
    this.#owners.set(owner, routes)
    this.#route()
  }

  delete(owner: string): void {
    this.#owners.delete(owner)
    this.#route()
  }

  #route(): void {
    const router = new Router<AgentRoute>()
    for (const route of this.#options.fallback) router.add(route)
    for (const routes of this.#owners.values()) for (const route of routes) router.add(route)
    this.#router = router
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    try {
      const [path = '/', query = ''] = (request.url ?? '/').split('?', 2)
      const clean = cleanPath(path)
      if (this.#allowed && !OPEN.has(clean) && !this.#allowed(tokenOf(request)))
        return answer(response, 401, { errorCode: 'ERR_AGENT_TOKEN', message: 'send the token of the agents in outrider-agent-token' })
      const found = this.#router.find(request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET'), clean)
      if (!found) return answer(response, 404, { errorCode: 'ERR_AGENT_ROUTE', message: `nothing serves ${request.method} ${clean} here` })
      await found.route.handle({
        request,
        response,
        params: found.params,
        query: new URLSearchParams(query),
        body: (limit) => readBody(request, limit),
        signal: AbortSignal.any([gone.signal, this.#stop.signal]),
      })
    } catch (error) {
      if (response.headersSent || response.destroyed) return void response.destroy()
      const status = error instanceof OutriderError ? error.http : 500
      if (status >= 500) this.#options.log.warn(`${request.method} ${request.url?.split('?')[0]}: ${messageOf(error)}`)
      answer(response, status, { errorCode: error instanceof OutriderError ? error.code : 'ERR_AGENT', message: messageOf(error) })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(
      this.#servers.map((server) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()))
        server.closeIdleConnections()
        setTimeout(() => server.closeAllConnections(), 1000).unref()
        return closed
      }),
    )
    if (this.#options.socket) rmSync(this.#options.socket, { force: true })
  }
}

function tokenOf({ headers }: IncomingMessage): string | undefined {
  const own = headers['outrider-agent-token']
  return typeof own === 'string' ? own : /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1]
}

/** Answers with JSON. */
export function answer(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}
