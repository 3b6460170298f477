import { createHash } from 'node:crypto'
import type { Server } from 'node:http'
import { hostname, userInfo } from 'node:os'
import { createGrpcApi, type GrpcApi } from '../api/grpc/api.ts'
import { bindingMethods } from '../api/grpc/bindings.ts'
import { configurationMethods } from '../api/grpc/configuration.ts'
import { conversationMethods } from '../api/grpc/conversation.ts'
import { cryptoMethods } from '../api/grpc/crypto.ts'
import { healthMethods } from '../api/grpc/health.ts'
import { invokeMethods } from '../api/grpc/invoke.ts'
import { lockMethods } from '../api/grpc/lock.ts'
import { metadataMethods } from '../api/grpc/metadata.ts'
import { publishMethods } from '../api/grpc/publish.ts'
import { reflectionMethods } from '../api/grpc/reflection.ts'
import { secretsMethods } from '../api/grpc/secrets.ts'
import { shutdownMethods } from '../api/grpc/shutdown.ts'
import { stateMethods } from '../api/grpc/state.ts'
import { subscribeMethods } from '../api/grpc/subscribe.ts'
import { unavailableMethods } from '../api/grpc/unavailable.ts'
import { allowedRoutes } from '../api/http/allow.ts'
import type { Exchange } from '../api/http/exchange.ts'
import type { Route } from '../api/http/route.ts'
import { bindingsRoutes } from '../api/http/routes/bindings.ts'
import { configurationRoutes } from '../api/http/routes/configuration.ts'
import { conversationRoutes } from '../api/http/routes/conversation.ts'
import { cryptoRoutes } from '../api/http/routes/crypto.ts'
import { HEALTH_PATHS, type Health, healthRoutes } from '../api/http/routes/health.ts'
import { invokeHandler } from '../api/http/routes/invoke.ts'
import { lockRoutes } from '../api/http/routes/lock.ts'
import { metadataRoutes } from '../api/http/routes/metadata.ts'
import { publishRoutes } from '../api/http/routes/publish.ts'
import { secretsRoutes } from '../api/http/routes/secrets.ts'
import { shutdownRoutes } from '../api/http/routes/shutdown.ts'
import { stateRoutes } from '../api/http/routes/state.ts'
import { unavailableRoutes } from '../api/http/routes/unavailable.ts'
import { HttpApi } from '../api/http/server.ts'
import type { App } from '../app/app.ts'
import type { Pipeline } from '../app/middleware/pipeline.ts'
import type { MetadataBlock } from '../blocks/metadata.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { codeName, messageOf, type OutriderError } from '../errors.ts'
import { hostAddress } from '../peers/names/host-address.ts'
import { isLoopback } from '../peers/resolver.ts'
import { createPeerServer, type PeerServer } from '../peers/server.ts'
import type { Authorize } from '../policy/access-control.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorCategory, type Metrics } from '../telemetry/metrics.ts'
import { metricsPage } from '../telemetry/open-metrics.ts'
import { tracingEnabled } from '../telemetry/tracing/open.ts'
import type { Tracer } from '../telemetry/tracing/tracer.ts'
import type { MutualTls } from '../transport/grpc/server.ts'
import { createServer } from '../transport/node-http.ts'
import type { Blocks } from './blocks.ts'

export interface EdgesOptions {
  flags: DaprdFlags
  log: Logger
  blocks: Blocks
  app: App | undefined
  metadata: MetadataBlock
  health: Health
  metrics: Metrics
  configuration: Configuration
  /** Undefined: nobody traces. */
  tracer: Tracer | undefined
  /** Middleware of the HTTP API. */
  pipeline: Pipeline | undefined
  /** With mTLS: what the internal port proves itself by. */
  identity?: MutualTls | undefined
  /** Whether other sidecars may make a call. */
  authorize?: Authorize | undefined
  shutdown: (force: boolean) => void
}

/** All ports of one sidecar. */
export interface Edges {
  /** Requests on all ports so far. */
  readonly requests: number
  /** Opens every port; rejects when none of the API's addresses can be bound. */
  listen(): Promise<void>
  close(grace: number): Promise<void>
}

/** Loopback unless the command line says otherwise: a sidecar serves the app beside it. */
const LOOPBACK = ['127.0.0.1']

