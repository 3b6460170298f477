import type { Attempt, AttemptSink } from '../cluster/attempt.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { Host } from '../cluster/host.ts'
import type { ProxyExchange } from './exchange.ts'

/** A copy of a request for another service whose answer nobody waits for. One that does not keep up is given up. */
export class Mirror implements AttemptSink {
  readonly #cluster: ClusterRuntime
  readonly #host: Host | undefined
  #attempt: Attempt | undefined
  readonly #began = performance.now()

  constructor(cluster: ClusterRuntime, exchange: ProxyExchange, path: string, authority: string) {
    this.#cluster = cluster
    const { downstream, fields, body, method } = exchange
    const host = cluster.pick(undefined)
    if (!host || !cluster.enter()) return
    this.#host = host
    host.active++
    host.total++
    ;(cluster.figures.upstream_rq_total as number)++
    const streams = downstream.streaming
    this.#attempt = host.send(
      {
        method,
        path,
        scheme: cluster.tls ? 'https' : 'http',
        authority: shadowed(authority),
        fields: streams && downstream.length !== undefined ? [...fields, 'content-length', String(downstream.length)] : [...fields],
        body,
        streams,
      },
      this,
      cluster.model.protocol === 'http2' || (cluster.model.protocol === 'auto' && downstream.protocol === 'HTTP/2'),
    )
  }

  write(chunk: Buffer): void {
    if (this.#attempt?.write(chunk) === false) this.abort()
  }

  finish(trailers: readonly string[]): void {
    this.#attempt?.finish(trailers)
  }

  abort(): void {
    const attempt = this.#attempt
    this.#over()
    attempt?.abort()
  }

  attemptHead(status: number): void {
    if (this.#host) this.#cluster.answered(this.#host, status, performance.now() - this.#began)
  }

  attemptData(): void {}

  attemptEnd(): void {
    this.#over()
  }

  attemptFailed(...[failure]: Parameters<AttemptSink['attemptFailed']>): void {
    if (this.#host) this.#cluster.failed(this.#host, failure)
    this.#over()
  }

  attemptDrained(): void {}

  #over(): void {
    if (!this.#attempt || !this.#host) return
    this.#attempt = undefined
    this.#host.active--
    this.#cluster.leave()
  }
}

/** As Envoy marks copies: `a:80` becomes `a-shadow:80`. */
function shadowed(authority: string): string {
  const found = /^(.*?)(:\d+)?$/.exec(authority)
  return `${found?.[1] ?? authority}-shadow${found?.[2] ?? ''}`
}
