import type { App } from '../../app/app.ts'
import type { ResponseSink } from '../../app/response-sink.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import { callApp } from '../../peers/app-call.ts'
import type { PeerClient } from '../../peers/client.ts'
import type { Invocation } from '../../peers/invocation.ts'
import type { Address, Resolver } from '../../peers/resolver.ts'
import { type Turn, takeTurn } from '../../peers/resolver-balancer.ts'
import type { CallPolicies } from '../../policy/resiliency.ts'
import { parseRetry, type RetryPolicy, waitBefore } from '../../policy/retry.ts'
import { isServerFault } from '../../policy/server-fault.ts'
import type { RuntimeMetrics } from '../../telemetry/runtime-metrics.ts'
import { describeStatus, GrpcStatus } from '../../transport/grpc/status.ts'
import { distrust } from '../../transport/identity/distrust.ts'
import type { ExternalService, ExternalServices } from './external.ts'
import { callUnderPolicy } from './under-policy.ts'

export interface InvokeBlockOptions {
  appId: string
  namespace: string
  /** The app beside us; without one calls to ourselves fail. */
  app?: App | undefined
  peers: PeerClient
  resolver: Pick<Resolver, 'resolve' | 'invalidate' | 'balancer'>
  /** Services outside, by name or URL. */
  external?: Pick<ExternalServices, 'find'> | undefined
  /** Bytes of a body that has to be read whole, because the app beside us speaks gRPC. Default 4 MiB. */
  maxBodySize?: number
  /** Policies on calls to apps, asked at each call; absent when none are configured, which costs nothing then. */
  policies?: CallPolicies | undefined
  /**
   * Calls again after a lost connection, for apps without an entry of their own among the policies. At another address at
   * once, at the same one after the pause. Default constant, 1 s, 3 times, as Dapr.
   */
  retry?: RetryPolicy
  /** Counts calls to other apps. */
  metrics?: RuntimeMetrics | undefined
}

export interface InvokeBlock {
  /**
   * Invokes `target` (`app` or `app.namespace`). The reply, or an OutriderError, goes to the sink. Returns what gives the
   * call up; the sink then hears nothing more.
   */
  invoke(target: string, invocation: Invocation, sink: ResponseSink): (reason?: Error) => void
}

/** The error of an invocation that brought no reply. */
export function invokeError(target: string, cause: unknown, hint?: string): OutriderError {
  // A request body that broke off for a reason of ours, its size, comes back through the call it was part of.
  const origin = cause instanceof GrpcStatus ? cause.cause : cause
  if (origin instanceof OutriderError && origin.code === 'ERR_DIRECT_INVOKE') return origin
  const denied = cause instanceof GrpcStatus && cause.code === Code.PermissionDenied
  return new OutriderError({
    code: 'ERR_DIRECT_INVOKE',
    http: denied ? 403 : 500,
    grpc: Code.Internal,
    message: `failed to invoke, id: ${target}, err: ${cause instanceof GrpcStatus ? describeStatus(cause) : (distrust(cause) ?? messageOf(cause))}`,
    ...(hint ? { hint } : {}),
    cause,
  })
}

const BUILT_IN = parseRetry('DaprBuiltInServiceRetries', { duration: '1s', maxRetries: 3 })

/** Service invocation: our own app directly, other apps through the sidecars beside them; all of it under the app's policies. */
export function createInvokeBlock(options: InvokeBlockOptions): InvokeBlock {
  const once = attempt(options)
  return {
    invoke(target, invocation, sink) {
      const { policies } = options
      const policy = policies?.app(target, breakerKey(options, target, invocation.method))
      if (!policy) return once.invoke(target, invocation, sink)
      return callUnderPolicy({
        policy,
        invocation,
        sink,
        start: (again, attempted) => once.invoke(target, again, attempted),
        wrap: (error) => invokeError(target, error),
      })
    },
  }
}

/** What one circuit breaker is kept for: a method of an app, a URL, or all of an HTTPEndpoint. */
function breakerKey({ external }: InvokeBlockOptions, target: string, method: string): string {
  if (target.startsWith('http://') || target.startsWith('https://')) return `${target}/${method}`
  const baseUrl = external?.find(target)?.baseUrl
  return `${target}:${baseUrl ?? method}`
}

/** A call as it is without policies. */
function attempt(options: InvokeBlockOptions): InvokeBlock {
  return {
    invoke(target, invocation, sink) {
      const outside = options.external?.find(target)
      if (outside) return callOutside(outside, target, invocation, sink)
      const parts = target.split('.')
      const appId = parts[0] as string
      const namespace = parts[1] ?? options.namespace
      if (appId === '' || parts.length > 2) {
        sink.failed(
          invokeError(
            target,
            new Error(target === '' ? 'app id is empty' : `invalid app id ${target}`),
            'name the app as its id, or as id.namespace',
          ),
        )
        return nothing
      }
      if (appId === options.appId && namespace === options.namespace) return callOwn(options, target, invocation, sink)
      const call = new RemoteCall(options, target, appId, namespace, invocation, sink)
      call.start()
      return (reason) => call.abort(reason)
    },
  }
}

