import { setTimeout as pause } from 'node:timers/promises'
import type { ApiTokens } from '../api/api-token.ts'
import { createGrpcApi, type GrpcApi } from '../api/grpc/api.ts'
import { bindingMethods } from '../api/grpc/bindings.ts'
import { configurationMethods } from '../api/grpc/configuration.ts'
import { conversationMethods } from '../api/grpc/conversation.ts'
import { cryptoMethods } from '../api/grpc/crypto.ts'
import { healthMethods } from '../api/grpc/health.ts'
import { invokeMethods } from '../api/grpc/invoke.ts'
import { lockMethods } from '../api/grpc/lock.ts'
import { metadataMethods } from '../api/grpc/metadata.ts'
import { tracedProxy } from '../api/grpc/proxy-span.ts'
import { publishMethods } from '../api/grpc/publish.ts'
import { reflectionMethods } from '../api/grpc/reflection.ts'
import { secretsMethods } from '../api/grpc/secrets.ts'
import { shutdownMethods } from '../api/grpc/shutdown.ts'
import { stateMethods } from '../api/grpc/state.ts'
import { subscribeMethods } from '../api/grpc/subscribe.ts'
import { unavailableMethods } from '../api/grpc/unavailable.ts'
import { allowedRoutes } from '../api/http/allow.ts'
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
import { messageOf } from '../errors.ts'
import { hostAddress } from '../peers/names/host-address.ts'
import { isLoopback } from '../peers/resolver.ts'
import { createPeerServer, type PeerServer } from '../peers/server.ts'
import type { Authorize } from '../policy/access-control.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { tracingEnabled } from '../telemetry/tracing/open.ts'
import type { Tracer } from '../telemetry/tracing/tracer.ts'
import { BodyBudget } from '../transport/body-budget.ts'
import type { MutualTls } from '../transport/grpc/server.ts'
import type { ListenAt, Listening, Ports } from '../transport/ports.ts'
import { createApiObserver } from './api-observer.ts'
import type { Blocks } from './blocks.ts'
import { listenAny, stablePort } from './listening.ts'
import { openSidePorts } from './side-ports.ts'

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
  /** What callers of the APIs have to bring. */
  apiToken?: ApiTokens | undefined
  shutdown: (force: boolean) => void
  /** The sockets it listens on. */
  ports: Ports
}

/** All ports of one sidecar. */
export interface Edges {
  /** Requests on all ports so far. */
  readonly requests: number
  /** Opens every port; rejects when none of the API's addresses can be bound. */
  listen(): Promise<void>
  /** Other sidecars find it no more, and those that are connected take new calls elsewhere; theirs under way finish within `grace` ms. */
  leave(grace: number): Promise<void>
  /**
   * Serves on for as long as requests come, a moment at most, so that whoever looks at its health has turned away; then takes no
   * more, and lets what runs finish within `grace` ms.
   */
  close(grace: number): Promise<void>
}

/** Milliseconds without a request after which nobody is taken to come, and the longest wait for that. */
const QUIET = 30
const LAME_DUCK = 500

/** Loopback unless the command line says otherwise: a sidecar serves the app beside it. */
const LOOPBACK = ['127.0.0.1']

