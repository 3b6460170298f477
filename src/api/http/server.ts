import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createServer as createHttp2, type Http2Server } from 'node:http2'
import type { Socket } from 'node:net'
import type { Pipeline } from '../../app/middleware/pipeline.ts'
import { OutriderError } from '../../errors.ts'
import { passTraceparent } from '../../telemetry/trace-context.ts'
import { baggageProblem } from '../../telemetry/tracing/baggage.ts'
import { parseTraceparent } from '../../telemetry/tracing/span-context.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import type { BodyBudget } from '../../transport/body-budget.ts'
import { createServer as createHttp1 } from '../../transport/node-http.ts'
import type { ListenAt, Ports } from '../../transport/ports.ts'
import { type ApiTokens, tokenMatcher } from '../api-token.ts'
import { dropBody } from './body.ts'
import { HttpCall } from './call.ts'
import { HttpConnections, inUse, notInUse } from './connections.ts'
import { corsHeaders } from './cors.ts'
import { Exchange, exchangeOf, setExchange } from './exchange.ts'
import { pass } from './middleware/incoming.ts'
import { errorReply, writeReply } from './reply.ts'
import type { Handler, Reply, Route } from './route.ts'
import { cleanPath, type Found, ParameterError, Router } from './router.ts'
import { endSpan, startSpan } from './trace.ts'
import { upgradeToHttp2, wantsHttp2 } from './upgrade.ts'

export interface HttpApiOptions {
  routes: readonly Route[]
  /** Serves every path and method that no route takes; without one they are 404. */
  fallback?: Handler
  /** Required in `dapr-api-token` when not empty. */
  apiToken?: ApiTokens | undefined
  /** Bytes; 0: no limit. */
  maxBodySize: number
  /** Bounds what all requests hold together; absent: nothing does. */
  bodies?: BodyBudget | undefined
  /** Bytes of request line and headers. */
  readBufferSize: number
  allowedOrigins?: string | undefined
  /** Also speaks HTTP/2 without TLS on the same port. */
  h2c: boolean
  /** Middleware between the token and the routes; absent: none is configured. */
  pipeline?: Pipeline | undefined
  /** Paths that need no token and carry no trace. */
  open?: ReadonlySet<string>
  onError?: (error: OutriderError, route: Route | undefined, path: string) => void
  /** Makes a span of each request that is not open; absent: nobody traces. */
  tracer?: Tracer | undefined
  /** Whether `baggage` is looked at: checked, and given back. Default false. */
  baggage?: boolean
  /** Hears of each request when its response is over, or its client has gone. */
  onServed?: (served: Exchange) => void
}

const plain = { 'content-type': 'text/plain; charset=utf-8' }

/** The HTTP API of one edge: cleans the path, checks origin and token, finds the route, runs it, writes what it says. */
export class HttpApi {
  readonly #options: HttpApiOptions
  readonly #router = new Router()
  readonly #token: ReturnType<typeof tokenMatcher>
  readonly #open: ReadonlySet<string>
  readonly #connections: HttpConnections
  #draining = false
  #requests = 0

  constructor(options: HttpApiOptions) {
    this.#options = options
    this.#token = tokenMatcher(options.apiToken)
    this.#open = options.open ?? new Set()
    for (const route of options.routes) this.#router.add(route)
    // Go allows 4 KiB of slack over the header limit; clients tuned to daprd rely on it.
    const http1 = createHttp1(
      {
        maxHeaderSize: options.readBufferSize + 4096,
        headersTimeout: 10_000,
        requestTimeout: 0,
        keepAliveTimeout: 120_000,
        noDelay: true,
        insecureHTTPParser: false,
        shouldUpgradeCallback: (request) => options.h2c && wantsHttp2(request),
      },
      this.#serve,
    )
    http1.on('checkContinue', this.#serve)
    let http2: Http2Server | undefined
    if (options.h2c) {
      const server = createHttp2({ settings: { maxConcurrentStreams: 1000 } }, this.#serve as never)
      server.on('sessionError', () => {})
      http1.on('upgrade', (request, socket, early) => {
        inUse(socket as Socket)
        upgradeToHttp2(request, socket as Socket, early, (ready) => server.emit('connection', ready))
      })
      http2 = server
    }
    this.#connections = new HttpConnections({
      http1: (socket) => http1.emit('connection', socket),
      http2: http2 && ((socket) => http2.emit('connection', socket)),
    })
  }

