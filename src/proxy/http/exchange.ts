import { messageOf } from '../../errors.ts'
import { countStatus } from '../stats.ts'
import type { ConnectionInfo, Downstream, DownstreamSink } from './downstream.ts'
import { applyChanges, fieldOf, put } from './fields.ts'
import { FilterRun } from './filter-run.ts'
import type { Told } from './format.ts'
import { Forward } from './forward.ts'
import { forwarded } from './forwarded.ts'
import type { HttpHandler } from './handler.ts'
import { localReply } from './local-reply.ts'
import type { Matched } from './match.ts'
import { answerDirectly, redirect } from './own-answers.ts'
import { mergeSlashes, normalizePath, withoutPort } from './path.ts'
import type { CompiledRoute } from './routes.ts'

/**
 * One request from its head to the last byte of the reply: route → filters → answered here, or forwarded → over. What the upstream
 * half does is in `Forward`.
 */
export class ProxyExchange implements DownstreamSink, Told, Matched {
  readonly handler: HttpHandler
  readonly downstream: Downstream
  readonly connection: ConnectionInfo
  readonly method: string
  path: string
  pathEnd: number
  readonly originalPath: string
  authority: string
  readonly fields: string[]
  route: CompiledRoute | undefined
  /** The address that counts as the client's. */
  client: string
  /** All of the body, once it is here. */
  body: Buffer | undefined
  status = 0
  details = ''
  flags = ''
  received = 0
  sent = 0
  attempts = 0
  upstreamHost: string | undefined
  upstreamCluster: string | undefined
  upstreamFailure: string | undefined
  replyFields: readonly string[] = []
  requestDuration: number | undefined
  responseDuration: number | undefined
  readonly startTime: number
  /** Among those under way. */
  place = -1
  readonly #began: number
  #duration = 0
  #over = false
  /** Undefined: the listener has none. */
  #filters: FilterRun | undefined
  #forward: Forward | undefined
  #timer: NodeJS.Timeout | undefined
  #touched: number

  constructor(handler: HttpHandler, downstream: Downstream) {
    this.handler = handler
    this.downstream = downstream
    this.connection = downstream.connection
    this.method = downstream.method
    this.path = this.originalPath = downstream.path
    this.pathEnd = 0
    this.authority = downstream.authority
    this.fields = downstream.fields
    this.body = downstream.body
    this.client = this.connection.remoteAddress
    this.#began = this.#touched = performance.now()
    this.startTime = Date.now()
    downstream.sink = this
  }

  get protocol(): string {
    return this.downstream.protocol
  }

  get scheme(): string {
    return this.connection.secure ? 'https' : 'http'
  }

  get requestFields(): readonly string[] {
    return this.fields
  }

  get routeName(): string {
    return this.route?.model.name ?? ''
  }

  get duration(): number {
    return this.#over ? this.#duration : performance.now() - this.#began
  }

  get over(): boolean {
    return this.#over
  }

  get elapsed(): number {
    return performance.now() - this.#began
  }

  start(): void {
    const { handler, downstream } = this
    const { figures, settings } = handler
    handler.active.add(this)
    ;(figures.downstream_rq_total as number)++
    ;(figures.downstream_rq_active as number)++
    const version = downstream.protocol === 'HTTP/2' ? 'downstream_rq_http2_total' : 'downstream_rq_http1_total'
    ;(figures[version] as number)++
    if (this.body) this.received = this.body.length
    if (!downstream.streaming) this.requestDuration = 0
    else if (settings.requestTimeout > 0)
      this.#timer = setTimeout(() => this.fail(408, 'request timeout', 'UT', 'request_overall_timeout'), settings.requestTimeout)
    this.client = forwarded(this.fields, settings, this.connection)
    // A tunnel is no request that could be sent on as one.
    if (this.method === 'CONNECT') return this.fail(403, '', '', 'connect_not_allowed')
    if (settings.normalizePath && this.path.startsWith('/')) {
      const path = normalizePath(this.path)
      if (path === undefined) return this.fail(400, '', '', 'path_normalization_failed')
      this.path = path
    }
    if (settings.mergeSlashes) this.path = mergeSlashes(this.path)
    const query = this.path.indexOf('?')
    this.pathEnd = query < 0 ? this.path.length : query
    const { stripPort } = settings
    const seen =
      stripPort === undefined ? this.authority : withoutPort(this.authority, stripPort === 'any' ? undefined : this.connection.localPort)
    if (stripPort !== undefined) this.authority = seen
    this.route = handler.router.find(this, seen)
    if (handler.filters.length === 0) return this.#act()
    this.#filters = new FilterRun(this, () => this.#act())
    this.#filters.run(0)
  }

