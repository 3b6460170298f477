import type { Attempt, AttemptSink, Failure } from '../cluster/attempt.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import { hashOf } from '../cluster/hash.ts'
import type { Host } from '../cluster/host.ts'
import type { ForwardAction } from '../model/route.ts'
import { Deadline, type Timed } from './deadline.ts'
import type { ProxyExchange } from './exchange.ts'
import { applyChanges, fieldOf, joined, put } from './fields.ts'
import type { Told } from './format.ts'
import { queryValue } from './match.ts'
import { Mirror } from './mirror.ts'
import { backoff, retriesFailure, retriesReply } from './retry.ts'
import type { CompiledRoute, CompiledTarget } from './routes.ts'
import { Tunnel } from './tunnel.ts'

const WHY: Readonly<Record<Failure, readonly [reason: string, flags: string]>> = {
  connect: ['remote connection failure', 'UF'],
  refused: ['remote refused stream reset', 'UR'],
  overflow: ['overflow', 'UO'],
  reset: ['connection termination', 'UC'],
  protocol: ['protocol error', 'UPE'],
  invalid: ['invalid request', ''],
}
const OVERLOADED: readonly string[] = ['x-envoy-overloaded', 'true']

/** The upstream half of an exchange: attempts, one after another, until one is answered. */
export class Forward implements AttemptSink, Timed {
  readonly #exchange: ProxyExchange
  readonly #route: CompiledRoute
  readonly #action: ForwardAction
  #cluster: ClusterRuntime | undefined
  #target: CompiledTarget | undefined
  #host: Host | undefined
  #attempt: Attempt | undefined
  #tunnel: Tunnel | undefined
  #tried: Host[] | undefined
  #mirrors: Mirror[] | undefined
  #path = ''
  #authority = ''
  #hash: number | undefined
  #retries = 0
  #retrying = false
  #committed = false
  #bodyComplete: boolean
  /** What was sent so far of a streamed body, as long as it may be sent again. */
  #kept: Buffer[] | undefined
  #keptSize = 0
  #began = 0
  #timeout: Deadline | undefined
  #tryTimeout: Deadline | undefined
  #wait: NodeJS.Timeout | undefined
  #active = false

  constructor(exchange: ProxyExchange, route: CompiledRoute, action: ForwardAction) {
    this.#exchange = exchange
    this.#route = route
    this.#action = action
    this.#bodyComplete = !exchange.downstream.streaming
  }

  get idleTimeout(): number | undefined {
    return this.#action.idleTimeout
  }

