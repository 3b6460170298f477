import type { Attempt, AttemptSink } from '../cluster/attempt.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import { hashOf } from '../cluster/hash.ts'
import type { Host } from '../cluster/host.ts'
import type { ForwardAction } from '../model/route.ts'
import type { ProxyExchange } from './exchange.ts'
import { applyChanges, fieldOf, joined, put } from './fields.ts'
import type { Told } from './format.ts'
import { queryValue } from './match.ts'
import type { CompiledRoute, CompiledTarget } from './routes.ts'

/** What of a request goes to its upstream, the same in every attempt. */
export class UpstreamRequest {
  /** Name of the cluster. */
  readonly service: string
  readonly target: CompiledTarget | undefined
  path = ''
  authority = ''
  #hash: number | undefined
  readonly #exchange: ProxyExchange
  readonly #route: CompiledRoute
  readonly #action: ForwardAction

  constructor(exchange: ProxyExchange, route: CompiledRoute, action: ForwardAction) {
    this.#exchange = exchange
    this.#route = route
    this.#action = action
    const { to } = action
    this.target = 'header' in to ? undefined : targetOf(route)
    this.service = 'header' in to ? (fieldOf(exchange.fields, to.header.toLowerCase()) ?? '') : (this.target?.service ?? '')
  }

  /** Makes the changes that the route asks for; called once. */
  prepare(): void {
    const exchange = this.#exchange
    const route = this.#route
    const { fields, handler } = exchange
    const { envoyHeaders } = handler.settings
    this.#hash = this.#hashOf()
    applyChanges<Told>(fields, this.target?.requestHeaders, exchange)
    for (const changes of route.requestChanges) applyChanges<Told>(fields, changes, exchange)
    this.path = route.rewrite(exchange.path, exchange.pathEnd)
    if (this.path !== exchange.path && envoyHeaders) put(fields, 'x-envoy-original-path', exchange.path)
    this.authority = exchange.authority
    const { host, timeout } = this.#action
    if (host && 'host' in host) this.authority = host.host
    else if (host && 'header' in host) this.authority = fieldOf(fields, host.header.toLowerCase()) ?? this.authority
    else if (host && 'pathRegex' in host && route.hostPattern)
      this.authority = exchange.path.slice(0, exchange.pathEnd).replace(route.hostPattern, host.by.replace(/\\(\d)/g, '$$$1'))
    if (this.authority !== exchange.authority && envoyHeaders) put(fields, 'x-envoy-original-host', exchange.authority)
    if (envoyHeaders && timeout > 0) put(fields, 'x-envoy-expected-rq-timeout-ms', String(timeout))
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

  /** The endpoint for an attempt; undefined: there is none. */
  pick(cluster: ClusterRuntime, tried: readonly Host[] | undefined): Host | undefined {
    const { connection } = this.#exchange
    if (cluster.model.discovery === 'original-destination') {
      const { original } = connection
      if (original) return cluster.direct(original.host, original.port)
      const found = cluster.guesses ? /^(.+?)(?::(\d{1,5}))?$/.exec(this.authority) : undefined
      const port = Number(found?.[2] ?? 80)
      // One that names this port would come back without end.
      return found && port !== connection.localPort ? cluster.direct((found[1] as string).replace(/^\[|\]$/g, ''), port) : undefined
    }
    return cluster.pick(this.#hash, this.#action.retry?.otherEndpoint ? tried : undefined)
  }

  /** Sends it to an endpoint. `ended`: nothing more of it comes, `body` is all there is; else the sink's owner writes what does. */
  send(host: Host, cluster: ClusterRuntime, sink: AttemptSink, ended: boolean, body: Buffer | undefined): Attempt {
    const { fields, method, downstream } = this.#exchange
    const { length, trailers } = downstream
    const { protocol } = cluster.model
    // What has trailers goes as a stream even where it is all here: they have no place in a body of declared length.
    const trailing = ended && trailers.length > 0
    const attempt = host.send(
      {
        method,
        path: this.path,
        scheme: cluster.tls ? 'https' : 'http',
        authority: this.#authorityFor(host),
        fields: !ended && length !== undefined ? [...fields, 'content-length', String(length)] : fields,
        body: trailing ? undefined : body,
        streams: !ended || trailing,
      },
      sink,
      protocol === 'http2' || (protocol === 'auto' && downstream.protocol === 'HTTP/2'),
    )
    if (trailing) {
      if (body) attempt.write(body)
      attempt.finish(trailers)
    }
    return attempt
  }

  /** What an endpoint is called to its face. */
  #authorityFor({ endpoint }: Host): string {
    const { host } = this.#action
    return host && 'auto' in host ? (endpoint.hostname ?? endpoint.host) : this.authority
  }
}

/** One of them, by their weights. */
function targetOf({ targets, weights }: CompiledRoute): CompiledTarget | undefined {
  if (targets.length === 1) return targets[0]
  const at = Math.random() * weights
  return targets.find(({ until }) => at < until) ?? targets.at(-1)
}

function cookie(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(';') ?? []) {
    const equals = part.indexOf('=')
    if (equals > 0 && part.slice(0, equals).trim() === name) return part.slice(equals + 1).trim()
  }
  return undefined
}
