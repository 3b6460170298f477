import type { Attempt, AttemptSink, Failure } from '../cluster/attempt.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { Host } from '../cluster/host.ts'
import type { ForwardAction } from '../model/route.ts'
import { Deadline, type Timed } from './deadline.ts'
import type { ProxyExchange } from './exchange.ts'
import { failureReply } from './failures.ts'
import { applyChanges, put } from './fields.ts'
import type { Told } from './format.ts'
import { KeptBody } from './kept-body.ts'
import { Mirror } from './mirror.ts'
import { backoff, retriesFailure, retriesReply } from './retry.ts'
import type { CompiledRoute } from './routes.ts'
import { Tunnel } from './tunnel.ts'
import { UpstreamRequest } from './upstream-request.ts'

/** The upstream half of an exchange: attempts, one after another, until one is answered. */
export class Forward implements AttemptSink, Timed {
  readonly #exchange: ProxyExchange
  readonly #route: CompiledRoute
  readonly #action: ForwardAction
  readonly #request: UpstreamRequest
  #cluster: ClusterRuntime | undefined
  #host: Host | undefined
  #attempt: Attempt | undefined
  #tunnel: Tunnel | undefined
  #tried: Host[] | undefined
  #mirrors: Mirror[] | undefined
  #retries = 0
  #retrying = false
  #committed = false
  #bodyComplete: boolean
  #kept: KeptBody | undefined
  #began = 0
  #timeout: Deadline | undefined
  #tryTimeout: Deadline | undefined
  #wait: NodeJS.Timeout | undefined
  #active = false

  constructor(exchange: ProxyExchange, route: CompiledRoute, action: ForwardAction) {
    this.#exchange = exchange
    this.#route = route
    this.#action = action
    this.#request = new UpstreamRequest(exchange, route, action)
    this.#bodyComplete = !exchange.downstream.streaming
  }

  get idleTimeout(): number | undefined {
    return this.#action.idleTimeout
  }

  start(): void {
    const exchange = this.#exchange
    const { handler, downstream } = exchange
    const request = this.#request
    const cluster = handler.clusters.get(request.service)
    exchange.upstreamCluster = request.service
    if (!cluster) {
      ;(handler.figures.no_cluster as number)++
      return exchange.fail(this.#action.unknownStatus, '', 'NC', 'cluster_not_found')
    }
    this.#cluster = cluster
    if (!cluster.enter()) {
      const { text, flags, fields } = failureReply('overflow')
      return exchange.fail(503, text, flags, 'overflow', fields)
    }
    this.#active = true
    request.prepare()
    // What has a body is a request like any other: the new protocol would begin in the middle of it.
    if (downstream.upgrade !== undefined && this.#bodyComplete && !exchange.body) return this.#upgrade(downstream.upgrade)
    if (!this.#bodyComplete && this.#action.retry) this.#kept = new KeptBody()
    for (const { service, percent } of this.#action.mirrors) {
      const shadow = handler.clusters.get(service)
      if (!shadow || Math.random() * 100 >= percent) continue
      this.#mirrors ??= []
      this.#mirrors.push(new Mirror(shadow, exchange, request.path, request.authority))
    }
    if (this.#bodyComplete) this.#startTimeout()
    this.#try()
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

  /** The endpoint of the next attempt; without one the exchange has failed. */
  #choose(): Host | undefined {
    const exchange = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    const host = this.#request.pick(cluster, this.#tried)
    if (!host) {
      ;(cluster.figures.upstream_cx_none_healthy as number)++
      exchange.fail(503, 'no healthy upstream', 'UH', 'no_healthy_upstream')
      return undefined
    }
    exchange.attempts++
    exchange.upstreamHost = host.address
    this.#host = host
    host.active++
    host.total++
    return host
  }

  #try(): void {
    const host = this.#choose()
    if (!host) return
    const exchange = this.#exchange
    const cluster = this.#cluster as ClusterRuntime
    ;(cluster.figures.upstream_rq_total as number)++
    if (this.#route.host.attemptCount) put(exchange.fields, 'x-envoy-attempt-count', String(exchange.attempts))
    const { retry } = this.#action
    const whole = this.#bodyComplete ? (exchange.body ?? this.#kept?.whole()) : undefined
    this.#began = performance.now()
    if (retry && retry.perTryTimeout > 0) this.#tryTimeout = new Deadline(retry.perTryTimeout, { late: () => this.#tryLate() })
    this.#attempt = this.#request.send(host, cluster, this, this.#bodyComplete, whole)
    if (!this.#bodyComplete && this.#kept) for (const chunk of this.#kept.chunks) this.#attempt.write(chunk)
  }

  requestData(chunk: Buffer): void {
    if (this.#tunnel) return
    if (this.#mirrors) for (const mirror of this.#mirrors) mirror.write(chunk)
    if (this.#kept) {
      this.#kept.add(chunk)
      // More than may be kept: there is no second attempt after this. While none is under way nothing is sent, so all is kept.
      if (this.#kept.size > this.#exchange.handler.bufferLimit && this.#attempt) this.#kept = undefined
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
    applyChanges<Told>(fields, this.#request.target?.responseHeaders, exchange)
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
    exchange.upstreamFailure = error.message
    const { retry } = this.#action
    if (!this.#committed && retry && retriesFailure(retry, failure, exchange.method) && this.#again(host)) return
    const { text, flags, details, fields } = failureReply(failure)
    exchange.fail(503, text, flags, details, fields)
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
    if (!this.#kept && (exchange.downstream.streaming || (this.#bodyComplete && exchange.received > 0 && !exchange.body))) return false
    if (!this.#retrying && !cluster.enterRetry()) return false
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
    const host = this.#choose()
    if (!host) return
    const request = this.#request
    this.#startTimeout()
    this.#tunnel = new Tunnel(exchange, host, this.#cluster as ClusterRuntime, {
      path: request.path,
      authority: request.authority,
      answered: (status) => this.#tunnelled(host, status),
      failed: (error) => this.attemptFailed('connect', error),
      ended: () => {
        this.#left()
        this.#done()
      },
    })
  }

  #tunnelled(host: Host, status: number): void {
    this.#committed = true
    this.#timeout?.clear()
    this.#cluster?.answered(host, status, this.#exchange.elapsed)
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
    cluster.leave()
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