  start(): void {
    const exchange = this.#exchange
    const { handler, downstream } = exchange
    const name = this.#service()
    const cluster = handler.clusters.get(name)
    exchange.upstreamCluster = name
    if (!cluster) {
      ;(handler.figures.no_cluster as number)++
      return exchange.fail(this.#action.unknownStatus, '', 'NC', 'cluster_not_found')
    }
    this.#cluster = cluster
    if (cluster.active >= cluster.model.limits.requests) {
      ;(cluster.figures.upstream_rq_pending_overflow as number)++
      return exchange.fail(
        503,
        'upstream connect error or disconnect/reset before headers. reset reason: overflow',
        'UO',
        'overflow',
        OVERLOADED,
      )
    }
    cluster.active++
    ;(cluster.figures.upstream_rq_active as number)++
    this.#active = true
    this.#prepare()
    // What has a body is a request like any other: the new protocol would begin in the middle of it.
    if (downstream.upgrade !== undefined && this.#bodyComplete && !exchange.body) return this.#upgrade(downstream.upgrade)
    if (!this.#bodyComplete && this.#action.retry) this.#kept = []
    for (const { service, percent } of this.#action.mirrors) {
      const shadow = handler.clusters.get(service)
      if (!shadow || Math.random() * 100 >= percent) continue
      this.#mirrors ??= []
      this.#mirrors.push(new Mirror(shadow, exchange, this.#path, this.#authority))
    }
    if (this.#bodyComplete) this.#startTimeout()
    this.#try()
  }

  #service(): string {
    const { to } = this.#action
    if ('header' in to) return fieldOf(this.#exchange.fields, to.header.toLowerCase()) ?? ''
    const { targets, weights } = this.#route
    this.#target = targets.length === 1 ? targets[0] : undefined
    if (!this.#target) {
      const at = Math.random() * weights
      this.#target = targets.find(({ until }) => at < until) ?? targets.at(-1)
    }
    return this.#target?.service ?? ''
  }

  /** What the upstream gets, the same in every attempt. */
  #prepare(): void {
    const exchange = this.#exchange
    const { fields, handler } = exchange
    this.#hash = this.#hashOf()
    applyChanges<Told>(fields, this.#target?.requestHeaders, exchange)
    for (const changes of this.#route.requestChanges) applyChanges<Told>(fields, changes, exchange)
    this.#path = this.#route.rewrite(exchange.path, exchange.pathEnd)
    if (this.#path !== exchange.path && handler.settings.envoyHeaders) put(fields, 'x-envoy-original-path', exchange.path)
    this.#authority = exchange.authority
    const { host, timeout } = this.#action
    if (host && 'host' in host) this.#authority = host.host
    else if (host && 'header' in host) this.#authority = fieldOf(fields, host.header.toLowerCase()) ?? this.#authority
    else if (host && 'pathRegex' in host && this.#route.hostPattern)
      this.#authority = exchange.path.slice(0, exchange.pathEnd).replace(this.#route.hostPattern, host.by.replace(/\\(\d)/g, '$$$1'))
    if (this.#authority !== exchange.authority && handler.settings.envoyHeaders) put(fields, 'x-envoy-original-host', exchange.authority)
    if (handler.settings.envoyHeaders && timeout > 0) put(fields, 'x-envoy-expected-rq-timeout-ms', String(timeout))
  }

  #hashOf(): number | undefined {
    const exchange = this.#exchange
    let hash: number | undefined
    for (const by of this.#action.hashBy) {
      let text: string | undefined
      if ('header' in by) text = joined(exchange.fields, by.header.toLowerCase())
      else if ('query' in by) text = queryValue(exchange.path.slice(exchange.pathEnd + 1), by.query)
      else if ('cookie' in by) text = cookie(joined(exchange.fields, 'cookie'), by.cookie)
      else text = exchange.client
      if (text === undefined) continue
      hash = hash === undefined ? hashOf(text) : hashOf(`${hash} ${text}`)
      if (by.terminal) break
    }
    return hash
  }

  #startTimeout(): void {
    const { timeout } = this.#action
    if (timeout > 0 && !this.#timeout) this.#timeout = new Deadline(timeout, this)
  }

  late(): void {
    const { figures } = this.#cluster as ClusterRuntime
    ;(figures.upstream_rq_timeout as number)++
    if (this.#host && this.#attempt && !this.#committed) this.#cluster?.failed(this.#host, 'timeout')
    this.#exchange.fail(504, 'upstream request timeout', 'UT', 'response_timeout')
  }

  #pick(): Host | undefined {
    const { connection } = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    if (cluster.model.discovery === 'original-destination') {
      const { original } = connection
      if (original) return cluster.direct(original.host, original.port)
      const found = cluster.guesses ? /^(.+?)(?::(\d{1,5}))?$/.exec(this.#authority) : undefined
      const port = Number(found?.[2] ?? 80)
      // One that names this port would come back without end.
      return found && port !== connection.localPort ? cluster.direct((found[1] as string).replace(/^\[|\]$/g, ''), port) : undefined
    }
    return cluster.pick(this.#hash, this.#action.retry?.otherEndpoint ? this.#tried : undefined)
  }

  #try(): void {
    const exchange = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    const host = this.#pick()
    if (!host) {
      ;(cluster.figures.upstream_cx_none_healthy as number)++
      return exchange.fail(503, 'no healthy upstream', 'UH', 'no_healthy_upstream')
    }
    const { fields, downstream } = exchange
    exchange.attempts++
    exchange.upstreamHost = host.address
    this.#host = host
    host.active++
    host.total++
    ;(cluster.figures.upstream_rq_total as number)++
    if (this.#route.host.attemptCount) put(fields, 'x-envoy-attempt-count', String(exchange.attempts))
    const { host: rewrite, retry } = this.#action
    const whole = this.#bodyComplete ? (exchange.body ?? this.#keptBody()) : undefined
    // What has trailers goes as a stream even where it is all here: they have no place in a body of declared length.
    const trailing = this.#bodyComplete && downstream.trailers.length > 0
    const streams = !this.#bodyComplete || trailing
    this.#began = performance.now()
    const { protocol } = cluster.model
    if (retry && retry.perTryTimeout > 0) this.#tryTimeout = new Deadline(retry.perTryTimeout, { late: () => this.#tryLate() })
    this.#attempt = host.send(
      {
        method: exchange.method,
        path: this.#path,
        scheme: cluster.tls ? 'https' : 'http',
        authority: rewrite && 'auto' in rewrite ? (host.endpoint.hostname ?? host.endpoint.host) : this.#authority,
        fields: streams && !trailing && downstream.length !== undefined ? [...fields, 'content-length', String(downstream.length)] : fields,
        body: trailing ? undefined : whole,
        streams,
      },
      this,
      protocol === 'http2' || (protocol === 'auto' && downstream.protocol === 'HTTP/2'),
    )
    if (trailing) {
      if (whole) this.#attempt.write(whole)
      this.#attempt.finish(downstream.trailers)
    } else if (streams && this.#kept) for (const chunk of this.#kept) this.#attempt.write(chunk)
  }

  #keptBody(): Buffer | undefined {
    return this.#kept && this.#keptSize > 0 ? Buffer.concat(this.#kept, this.#keptSize) : undefined
  }

  requestData(chunk: Buffer): void {
    if (this.#tunnel) return
    if (this.#mirrors) for (const mirror of this.#mirrors) mirror.write(chunk)
    if (this.#kept) {
      this.#kept.push(chunk)
      this.#keptSize += chunk.length
      // More than may be kept: there is no second attempt after this. While none is under way nothing is sent, so all is kept.
      if (this.#keptSize > this.#exchange.handler.bufferLimit && this.#attempt) this.#kept = undefined
    }
    if (this.#attempt?.write(chunk) === false) this.#exchange.downstream.pause()
  }

  requestEnd(): void {
    const { trailers } = this.#exchange.downstream
    this.#bodyComplete = true
    if (this.#mirrors) for (const mirror of this.#mirrors) mirror.finish(trailers)
    this.#startTimeout()
    this.#attempt?.finish(trailers)
  }

  attemptDrained(): void {
    if (!this.#bodyComplete) this.#exchange.downstream.resume()
  }

  replyDrained(): void {
    this.#attempt?.resume()
    this.#tunnel?.clientDrained()
  }

  attemptHead(status: number, fields: string[]): void {
    const exchange = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    const host = this.#host as Host
    const ms = performance.now() - this.#began
    cluster.answered(host, status, ms)
    const { retry } = this.#action
    if (retry && !this.#committed && retriesReply(retry, status, fields, exchange.method)) {
      if (this.#again(host)) return
    } else if (this.#retries > 0) (cluster.figures.upstream_rq_retry_success as number)++
    this.#committed = true
    this.#kept = undefined
    this.#tryTimeout?.clear()
    if (exchange.handler.settings.envoyHeaders) put(fields, 'x-envoy-upstream-service-time', String(Math.round(ms)))
    applyChanges<Told>(fields, this.#target?.responseHeaders, exchange)
    exchange.details = 'via_upstream'
    exchange.reply(status, fields)
  }

  attemptData(chunk: Buffer): void {
    if (!this.#exchange.write(chunk)) this.#attempt?.pause()
  }

  attemptEnd(trailers: readonly string[]): void {
    this.#left()
    this.#done()
    this.#exchange.endReply(trailers)
  }

  attemptFailed(failure: Failure, error: Error): void {
    const exchange = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    const host = this.#host as Host
    cluster.failed(host, failure)
    this.#left()
    if (failure === 'invalid') return exchange.fail(400, '', '', 'invalid_request')
    const [reason, flags] = WHY[failure]
    exchange.upstreamFailure = error.message
    const { retry } = this.#action
    if (!this.#committed && retry && retriesFailure(retry, failure, exchange.method) && this.#again(host)) return
    const text = `upstream connect error or disconnect/reset before headers. reset reason: ${reason}`
    exchange.fail(
      503,
      text,
      flags,
      `upstream_reset_before_response_started{${reason.replaceAll(' ', '_')}}`,
      failure === 'overflow' ? OVERLOADED : [],
    )
  }

  #tryLate(): void {
    const cluster = this.#cluster as ClusterRuntime
    ;(cluster.figures.upstream_rq_per_try_timeout as number)++
    const host = this.#host as Host
    cluster.failed(host, 'timeout')
    const { retry } = this.#action
    if (retry && retriesFailure(retry, 'timeout', this.#exchange.method) && this.#again(host)) return
    this.#exchange.fail(504, 'upstream request timeout', 'UT', 'upstream_per_try_timeout')
  }

  /** Gives the attempt up and makes another one soon, if there may be one. */
  #again(failed: Host): boolean {
    const cluster = this.#cluster as ClusterRuntime
    const { retry } = this.#action
    const exchange = this.#exchange
    if (!retry) return false
    if (this.#retries >= retry.retries) {
      ;(cluster.figures.upstream_rq_retry_limit_exceeded as number)++
      exchange.flags = 'URX'
      return false
    }
    // Without what was sent there is nothing to send again.
    if (exchange.downstream.streaming && !this.#kept) return false
    if (this.#bodyComplete && exchange.received > 0 && !exchange.body && !this.#kept) return false
    if (!this.#retrying && cluster.retries >= cluster.model.limits.retries) {
      ;(cluster.figures.upstream_rq_retry_overflow as number)++
      return false
    }
    if (!this.#retrying) cluster.retries++
    this.#retrying = true
    this.#retries++
    ;(cluster.figures.upstream_rq_retry as number)++
    this.#tried ??= []
    this.#tried.push(failed)
    const attempt = this.#attempt
    this.#left()
    attempt?.abort()
    exchange.flags = ''
    if (!this.#bodyComplete) exchange.downstream.pause()
    this.#wait = setTimeout(
      () => {
        this.#try()
        if (!this.#bodyComplete) exchange.downstream.resume()
      },
      backoff(retry, this.#retries),
    )
    return true
  }

  #upgrade(protocol: string): void {
    const exchange = this.#exchange
    const allowed = this.#action.upgrades ?? exchange.handler.settings.upgrades
    if (!allowed.includes(protocol)) return exchange.fail(403, '', '', 'upgrade_failed')
    const host = this.#pick()
    if (!host) return exchange.fail(503, 'no healthy upstream', 'UH', 'no_healthy_upstream')
    exchange.upstreamHost = host.address
    exchange.attempts++
    this.#host = host
    host.active++
    host.total++
    this.#startTimeout()
    this.#tunnel = new Tunnel(exchange, host, this.#cluster as ClusterRuntime, {
      path: this.#path,
      authority: this.#authority,
      answered: (status) => {
        this.#committed = true
        this.#timeout?.clear()
        this.#cluster?.answered(host, status, exchange.elapsed)
      },
      failed: (error) => this.attemptFailed('connect', error),
      ended: () => {
        this.#left()
        this.#done()
      },
    })
  }

  /** The attempt is over, however it went. */
  #left(): void {
    this.#tryTimeout?.clear()
    this.#attempt = undefined
    if (this.#host) this.#host.active--
    this.#host = undefined
  }

  #done(): void {
    this.#timeout?.clear()
    clearTimeout(this.#wait)
    if (!this.#active) return
    this.#active = false
    const cluster = this.#cluster as ClusterRuntime
    cluster.active--
    ;(cluster.figures.upstream_rq_active as number)--
    if (this.#retrying) cluster.retries--
    this.#retrying = false
  }

  /** Ends it at once; nothing more is heard of it. */
  abort(): void {
    const attempt = this.#attempt
    const tunnel = this.#tunnel
    this.#tunnel = undefined
    this.#left()
    this.#done()
    attempt?.abort()
    tunnel?.close()
    if (this.#mirrors && !this.#bodyComplete) for (const mirror of this.#mirrors) mirror.abort()
  }
}

function cookie(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(';') ?? []) {
    const equals = part.indexOf('=')
    if (equals > 0 && part.slice(0, equals).trim() === name) return part.slice(equals + 1).trim()
  }
  return undefined
}
