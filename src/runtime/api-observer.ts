import type { GrpcApiOptions } from '../api/grpc/api.ts'
import type { Exchange } from '../api/http/exchange.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { codeName, type OutriderError } from '../errors.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import { decodedPath } from '../telemetry/decoded-path.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorCategory, type Metrics } from '../telemetry/metrics.ts'

export interface ApiObserverOptions {
  flags: DaprdFlags
  log: Logger
  configuration: Configuration
  metrics: Metrics
}

/** Hears of what both APIs served: counts it, and logs it where that is wanted. */
export interface ApiObserver {
  /** An HTTP request is over. */
  served(exchange: Exchange): void
  /** A gRPC call is over. */
  called: NonNullable<GrpcApiOptions['onCall']>
  failed(error: OutriderError, group: string | undefined, path: string): void
}

export function createApiObserver({ flags, log, configuration, metrics }: ApiObserverOptions): ApiObserver {
  const { apiLogging } = configuration
  const httpLog = log.scope('dapr.runtime.http-info')
  const grpcLog = log.scope('dapr.runtime.grpc.api-info')
  const logCalls = flags.enableApiLogging ?? apiLogging.enabled
  const logServed = (exchange: Exchange, elapsed: number) => {
    const { request, path, route, status, sent } = exchange
    if (apiLogging.omitHealthChecks && route?.group === 'healthz') return
    const agent = request.headers['user-agent']
    httpLog.info('HTTP API Called', {
      method: apiLogging.obfuscateUrls ? obfuscated(exchange) : `${request.method} ${decodedPath(path)}`,
      ...(agent !== undefined && { useragent: agent }),
      code: status,
      size: sent,
      duration: Math.trunc(elapsed),
    })
  }
  return {
    served(exchange) {
      const elapsed = performance.now() - exchange.began
      countServed(metrics, exchange, elapsed)
      if (logCalls) logServed(exchange, elapsed)
    },
    called({ received, sent, elapsed, ...call }) {
      countCall(metrics, call.method, codeName(call.code), received, sent, elapsed)
      if (logCalls) grpcLog.info('gRPC API Called', { ...call, duration: Math.trunc(elapsed) })
    },
    failed(error, group, path) {
      if (configuration.metrics.recordErrorCodes) metrics.errorCodes.add(flags.appId, errorCategory(error.code, group), error.code)
      log.debug(`${path}: ${error.message}`)
    },
  }
}

/** An operation by its name instead of its path; of an invocation also whom it is for. */
function obfuscated({ request, path, route, params }: Exchange): string {
  const name = route?.name ?? 'InvokeService'
  if (name === 'InvokeActor') return `${name}/${params.type}.${params.id}`
  if (name !== 'InvokeService') return name
  const target = /^\/v1\.0\/invoke\/([^/]+)/.exec(path)?.[1] ?? request.headers['dapr-app-id']
  return target ? `${name}/${target}` : name
}

/** Streams of the API itself are not counted, as in Dapr; proxied calls are, without their bytes. */
function countCall(metrics: Metrics, method: string, status: string, received: number | undefined, sent: number, elapsed: number): void {
  if (received !== undefined) metrics.grpcServer.unary(method, status, received, sent, elapsed)
  else if (!method.startsWith('/dapr.proto.')) metrics.grpcServer.stream(method, status, elapsed)
}

function countServed(metrics: Metrics, { request, path, status, sent }: Exchange, elapsed: number): void {
  const length = request.headers['content-length']
  metrics.http.served(request.method as string, path, status, length === undefined ? 0 : Number(length), sent, elapsed)
}
