import { messageOf } from '../../errors.ts'
import type { AnswerAction, RedirectAction } from '../model/route.ts'
import { countStatus } from '../stats.ts'
import type { ConnectionInfo, Downstream, DownstreamSink } from './downstream.ts'
import { applyChanges, fieldOf, put } from './fields.ts'
import { type CompiledFilter, corsOf, faultOf, inForce, NO_FILTERS } from './filters.ts'
import type { Told } from './format.ts'
import { Forward } from './forward.ts'
import { forwarded } from './forwarded.ts'
import type { HttpHandler } from './handler.ts'
import { localReply } from './local-reply.ts'
import type { Matched } from './match.ts'
import { mergeSlashes, normalizePath, withoutPort } from './path.ts'
import type { CompiledFilters, CompiledRoute } from './routes.ts'

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
  #healthCheck = false
  #forward: Forward | undefined
  #corsHeaders: string[] | undefined
  #timer: NodeJS.Timeout | undefined
  /** Gathers a body for a filter that wants it whole. */
  #gathered: { chunks: Buffer[]; size: number; most: number; go: () => void } | undefined
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
    this.#filter(0)
  }

  /** Runs the filters from this one on, then the route's action. */
  #filter(from: number): void {
    const { filters } = this.handler
    for (let at = from; at < filters.length; at++) if (!this.#passes(filters[at] as CompiledFilter, at)) return
    this.#act()
  }

  /** False: the filter has answered, or goes on later. */
  #passes(filter: CompiledFilter, at: number): boolean {
    const own: CompiledFilters = this.route?.filters ?? NO_FILTERS
    const { figures } = this.handler
    switch (filter.kind) {
      case 'fault': {
        const policy = inForce(own.fault, filter.policy)
        const fault = policy && faultOf(policy, this)
        if (!fault || (fault.delay === 0 && fault.abort === 0)) return true
        const abort = () => {
          if (this.#over) return
          if (fault.abort === 0) return this.#filter(at + 1)
          ;(figures.fault_aborts_injected as number)++
          this.fail(fault.abort, 'fault filter abort', 'FI', 'fault_filter_abort')
        }
        if (fault.delay === 0) abort()
        else {
          ;(figures.fault_delays_injected as number)++
          this.flags = 'DI'
          if (this.downstream.streaming) this.downstream.pause()
          setTimeout(() => {
            if (this.downstream.streaming) this.downstream.resume()
            abort()
          }, fault.delay)
        }
        return false
      }
      case 'cors': {
        const cors = own.cors ? corsOf(own.cors, this.method, this.fields) : undefined
        if (cors?.preflight) {
          // It is about what comes after it: the route's own headers are not for it.
          this.route = undefined
          this.#answer(200, cors.headers, undefined, 'cors')
          return false
        }
        this.#corsHeaders = cors?.headers
        return true
      }
      case 'access': {
        const test = inForce(own.access, filter.test)
        if (!test || test(this, this.connection, this.client)) {
          ;(figures.rbac_allowed as number)++
          return true
        }
        ;(figures.rbac_denied as number)++
        this.fail(403, 'RBAC: access denied', 'UAEX', 'rbac_access_denied')
        return false
      }
      case 'rate-limit': {
        const limit = inForce(own.rateLimit, filter.policy)
        if (!limit || (limit.enabledPercent < 100 && Math.random() * 100 >= limit.enabledPercent) || limit.bucket.take()) {
          ;(figures.local_rate_ok as number)++
          return true
        }
        ;(figures.local_rate_limited as number)++
        const reply = localReply(this.downstream, limit.status, 'local_rate_limited')
        applyChanges<Told>(reply.fields, limit.changes, this)
        this.flags = 'RL'
        this.#answer(reply.status, reply.fields, reply.body, 'local_rate_limited')
        return false
      }
      case 'health':
        if (!filter.test.every((test) => test(this))) return true
        this.#healthCheck = true
        this.#answer(200, ['content-length', '0'], undefined, 'health_check_ok')
        return false
      case 'buffer':
        if (!this.downstream.streaming) return true
        this.#gathered = { chunks: [], size: 0, most: filter.maxBytes, go: () => this.#filter(at + 1) }
        return false
    }
  }

  #act(): void {
    const { route, handler } = this
    if (!route) {
      ;(handler.figures.no_route as number)++
      return this.fail(404, '', 'NR', 'route_not_found')
    }
    const { requireTls } = route.host
    if (requireTls !== 'none' && fieldOf(this.fields, 'x-forwarded-proto') !== 'https')
      return this.#answer(301, ['location', `https://${this.authority}${this.path}`, 'content-length', '0'], undefined, 'ssl_redirect')
    const { action } = route.model
    if (action.kind === 'answer') this.#direct(action)
    else if (action.kind === 'redirect') this.#redirect(action, route)
    else {
      this.#forward = new Forward(this, route, action)
      this.#forward.start()
    }
  }

  #direct({ status, body }: AnswerAction): void {
    ;(this.handler.figures.rq_direct_response as number)++
    const bytes = Buffer.from(body)
    const fields = ['content-length', String(bytes.length), ...(bytes.length > 0 ? ['content-type', 'text/plain'] : [])]
    this.#answer(status, fields, this.method === 'HEAD' ? undefined : bytes, 'direct_response')
  }

  #redirect(action: RedirectAction, route: CompiledRoute): void {
    ;(this.handler.figures.rq_redirect as number)++
    const scheme = action.scheme ?? this.scheme
    let authority = action.host ?? this.authority
    if (action.port !== undefined) authority = `${withoutPort(authority)}:${action.port}`
    else if (action.scheme !== undefined && action.host === undefined) {
      // A port that the old scheme implies says nothing under the new one.
      authority = withoutPort(authority, action.scheme === 'https' ? 80 : 443)
    }
    let { path } = this
    if (action.path !== undefined) path = action.path.includes('?') ? action.path : action.path + path.slice(this.pathEnd)
    else path = route.rewrite(path, this.pathEnd)
    if (action.stripQuery) path = path.split('?')[0] as string
    this.#answer(action.status, ['location', `${scheme}://${authority}${path}`, 'content-length', '0'], undefined, 'redirect')
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
    this.#answer(reply.status, reply.fields, reply.body, details)
  }

  #answer(status: number, fields: string[], body: Buffer | undefined, details: string): void {
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
    if (this.#corsHeaders)
      for (let i = 0; i < this.#corsHeaders.length; i += 2) put(fields, this.#corsHeaders[i] as string, this.#corsHeaders[i + 1] as string)
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
    const gathered = this.#gathered
    if (!gathered) return this.#forward?.requestData(chunk)
    gathered.size += chunk.length
    if (gathered.size > gathered.most) {
      this.#gathered = undefined
      return this.fail(413, 'Payload Too Large', '', 'request_payload_too_large')
    }
    gathered.chunks.push(chunk)
  }

  requestEnd(): void {
    clearTimeout(this.#timer)
    this.requestDuration = this.elapsed
    const gathered = this.#gathered
    if (!gathered) return this.#forward?.requestEnd()
    this.#gathered = undefined
    this.body = Buffer.concat(gathered.chunks)
    gathered.go()
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
        log(this, this.#healthCheck)
      } catch (error) {
        handler.log.warn(`the access log cannot be written: ${messageOf(error)}`)
      }
    }
  }
}