export function openEdges(options: EdgesOptions): Edges {
  const { flags, log, blocks, metadata, health, metrics, configuration } = options
  const namespace = flags.environment.namespace || 'default'
  // The edges write "no limit" as 0.
  const maxBodySize = Number.isFinite(flags.maxBodySize) ? flags.maxBodySize : 0
  const open = healthRoutes(health)
  const invoke = invokeHandler(blocks.invoke, { maxBodySize })
  const invokeRoute: Route = {
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'CONNECT', 'TRACE'],
    path: '/v1.0/invoke/*',
    group: 'invoke',
    version: 'v1',
    name: 'InvokeService',
    handler: invoke,
  }
  const routes = allowedRoutes(
    [
      ...open,
      ...metadataRoutes(metadata),
      ...shutdownRoutes(options.shutdown),
      ...stateRoutes(blocks.state),
      ...publishRoutes(blocks.pubsub),
      ...bindingsRoutes(blocks.bindings),
      ...secretsRoutes(blocks.secrets),
      ...configurationRoutes(blocks.configuration),
      ...lockRoutes(blocks.lock),
      ...conversationRoutes(blocks.conversation),
      ...cryptoRoutes(blocks.crypto),
      ...unavailableRoutes(flags.appId, namespace),
      invokeRoute,
    ],
    configuration.api.allowed,
    configuration.api.denied,
  )
  const apiLog = log.scope('dapr.runtime.http-info')
  const logCalls = flags.enableApiLogging ?? configuration.apiLogging.enabled
  const grpcLog = log.scope('dapr.runtime.grpc.api-info')
  const logServed = ({ request, path, route, status, sent }: Exchange, elapsed: number) => {
    if (configuration.apiLogging.omitHealthChecks && route?.group === 'healthz') return
    const agent = request.headers['user-agent']
    apiLog.info('HTTP API Called', {
      method: configuration.apiLogging.obfuscateUrls ? (route?.name ?? 'InvokeService') : `${request.method} ${path}`,
      ...(agent !== undefined && { useragent: agent }),
      code: status,
      size: sent,
      duration: Math.trunc(elapsed),
    })
  }
  const countError = (error: OutriderError, group: string | undefined, path: string) => {
    if (configuration.metrics.recordErrorCodes) metrics.errorCodes.add(flags.appId, errorCategory(error.code, group), error.code)
    log.debug(`${path}: ${error.message}`)
  }
  const http = new HttpApi({
    routes,
    fallback: routes.includes(invokeRoute) ? invoke : undefined,
    apiToken: flags.environment.apiToken,
    maxBodySize,
    readBufferSize: flags.readBufferSize,
    allowedOrigins: flags.allowedOrigins.join(','),
    h2c: !flags.environment.disableH2c,
    open: HEALTH_PATHS,
    tracer: options.tracer,
    baggage: tracingEnabled(configuration.tracing.samplingRate),
    pipeline: options.pipeline,
    onError: (error, route, path) => countError(error, route?.group, path),
    onServed(served) {
      const elapsed = performance.now() - served.began
      countServed(metrics, served, elapsed)
      if (logCalls) logServed(served, elapsed)
    },
  })
  const stopping = new AbortController()
  let grpc: GrpcApi | undefined
  let peers: PeerServer | undefined
  let publicApi: HttpApi | undefined
  let registration: AsyncDisposable | undefined
  const metricsServer = createServer((request, response) => {
    const { contentType, body } = metricsPage(metrics.text(), request.headers.accept)
    response.writeHead(200, { 'content-type': contentType }).end(body)
  })
  let profiling: Server | undefined

  const listenMetrics = () =>
    new Promise<void>((resolve) => {
      const host = flags.given.has('metrics-listen-address') ? flags.metricsListenAddress : LOOPBACK[0]
      metricsServer.once('error', (error) => {
        log.error(`metrics port ${flags.metricsPort} cannot be opened: ${error.message}; choose another with --metrics-port`)
        resolve()
      })
      metricsServer.listen(flags.metricsPort, host, () => resolve())
    })

  const listenInternal = async () => {
    const host = flags.daprInternalGrpcListenAddress || (LOOPBACK[0] as string)
    const common = {
      host,
      app: options.app,
      appId: flags.appId,
      namespace,
      maxMessageSize: maxBodySize,
      unknown: () => blocks.proxy.fromPeer,
      mutual: options.identity,
      authorize: options.authorize,
    }
    peers = await createPeerServer({ ...common, port: flags.daprInternalGrpcPort || stablePort(flags.appId) }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE' || flags.daprInternalGrpcPort !== 0)
          throw new Error(
            `internal gRPC port ${flags.daprInternalGrpcPort} cannot be opened: ${messageOf(error)}; choose another with --dapr-internal-grpc-port`,
          )
        return createPeerServer({ ...common, port: 0 })
      },
    )
    log.info(`internal gRPC server is running on ${host}:${peers.port}`)
    registration = await blocks.resolver.register({
      appId: flags.appId,
      namespace,
      // As daprd: who listens on loopback is found there; others by the address that the machine is known by.
      host: isLoopback(host) ? host : (flags.environment.hostIp ?? (await hostAddress()) ?? (LOOPBACK[0] as string)),
      port: peers.port,
      httpPort: flags.daprHttpPort,
      ...(flags.appPort ? { appPort: flags.appPort } : {}),
    })
  }

  return {
    get requests() {
      return http.requests + (grpc?.calls ?? 0) + (peers?.calls ?? 0)
    },
    async listen() {
      const addresses = flags.daprListenAddresses.length > 0 ? flags.daprListenAddresses : LOOPBACK
      const methods = [
        ...stateMethods(blocks.state),
        ...publishMethods(blocks.pubsub),
        ...secretsMethods(blocks.secrets),
        ...configurationMethods(blocks.configuration, (error) => countError(error, 'configuration', 'UnsubscribeConfiguration')),
        ...lockMethods(blocks.lock),
        ...metadataMethods(metadata),
        ...shutdownMethods(options.shutdown),
        ...unavailableMethods({ appId: flags.appId, namespace, httpApp: options.app?.wire === 'http', stopping: stopping.signal }),
        ...subscribeMethods(blocks.pubsub, log),
        ...conversationMethods(blocks.conversation),
        ...cryptoMethods(blocks.crypto),
        ...bindingMethods(blocks.bindings),
        ...invokeMethods(blocks.invoke, { maxMessageSize: maxBodySize }),
        ...healthMethods(health),
      ]
      grpc = createGrpcApi({
        methods: [...methods, ...reflectionMethods(methods)],
        maxMessageSize: maxBodySize,
        proxy: () => blocks.proxy.fromApp,
        apiToken: flags.environment.apiToken,
        allowed: configuration.api.allowed,
        denied: configuration.api.denied,
        onError: countError,
        tracer: options.tracer,
        baggage: tracingEnabled(configuration.tracing.samplingRate),
        onCall({ received, sent, elapsed, ...call }) {
          countCall(metrics, call.method, codeName(call.code), received, sent, elapsed)
          if (logCalls) grpcLog.info('gRPC API Called', { ...call, duration: Math.trunc(elapsed) })
        },
      })
      if (flags.unixDomainSocket) {
        await http.listen({ path: `${flags.unixDomainSocket}/dapr-${flags.appId}-http.socket` })
        await grpc.listen({ path: `${flags.unixDomainSocket}/dapr-${flags.appId}-grpc.socket` })
      } else {
        await listenAny(
          'HTTP API',
          'dapr-http-port',
          flags.daprHttpPort,
          addresses,
          (host) => http.listen({ host, port: flags.daprHttpPort }),
          log,
        )
        const api = grpc
        await listenAny(
          'gRPC API',
          'dapr-grpc-port',
          flags.daprGrpcPort,
          addresses,
          (host) => api.listen({ host, port: flags.daprGrpcPort }),
          log,
        )
      }
      await listenInternal()
      if (flags.daprPublicPort !== undefined) {
        publicApi = new HttpApi({
          routes: [...open, ...metadataRoutes(metadata)],
          maxBodySize: 0,
          readBufferSize: flags.readBufferSize,
          h2c: false,
        })
        await publicApi.listen({ host: flags.daprPublicListenAddress || undefined, port: flags.daprPublicPort })
      }
      if (flags.enableMetrics && configuration.metrics.enabled) await listenMetrics()
      if (flags.enableProfiling) profiling = await listenProfiling(flags.profilePort, log)
      log.info(`HTTP server is running on port ${flags.daprHttpPort}; gRPC server is running on port ${flags.daprGrpcPort}`)
    },
    async close(grace) {
      stopping.abort()
      await registration?.[Symbol.asyncDispose]()
      await Promise.all([http.close(grace), grpc?.close(grace), peers?.close(grace), publicApi?.close(grace)])
      profiling?.close()
      profiling?.closeAllConnections()
      metricsServer.closeAllConnections()
      await new Promise<void>((resolve) => metricsServer.close(() => resolve()))
    },
  }
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

