import type { IncomingHttpHeaders } from 'node:http2'
import type { App } from '../../app/app.ts'
import { isTruthy } from '../../components/metadata.ts'
import { Code, OutriderError } from '../../errors.ts'
import { MethodError, normalizeMethod } from '../../peers/invocation.ts'
import { Relay } from '../../peers/relay.ts'
import type { RelayPolicy } from '../../peers/relay-options.ts'
import type { Address, Resolver } from '../../peers/resolver.ts'
import { type Turn, takeTurn } from '../../peers/resolver-balancer.ts'
import type { Authorize } from '../../policy/access-control.ts'
import type { CallPolicies } from '../../policy/resiliency.ts'
import type { Runner } from '../../policy/runner.ts'
import { isServerFault } from '../../policy/server-fault.ts'
import type { InboundPolicies } from '../../policy/traffic/inbound.ts'
import type { RuntimeMetrics } from '../../telemetry/runtime-metrics.ts'
import type { GrpcClient, RawStream } from '../../transport/grpc/client.ts'
import type { GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { ServerStream } from '../../transport/http2/stream.ts'
import type { SpiffeId } from '../../transport/identity/spiffe.ts'
import { REPLAYED } from './under-policy.ts'

export interface GrpcProxyOptions {
  appId: string
  namespace: string
  app?: App | undefined
  /** Connections to other sidecars. */
  grpc: Pick<GrpcClient, 'raw' | 'forget'>
  resolver: Pick<Resolver, 'resolve' | 'invalidate' | 'balancer'>
  /** Bytes of one message. */
  maxMessageSize: number
  /** Policies on calls to other apps; absent when none are configured. */
  policies?: Pick<CallPolicies, 'app' | 'outliers'> | undefined
  /** Access control on calls of other sidecars: throws to refuse. */
  authorize?: Authorize | undefined
  /** Policies on calls of other sidecars; absent when none are configured. */
  inbound?: InboundPolicies | undefined
  /** Counts calls to other apps. */
  metrics?: RuntimeMetrics | undefined
}

/** Passes gRPC methods that a sidecar does not know on to the app that the metadata names. */
export interface GrpcProxy {
  /** For the API's port: to the app beside us, or to another app through its sidecar. */
  readonly fromApp: GrpcMethod
  /** For the internal port: to the app beside us only. */
  readonly fromPeer: GrpcMethod
}

/** A failed connection is tried once more where there is one address, else as often as there may be others. */
const TRIES = 3

export function createGrpcProxy(options: GrpcProxyOptions): GrpcProxy {
  const handler = (outer: boolean): GrpcMethod => ({
    kind: 'raw',
    handle(stream, headers, rawHeaders, peer) {
      const target = targetOf(headers)
      const parts = target.split('.')
      const appId = parts[0] as string
      if (appId === '' || parts.length > 2) throw unroutable(target === '' ? 'app id is empty' : `invalid app id ${target}`)
      if (appId === options.appId) return toOwnApp(options, stream, headers, rawHeaders, outer, peer)
      // Where a sidecar was and another app's is now: the caller asks the resolver again.
      if (!outer)
        throw new GrpcStatus(Code.Unavailable, `failed to proxy request: this is the sidecar of ${options.appId}, not of ${appId}`)
      toPeer(options, stream, headers, rawHeaders, target, appId, parts[1] ?? options.namespace)
    },
  })
  return { fromApp: handler(true), fromPeer: handler(false) }
}

function targetOf(headers: IncomingHttpHeaders): string {
  const target = headers['dapr-callee-app-id'] ?? headers['dapr-app-id']
  if (typeof target !== 'string')
    throw unroutable(
      /^\/(dapr\.proto\.(internals|runtime)\.|TaskHubSidecarService)/.test(headers[':path'] as string)
        ? 'failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found'
        : 'cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata',
    )
  // Several values came joined; the first counts.
  const comma = target.indexOf(',')
  return comma < 0 ? target : target.slice(0, comma)
}

/** Unknown, as daprd has it, for methods that Dapr does not have too; Dapr's SDK for .NET looks for that in the text. */
function unroutable(message: string): OutriderError {
  const hint =
    'a method that Dapr does not have is passed on to the app of the metadata dapr-app-id: name one, or check the name of the method'
  return new OutriderError({ code: 'ERROR', http: 500, grpc: Code.Unknown, message, hint })
}

function toOwnApp(
  options: GrpcProxyOptions,
  stream: ServerStream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
  outer: boolean,
  peer: SpiffeId | undefined,
): void {
  const { app } = options
  const path = headers[':path'] as string
  let method: string
  try {
    method = normalizeMethod(path)
  } catch (error) {
    throw error instanceof MethodError ? new GrpcStatus(Code.InvalidArgument, error.message) : error
  }
  const delivered = `/${method}`
  if (!outer) options.authorize?.({ method: delivered, verb: '', http: false, peer })
  if (app?.wire !== 'grpc')
    throw new GrpcStatus(
      Code.Unavailable,
      app
        ? 'failed to proxy request: the app does not speak gRPC; start its sidecar with --app-protocol grpc'
        : 'failed to proxy request: app channel is not initialized; start the sidecar with --app-port',
    )
  const { channel } = app
  const outgoing = forwarded(rawHeaders, outer)
  // What was looked at is what goes on.
  if (path !== delivered) outgoing[outgoing.indexOf(':path') + 1] = delivered
  if (channel.token !== undefined) outgoing.push('dapr-api-token', channel.token)
  let tries = 0
  new Relay(stream, headers, {
    limit: options.maxMessageSize,
    open: () => channel.raw(outgoing),
    again: () => tries++ === 0,
    policy: outer ? undefined : policyOfCaller(options.inbound, headers, peer),
  }).start()
}

function toPeer(
  options: GrpcProxyOptions,
  stream: ServerStream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
  target: string,
  appId: string,
  namespace: string,
): void {
  const { grpc, resolver } = options
  const outgoing = forwarded(rawHeaders, true)
  outgoing.push('dapr-caller-app-id', options.appId, 'dapr-callee-app-id', appId)
  let tries = 0
  let address: string | undefined
  let turn: Turn | undefined
  let same = 0
  const began = performance.now()
  const type = isTruthy(text(headers['dapr-stream'])) ? 'streaming' : 'unary'
  stream.whenClosed(() => {
    turn?.end(false)
    if (address !== undefined)
      options.metrics?.responseReceived(appId, statusOf(stream), type, type === 'unary' ? performance.now() - began : undefined)
  })
  const go = (addresses: Address[]): RawStream => {
    if (addresses.length === 0) throw new GrpcStatus(Code.Unknown, `timeout waiting for address for app id ${appId}`)
    turn?.end(false)
    turn = takeTurn(resolver.balancer, addresses, address, options.policies?.outliers?.(target))
    if (stream.closed) turn.end(false)
    const chosen = turn.address
    if (address === undefined) options.metrics?.requestSent(appId, type)
    if (chosen === address) same++
    address = chosen
    return grpc.raw(chosen, outgoing)
  }
  new Relay(stream, headers, {
    limit: options.maxMessageSize,
    policy: policyOf(options.policies, headers, (failed) => turn?.end(false, failed)),
    open() {
      const found = resolver.resolve(appId, namespace)
      return Array.isArray(found) ? go(found) : found.then(go)
    },
    again() {
      turn?.end(true)
      resolver.invalidate(appId, namespace)
      if (address !== undefined) grpc.forget(address)
      return ++tries <= TRIES && same === 0
    },
  }).start()
}

/** The code that a reply ended with; Canceled when it had no end. */
function statusOf({ last }: ServerStream): number {
  if (!last || Buffer.isBuffer(last)) return Code.Canceled
  const at = last.indexOf('grpc-status')
  return at < 0 ? Code.Canceled : Number(last[at + 1])
}

/** As daprd: looked up by `dapr-app-id` only, whatever `dapr-callee-app-id` says. */
function policyOf(
  policies: GrpcProxyOptions['policies'],
  headers: IncomingHttpHeaders,
  onTry: (failed: boolean | undefined) => void,
): RelayPolicy | undefined {
  const target = policies && text(headers['dapr-app-id'])
  if (!target) return undefined
  const appId = target.split(',', 1)[0] as string
  const policy = policies.app(appId, `${appId}:${headers[':path']}`)
  if (!policy) return undefined
  const lasting = isTruthy(text(headers['dapr-stream']))
  const { fault, runner: outer } = policy
  const told: Runner = async (operation, signal) => {
    try {
      const result = await operation(signal)
      // A call that lasts has only begun.
      if (!lasting) onTry(false)
      return result
    } catch (error) {
      onTry(faulty(error))
      throw error
    }
  }
  const runner: Runner = (operation, signal) =>
    outer((inside) => told((innermost) => (fault ? fault(operation, innermost) : operation(innermost)), inside), signal)
  return { runner: policies.outliers || fault ? runner : outer, lasting, replay: policy.retries && !lasting ? REPLAYED : 65_536 }
}

/** Whether a failure is the doing of the app or its sidecar; undefined: it says nothing about them. */
function faulty(error: unknown): boolean | undefined {
  if ((error as Error).message === 'context deadline exceeded') return true
  const { code } = error as { code?: unknown }
  return typeof code === 'number' ? isServerFault(code) || undefined : undefined
}

function policyOfCaller(
  inbound: InboundPolicies | undefined,
  headers: IncomingHttpHeaders,
  peer: SpiffeId | undefined,
): RelayPolicy | undefined {
  if (!inbound) return undefined
  const caller = peer?.uri ?? text(headers['dapr-caller-app-id']) ?? ''
  return { runner: inbound(caller), lasting: isTruthy(text(headers['dapr-stream'])), replay: 65_536 }
}

/** What travels on: all but the names that end here. Those only a sidecar may set are kept when one has set them. */
function forwarded(rawHeaders: readonly string[], outer: boolean): string[] {
  const list: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name === ':scheme' || name === ':authority' || name === 'dapr-app-id' || name === 'dapr-api-token') continue
    if (outer && (name === 'dapr-caller-app-id' || name === 'dapr-callee-app-id' || name === 'dapr-caller-namespace')) continue
    list.push(name, rawHeaders[i + 1] as string)
  }
  return list
}

function text(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