  #act(): void {
    const { route, handler } = this
    if (!route) {
      ;(handler.figures.no_route as number)++
      return this.fail(404, '', 'NR', 'route_not_found')
    }
    const { requireTls } = route.host
    if (requireTls !== 'none' && fieldOf(this.fields, 'x-forwarded-proto') !== 'https')
      return this.answer(301, ['location', `https://${this.authority}${this.path}`, 'content-length', '0'], undefined, 'ssl_redirect')
    const { action } = route.model
    if (action.kind === 'answer') answerDirectly(this, action)
    else if (action.kind === 'redirect') redirect(this, action, route)
    else {
      this.#forward = new Forward(this, route, action)
      this.#forward.start()
    }
  }

  /** Answers with a status of the proxy's own; after the head of a reply the connection is cut instead. */
  fail(status: number, text: string, flags: string, details: string, more: readonly string[] = []): void {
    if (this.#over) return
    if (flags !== '') this.flags = flags
    this.details = details
    const forward = this.#forward
    this.#forward = undefined
    forward?.abort()
    if (this.downstream.headersSent) return this.downstream.reset()
    const reply = localReply(this.downstream, status, text)
    reply.fields.push(...more)
    this.answer(reply.status, reply.fields, reply.body, details)
  }

  /** Answers in the name of the proxy. */
  answer(status: number, fields: string[], body: Buffer | undefined, details: string): void {
    this.details = details
    this.reply(status, fields)
    if (body && body.length > 0) this.write(body)
    this.endReply([])
  }

  /** Sends the head of the reply, with the changes that route and listener make to it. */
  reply(status: number, fields: string[]): void {
    const { settings } = this.handler
    this.status = status
    this.replyFields = fields
    if (this.route) for (const changes of this.route.responseChanges) applyChanges<Told>(fields, changes, this)
    const cors = this.#filters?.corsHeaders
    if (cors) for (let i = 0; i < cors.length; i += 2) put(fields, cors[i] as string, cors[i + 1] as string)
    if (settings.serverName !== undefined) put(fields, 'server', settings.serverName)
    if (settings.via !== '') fields.push('via', settings.via)
    this.responseDuration = this.elapsed
    this.downstream.respond(status, fields)
  }

  /** False: wait for `replyDrained`. */
  write(chunk: Buffer): boolean {
    this.#touched = performance.now()
    this.sent += chunk.length
    return this.downstream.write(chunk)
  }

  endReply(trailers: readonly string[]): void {
    this.#forward = undefined
    this.downstream.end(trailers)
  }

  requestData(chunk: Buffer): void {
    this.#touched = performance.now()
    this.received += chunk.length
    if (!this.#filters?.data(chunk)) this.#forward?.requestData(chunk)
  }

  requestEnd(): void {
    clearTimeout(this.#timer)
    this.requestDuration = this.elapsed
    if (!this.#filters?.end()) this.#forward?.requestEnd()
  }

  replyDrained(): void {
    this.#forward?.replyDrained()
  }

  /** Cuts what has been silent for too long. */
  sweep(now: number): void {
    const { settings, figures } = this.handler
    const limit = this.#forward?.idleTimeout ?? settings.streamIdleTimeout
    if (limit === 0 || now - this.#touched < limit) return
    ;(figures.downstream_rq_idle_timeout as number)++
    if (this.status === 101) this.#forward?.abort()
    else this.fail(this.requestDuration === undefined ? 408 : 504, 'stream timeout', 'SI', 'stream_idle_timeout')
  }

  /** Bytes went over a connection that has changed its protocol. */
  tunnelled(received: number, sent: number): void {
    this.#touched = performance.now()
    this.received += received
    this.sent += sent
  }

  clientGone(complete: boolean): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#duration = this.elapsed
    const { handler } = this
    const { figures } = handler
    handler.active.delete(this)
    if (!complete && this.flags === '') {
      this.flags = 'DC'
      this.details ||= 'downstream_remote_disconnect'
      ;(figures.downstream_rq_rx_reset as number)++
    }
    const forward = this.#forward
    this.#forward = undefined
    forward?.abort()
    ;(figures.downstream_rq_active as number)--
    ;(figures.downstream_rq_completed as number)++
    if (this.status > 0) countStatus(figures, 'downstream_rq', this.status)
    handler.requestTime.record(this.#duration)
    for (const log of handler.logs) {
      try {
        log(this, this.#filters?.healthCheck ?? false)
      } catch (error) {
        handler.log.warn(`the access log cannot be written: ${messageOf(error)}`)
      }
    }
  }
}