  /** Requests taken so far. */
  get requests(): number {
    return this.#requests
  }

  /** Starts listening on a TCP address or a unix socket path; rejects when it cannot be bound. Resolves with the port. */
  listen(at: ListenAt, ports?: Ports): Promise<number> {
    return this.#connections.listen(at, ports)
  }

  /** From here on each connection ends with the answer to its request. */
  drain(): void {
    this.#draining = true
  }

  /** Refuses new connections and lets requests under way finish, at most `grace` milliseconds. */
  close(grace: number): Promise<void> {
    this.#draining = true
    return this.#connections.close(grace)
  }

  readonly #serve: RequestListener = (request, response) => {
    this.#requests++
    const exchange = new Exchange(request, request.httpVersionMajor === 1 ? request.socket : undefined)
    setExchange(response, exchange)
    response.on('close', this.#closed)
    if (exchange.socket) {
      inUse(exchange.socket)
      if (this.#draining) response.setHeader('connection', 'close')
    }
    void this.#dispatch(request, response, exchange)
  }

  /** One listener for all responses, which finds what it needs in the response it is called on: node:http has let go of it by then. */
  readonly #closed = ((api: HttpApi) =>
    function (this: ServerResponse): void {
      const exchange = exchangeOf(this)
      const { socket } = exchange
      if (socket) {
        notInUse(socket)
        // A client that was not told of the end may be sending its next request already: that one is answered, and told.
        if (api.#connections.closing || (api.#draining && this.getHeader('connection') === 'close')) socket.destroySoon()
      }
      exchange.status = this.statusCode
      if (exchange.span) endSpan(exchange.span, exchange)
      api.#options.onServed?.(exchange)
    })(this)

  /** Never rejects: what is thrown becomes the answer. */
  async #dispatch(request: IncomingMessage, response: ServerResponse, exchange: Exchange): Promise<void> {
    let call: HttpCall | undefined
    try {
      let admitted = this.#admit(request, response, exchange)
      if (admitted && this.#options.pipeline) admitted = await this.#passPipeline(this.#options.pipeline, admitted, response)
      const found = admitted && this.#find(admitted, response)
      call = found
      if (!found) return
      const { span } = exchange
      const { tracer } = this.#options
      const reply: Reply | undefined = await (span && tracer ? tracer.current.within(span, () => found.run()) : found.run())
      if (reply) writeReply(response, reply, found.takeTraceparent())
    } catch (thrown) {
      this.#fail(response, thrown, call?.route, call?.path ?? request.url ?? '', call?.takeTraceparent())
    }
    if (call && !request.complete) dropBody(request)
  }

  /** The request with its path cleaned, from an origin and with a token that may call; undefined when it is answered already. */
  #admit(request: IncomingMessage, response: ServerResponse, exchange: Exchange): Admitted | undefined {
    const target = request.url ?? '/'
    const mark = target.indexOf('?')
    const escaped = mark < 0 ? target : target.slice(0, mark)
    const refuse = (reply: Reply) => void writeReply(response, reply, traceparent)
    let traceparent: string | undefined
    if (escaped.includes('%') && /%(?![0-9a-fA-F]{2})/.test(escaped))
      return refuse({ status: 400, headers: { ...plain, connection: 'close' }, body: '400 Bad Request' })
    const path = cleanPath(escaped.startsWith('/') ? escaped : new URL(escaped, 'http://localhost').pathname)
    exchange.path = path
    // What `?verbose` tells is for those who may call.
    const open = this.#open.has(path) && (mark < 0 || !target.includes('verbose', mark))
    const { headers } = request
    if (!open) {
      const { tracer } = this.#options
      if (tracer) exchange.span = startSpan(tracer, request, path)
      traceparent = exchange.span?.traceparent ?? passTraceparent(headers.traceparent as string | undefined)
      if (typeof headers.tracestate === 'string') {
        const state = parseTraceparent(headers.traceparent as string | undefined, headers.tracestate)?.state
        if (state) response.setHeader('tracestate', state)
      }
    }
    if (this.#options.allowedOrigins) {
      const done = corsHeaders(this.#options.allowedOrigins, request, response)
      if (done) return refuse(done)
    }
    if (this.#token && !open && !this.#authorised(request))
      return refuse({ status: 401, headers: { ...plain, 'x-content-type-options': 'nosniff' }, body: 'invalid api token\n' })
    if (headers['dapr-api-token'] !== undefined) delete headers['dapr-api-token']
    if (headers.baggage !== undefined && this.#options.baggage && !open) {
      const baggage = String(headers.baggage)
      const problem = baggageProblem(baggage)
      if (problem)
        return refuse({
          status: 400,
          headers: { ...plain, 'x-content-type-options': 'nosniff' },
          body: `invalid baggage header: ${problem}\n`,
        })
      response.setHeader('baggage', baggage)
    }
    return { request, path, query: mark < 0 ? '' : target.slice(mark + 1), traceparent }
  }

  async #passPipeline(
    pipeline: Pipeline,
    { request, path, query, traceparent }: Admitted,
    response: ServerResponse,
  ): Promise<Admitted | undefined> {
    // Whoever of the pipeline answers does so with the trace.
    if (traceparent !== undefined) response.setHeader('traceparent', traceparent)
    const passed = await pass(pipeline, request, response, path, query)
    return passed && { ...passed, path: cleanPath(passed.path), traceparent: undefined }
  }

  /** What is to be run; undefined when the answer is given already. */
  #find(admitted: Admitted, response: ServerResponse): HttpCall | undefined {
    const { request, traceparent } = admitted
    const method = request.method as string
    const refuse = (reply: Reply) => void writeReply(response, reply, traceparent)
    let { path } = admitted
    let found: Found | undefined
    try {
      found = this.#router.find(method, path)
      if (!found && path.length > 1 && path.endsWith('/')) {
        const shorter = path.slice(0, -1)
        found = this.#router.find(method, shorter)
        if (found) path = shorter
      }
    } catch (error) {
      if (error instanceof ParameterError) return refuse({ status: 400, headers: { ...plain }, body: `${error.message}\n` })
      throw error
    }
    const handler = found?.route.handler ?? this.#options.fallback
    const exchange = exchangeOf(response)
    exchange.path = path
    exchange.route = found?.route
    if (found) exchange.params = found.params
    if (!handler) return refuse({ status: 404, headers: { ...plain }, body: '404 page not found\n' })
    return new HttpCall(
      request,
      response,
      handler,
      path,
      admitted.query,
      found,
      this.#options.maxBodySize,
      traceparent,
      this.#options.bodies,
    )
  }

  #authorised(request: IncomingMessage): boolean {
    return this.#token?.(request.headers['dapr-api-token']) !== false
  }

  #fail(response: ServerResponse, thrown: unknown, route: Route | undefined, path: string, traceparent: string | undefined): void {
    const error = OutriderError.from(thrown)
    this.#options.onError?.(error, route, path)
    if (response.headersSent) response.destroy()
    else writeReply(response, errorReply(error), traceparent)
  }
}

interface Admitted {
  request: IncomingMessage
  path: string
  query: string
  /** Still to be set on the reply. */
  traceparent: string | undefined
}