export function openEdges(options: EdgesOptions): Edges {
  const { flags, log, blocks, metadata, health, metrics, configuration, ports } = options
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
  const bodies = new BodyBudget()
  const observer = createApiObserver({ flags, log, configuration, metrics })
  const http = new HttpApi({
    routes,
    fallback: routes.includes(invokeRoute) ? invoke : undefined,
    apiToken: options.apiToken,
    maxBodySize,
    bodies,
    readBufferSize: flags.readBufferSize,
    allowedOrigins: flags.allowedOrigins.join(','),
    h2c: !flags.environment.disableH2c,
    open: HEALTH_PATHS,
    tracer: options.tracer,
    baggage: tracingEnabled(configuration.tracing.samplingRate),
    pipeline: options.pipeline,
    onError: (error, route, path) => observer.failed(error, route?.group, path),
    onServed: observer.served,
  })
  const stopping = new AbortController()
  let grpc: GrpcApi | undefined
  let peers: PeerServer | undefined
  let publicApi: HttpApi | undefined
  let registration: AsyncDisposable | undefined
  const listening: Listening[] = []
  const fromApp = tracedProxy(blocks.proxy.fromApp, options.tracer, flags.appId)
  const fromPeer = tracedProxy(blocks.proxy.fromPeer, options.tracer, flags.appId)
  let side: AsyncDisposable | undefined

  const listenGrpc = async (api: GrpcApi, at: ListenAt) => {
    listening.push(await ports.listen(at, (socket) => api.accept(socket)))
  }

  const listenInternal = async () => {
    // A pod's sidecar is called from other pods; elsewhere who wants that says so.
    const host = flags.daprInternalGrpcListenAddress || (flags.mode === 'kubernetes' ? '' : (LOOPBACK[0] as string))
    const open = (port: number) =>
      createPeerServer({
        host,
        port,
        app: options.app,
        appId: flags.appId,
        namespace,
        maxMessageSize: maxBodySize,
        unknown: () => fromPeer,
        mutual: options.identity,
        authorize: options.authorize,
        get inbound() {
          return blocks.traffic.app
        },
        observer: { metrics: metrics.runtime, tracer: options.tracer },
        ports,
      })
    peers = await open(flags.daprInternalGrpcPort || stablePort(flags.appId)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || flags.daprInternalGrpcPort !== 0)
        throw new Error(
          `internal gRPC port ${flags.daprInternalGrpcPort} cannot be opened: ${messageOf(error)}; choose another with --dapr-internal-grpc-port`,
        )
      return open(0)
    })
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
        ...configurationMethods(blocks.configuration, (error) => observer.failed(error, 'configuration', 'UnsubscribeConfiguration')),
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
        bodies,
        proxy: () => fromApp,
        apiToken: options.apiToken,
        allowed: configuration.api.allowed,
        denied: configuration.api.denied,
        onError: observer.failed,
        tracer: options.tracer,
        baggage: tracingEnabled(configuration.tracing.samplingRate),
        onCall: observer.called,
      })
      if (flags.unixDomainSocket) {
        await http.listen({ path: `${flags.unixDomainSocket}/dapr-${flags.appId}-http.socket` }, ports)
        await listenGrpc(grpc, { path: `${flags.unixDomainSocket}/dapr-${flags.appId}-grpc.socket` })
      } else {
        await listenAny(
          'HTTP API',
          'dapr-http-port',
          flags.daprHttpPort,
          addresses,
          (host) => http.listen({ host, port: flags.daprHttpPort }, ports),
          log,
        )
        const api = grpc
        await listenAny(
          'gRPC API',
          'dapr-grpc-port',
          flags.daprGrpcPort,
          addresses,
          (host) => listenGrpc(api, { host, port: flags.daprGrpcPort }),
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
        await publicApi.listen({ host: flags.daprPublicListenAddress || undefined, port: flags.daprPublicPort }, ports)
      }
      side = await openSidePorts({ flags, log, metrics: configuration.metrics.enabled ? metrics : undefined })
      log.info(`HTTP server is running on port ${flags.daprHttpPort}; gRPC server is running on port ${flags.daprGrpcPort}`)
    },
    async leave(grace) {
      await registration?.[Symbol.asyncDispose]()
      await peers?.close(grace)
    },
    async close(grace) {
      stopping.abort()
      http.drain()
      const served = () => http.requests + (grpc?.calls ?? 0)
      const end = performance.now() + Math.min(LAME_DUCK, grace / 2)
      for (let before = 0; served() !== before && performance.now() < end; ) {
        before = served()
        await pause(QUIET)
      }
      for (const one of listening) one.close()
      await Promise.all([http.close(grace), grpc?.close(grace), publicApi?.close(grace)])
      await side?.[Symbol.asyncDispose]()
    },
  }
}