function callOutside(service: ExternalService, target: string, invocation: Invocation, sink: ResponseSink): (reason?: Error) => void {
  try {
    return service.call(invocation, {
      head: (status, headers, source) => sink.head(status, headers, source),
      data: (chunk) => sink.data(chunk),
      end: () => sink.end(),
      failed: (error) => sink.failed(invokeError(target, error, 'check that the service answers at its URL')),
    })
  } catch (error) {
    sink.failed(invokeError(target, error))
    return nothing
  }
}

function callOwn(options: InvokeBlockOptions, target: string, invocation: Invocation, sink: ResponseSink): (reason?: Error) => void {
  try {
    if (!options.app) throw new GrpcStatus(Code.Internal, 'app channel is not initialized')
    return callApp(options.app, invocation, options.maxBodySize || 4 * 1024 * 1024, {
      head: (status, headers, source, answer) => sink.head(status, headers, source, answer),
      data: (chunk) => sink.data(chunk),
      end: () => sink.end(),
      failed: (error) => sink.failed(invokeError(target, error, 'check that the app is running and listens on --app-port')),
    })
  } catch (error) {
    sink.failed(invokeError(target, error, options.app ? undefined : 'start the sidecar with --app-port'))
    return nothing
  }
}

/** One call to another app: resolve → call → reply, and back to resolve when the connection failed and nothing is lost by it. */
class RemoteCall implements ResponseSink {
  readonly #options: InvokeBlockOptions
  readonly #target: string
  readonly #appId: string
  readonly #namespace: string
  readonly #invocation: Invocation
  readonly #sink: ResponseSink
  #cancel: ((reason?: Error) => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #address: string | undefined
  #turn: Turn | undefined
  #tries = 0
  #lostAt = 0
  #pause = 0
  #began = 0
  #answered = false
  #bad = false
  #over = false

  constructor(options: InvokeBlockOptions, target: string, appId: string, namespace: string, invocation: Invocation, sink: ResponseSink) {
    this.#options = options
    this.#target = target
    this.#appId = appId
    this.#namespace = namespace
    this.#invocation = invocation
    this.#sink = sink
  }

  start(): void {
    try {
      const found = this.#options.resolver.resolve(this.#appId, this.#namespace)
      if (Array.isArray(found)) this.#go(found)
      else
        found.then(
          (addresses) => this.#go(addresses),
          (error: unknown) => this.#fail(error),
        )
    } catch (error) {
      this.#fail(error)
    }
  }

  #go(addresses: Address[]): void {
    if (this.#over) return
    if (addresses.length === 0)
      return this.#fail(
        new Error(`couldn't find service: ${this.#appId}`),
        `no running sidecar has the app id ${this.#appId} in namespace ${this.#namespace}: start it, or check the spelling`,
      )
    const before = this.#address
    this.#turn = takeTurn(this.#options.resolver.balancer, addresses, before, this.#options.policies?.outliers?.(this.#target))
    const { address } = this.#turn
    this.#address = address
    const go = () => {
      if (this.#over) return
      this.#options.metrics?.requestSent(this.#appId, 'unary')
      this.#began = performance.now()
      this.#cancel = this.#options.peers.invoke(address, this.#appId, this.#invocation, this)
    }
    // Another address is tried at once; the same one gets time to come back.
    if (before === address) this.#timer = setTimeout(go, this.#pause)
    else go()
  }

  head(...given: Parameters<ResponseSink['head']>): void {
    this.#answered = true
    this.#options.metrics?.responseReceived(this.#appId, given[0], 'unary', performance.now() - this.#began)
    this.#bad = isServerFault(given[0])
    this.#sink.head(...given)
  }

  data(chunk: Buffer): void {
    this.#sink.data(chunk)
  }

  end(): void {
    this.#over = true
    this.#turn?.end(false, this.#bad)
    this.#sink.end()
  }

  failed(error: Error): void {
    if (this.#over) return
    const status = GrpcStatus.from(error)
    const lost = status.code === Code.Unavailable || status.code === Code.Unauthenticated
    this.#turn?.end(lost, true)
    if (lost) {
      this.#options.resolver.invalidate(this.#appId, this.#namespace)
      if (this.#address) this.#options.peers.forget(this.#address)
    }
    const { body } = this.#invocation
    const replayable = body === undefined || Buffer.isBuffer(body) || !body.readableDidRead
    const pause = lost && !this.#answered && replayable ? this.#next() : undefined
    if (pause === undefined)
      return this.#fail(
        lost && this.#tries > 0
          ? new Error(`failed to invoke target ${this.#appId} after ${this.#tries} retries. Error: ${describeStatus(status)}`, {
              cause: error,
            })
          : error,
      )
    this.#pause = pause
    this.#tries++
    this.start()
  }

  /** Milliseconds before the next try; undefined: there is none. */
  #next(): number | undefined {
    const { policies, retry = BUILT_IN } = this.#options
    if (policies?.hasApp(this.#appId)) return undefined
    this.#lostAt ||= performance.now()
    const wait = waitBefore(retry, this.#tries + 1, performance.now() - this.#lostAt)
    return wait === undefined || policies?.mayRetry?.(this.#target) === false ? undefined : wait
  }

  #fail(error: unknown, hint?: string): void {
    if (this.#over) return
    this.#over = true
    this.#sink.failed(invokeError(this.#target, error, hint))
  }

  abort(reason?: Error): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    // Only a passed deadline is the other side's doing.
    this.#turn?.end(false, reason?.message === 'context deadline exceeded' ? true : undefined)
    this.#cancel?.(reason)
  }
}

function nothing(): void {}