/** Profiles hold what the app has sent: loopback only. Undefined when the port is taken. */
async function listenProfiling(port: number, log: Logger): Promise<Server | undefined> {
  const { createProfilingServer } = await import('../telemetry/profiling.ts')
  const server = createProfilingServer()
  return new Promise((resolve) => {
    server.once('error', (error) => {
      log.error(`profiling port ${port} cannot be opened: ${error.message}; choose another with --profile-port`)
      resolve(undefined)
    })
    server.listen(port, LOOPBACK[0], () => {
      log.info(`profiles are served at http://${LOOPBACK[0]}:${port}/debug/pprof/`)
      resolve(server)
    })
  })
}

/** As daprd: an address that cannot be bound is passed over, but one of them must work. */
async function listenAny(
  what: string,
  flag: string,
  port: number,
  addresses: readonly string[],
  listen: (host: string) => Promise<unknown>,
  log: Logger,
): Promise<void> {
  const failures: string[] = []
  for (const host of addresses) {
    await listen(host).catch((error: unknown) => {
      failures.push(messageOf(error))
      log.debug(`${what} cannot listen on ${host}:${port}: ${messageOf(error)}`)
    })
  }
  if (failures.length === addresses.length)
    throw new Error(`could not listen on any endpoint: ${what}: ${failures.join('; ')}; choose another port with --${flag}`)
}

/** daprd's internal port for an app on this machine: the same at every start, so that callers need not look again. */
function stablePort(appId: string): number {
  const digest = createHash('sha256').update(`${appId}${process.cwd()}${userInfo().uid}${hostname()}`).digest()
  return (digest.readUInt16LE(0) % (65_535 - 47_300)) + 47_300
}
