import { flushCompileCache } from 'node:module'
import { createConnection } from 'node:net'
import type { App } from '../app/app.ts'
import { createGrpcChannel } from '../app/grpc-channel.ts'
import { AppHealth } from '../app/health.ts'
import { createHttpChannel } from '../app/http-channel.ts'
import { createPipeline, type Pipeline } from '../app/middleware/pipeline.ts'
import type { Middleware } from '../blocks/middleware/driver.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { parseDuration } from '../components/metadata.ts'
import type { Named } from '../components/sets.ts'
import { messageOf } from '../errors.ts'
import { Resiliency } from '../policy/resiliency.ts'
import { loadConfiguration } from '../resources/configuration.ts'
import type { Resources } from '../resources/kinds.ts'
import { emptyResources, loadResources } from '../resources/load.ts'
import type { Logger } from '../telemetry/log.ts'
import { Metrics } from '../telemetry/metrics.ts'
import { openTracing, type Tracing } from '../telemetry/tracing/open.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import { type Blocks, createBlocks } from './blocks.ts'
import { ComponentManager } from './component-manager.ts'
import { socketsFolder } from './drivers.ts'
import { type Edges, openEdges } from './edges.ts'
import { embeddedComponents } from './embedded.ts'
import { keepIdleMemoryLow } from './idle-memory.ts'
import { loadComponents } from './load-components.ts'
import { loadEndpoints } from './load-endpoints.ts'
import { SidecarMetadata } from './sidecar-metadata.ts'
import { openTokenFile, type TokenFile } from './token-file.ts'
import { openTrust } from './trust.ts'

export interface SidecarHooks {
  /** The app asked the sidecar to end. */
  shutdown(force: boolean): void
}

/**
 * One sidecar: `starting → ready ⇄ degraded → draining → stopped`.
 * Starting: configuration and resources are read, components come up, the edges listen, then the app is awaited and its
 * subscriptions and input bindings begin. Degraded: ready, but a component waits for its server (shown by health).
 */
export class Sidecar {
  readonly #flags: DaprdFlags
  readonly #log: Logger
  readonly #hooks: SidecarHooks
  readonly #stop = new AbortController()
  readonly #notReady = new Set<string>(['runtime'])
  #outbound = false
  #app: App | undefined
  #manager: ComponentManager | undefined
  #blocks: Blocks | undefined
  #edges: Edges | undefined
  #memory: Disposable | undefined
  #health: AppHealth | undefined
  #configured = false
  #identity: WorkloadIdentity | undefined
  #apiTokens: TokenFile | undefined
  #appToken: TokenFile | undefined
  #intakeEnd: Promise<void> | undefined
  #tracing: Tracing | undefined

  constructor(flags: DaprdFlags, log: Logger, hooks: SidecarHooks) {
    this.#flags = flags
    this.#log = log
    this.#hooks = hooks
  }

  /** Resolves when the sidecar is ready, or has been told to stop before; rejects with what ends it. */
  async start(): Promise<void> {
    const flags = this.#flags
    const log = this.#log
    const began = performance.now()
    log.info(`Starting Outrider (daprd compatible) for app ${flags.appId} in ${flags.mode} mode`)
    if (flags.mode === 'kubernetes') throw new Error('mode kubernetes is not served by this version; run with --mode standalone')
    const namespace = flags.environment.namespace
    const configuration = await loadConfiguration(flags.config, { log })
    const resources: Resources =
      flags.resourcesPaths.length > 0
        ? await loadResources({ paths: flags.resourcesPaths, appId: flags.appId, namespace, log })
        : emptyResources()
    this.#setEnvironment()
    this.#openTokenFiles()
    const identity = await openTrust(flags, log, this.#stop.signal)
    this.#identity = identity
    if (this.#stop.signal.aborted) return
    const http = flags.appProtocol !== 'grpc' && flags.appProtocol !== 'grpcs'
    const authorize =
      configuration.accessControl &&
      (await import('../policy/access-control.ts')).createAccessControl(configuration.accessControl, http, log.scope('dapr.acl'))
    if (authorize && !identity)
      log.warn('spec.accessControl knows callers by their certificates only: without --enable-mtls its defaultAction counts for all')

    const metrics = new Metrics({ appId: flags.appId, namespace, ...configuration.metrics })
    const manager = new ComponentManager({
      metrics: metrics.runtime,
      appId: flags.appId,
      namespace,
      log,
      retryUnreachable: !flags.outriderExitOnUnreachable,
      sockets: socketsFolder(process.env),
      check: (block, component) => {
        if (block === 'state') this.#blocks?.state.check(component as Named<StateStore>)
      },
      onChange: (kind, name) => this.#componentCame(kind, name),
    })
    this.#manager = manager
    const middleware = manager.set<Middleware>('middleware')
    const appPipeline = createPipeline(configuration.appHttpPipeline, middleware)
    const app = this.#openApp(appPipeline)
    const metadata = new SidecarMetadata({
      flags,
      manager,
      configuration,
      resources,
      subscriptions: () => this.#blocks?.pubsub.list() ?? [],
      waiting: () => this.#blocks?.forwarding?.waiting() ?? [],
    })
    const secretProperties = new Map<string, string>()
    const namespaced = new Set<string>()
    const resiliency = await Resiliency.load({ resources: resources.resiliencies, log, observer: metrics.resiliency.of(flags.appId) })
    const { otel } = configuration.tracing
    const tracing = await openTracing({
      ...configuration.tracing,
      samplingRate: configuration.tracing.samplingRate,
      otel: otel && { ...otel, timeout: otel.timeout === undefined ? undefined : parseDuration(otel.timeout) },
      appId: flags.appId,
      env: process.env,
      log,
    })
    this.#tracing = tracing
    const blocks = await createBlocks({
      flags,
      log,
      manager,
      configuration,
      app,
      namespace,
      secretProperties,
      namespaced,
      resiliency,
      traffic: { resources: resources.trafficPolicies, observer: metrics.traffic.of(flags.appId) },
      storeAndForward: { resources: resources.storeAndForwards, observer: metrics.forwarding.of(flags.appId) },
      appPipeline,
      identity,
      authorize,
      metrics: metrics.components,
      tracer: tracing?.tracer,
    })
    this.#blocks = blocks
    const { forwarding } = blocks
    if (forwarding) metrics.forwarding.watch(flags.appId, () => forwarding.waiting())
    const health = {
      appId: flags.appId,
      notReady: () => [...this.#notReady, ...manager.retrying().map((status) => `component-${status.name}`)],
      outboundReady: () => this.#outbound,
      reasons: () =>
        manager
          .retrying()
          .map((status) => `component ${status.name} (${status.type}) is ${status.state}${status.error ? `: ${status.error}` : ''}`),
    }
    const pipeline = createPipeline(configuration.httpPipeline, middleware)
    this.#edges = openEdges({
      flags,
      log,
      blocks,
      app,
      metadata,
      health,
      metrics,
      tracer: tracing?.tracer,
      configuration,
      pipeline,
      identity,
      authorize,
      apiToken: this.#apiTokens ? () => this.#apiTokens?.tokens ?? [] : flags.environment.apiToken,
      shutdown: this.#hooks.shutdown,
    })

    if (flags.outriderEmbedded) for (const spec of embeddedComponents(flags.outriderDataDir)) await manager.add(spec)
    await loadComponents(resources.components, {
      manager,
      log,
      appId: flags.appId,
      namespace,
      podName: flags.environment.podName,
      env: process.env,
      denied: configuration.deniedComponents,
      onNamespaced: (name) => namespaced.add(name),
      onSecretProperty: (component, property, secret) => secretProperties.set(`${component}/${property.toLowerCase()}`, secret),
    })
    for (const { name, type } of [...configuration.httpPipeline, ...configuration.appHttpPipeline]) {
      if (!middleware.has(name)) log.warn(`HTTP pipeline: no component ${name} of type ${type} is loaded, the step is passed over`)
    }
    for (const scope of configuration.secretScopes) {
      if (!manager.set('secretstores').has(scope.storeName))
        log.warn(`Secrets configuration added for '${scope.storeName}', but no matching secret store was found`)
    }
    await loadEndpoints(resources.httpEndpoints, {
      manager,
      log,
      namespace,
      env: process.env,
      appId: flags.appId,
      podName: flags.environment.podName,
      external: blocks.external,
    })
    log.info('All outstanding components processed')
    forwarding?.start()
    if (this.#stop.signal.aborted) return
    await this.#edges.listen()
    this.#outbound = true

    if (app) {
      await this.#awaitApp(app)
      if (this.#stop.signal.aborted) return
    }
    await blocks.declareSubscriptions(resources.subscriptions)
    if (app && flags.enableAppHealthCheck) this.#watchApp(app)
    else await this.#startIntake(app)
    if (this.#stop.signal.aborted) return
    this.#notReady.delete('runtime')
    const edges = this.#edges
    this.#memory = keepIdleMemoryLow(() => edges.requests)
    // A process that is killed never writes its compile cache; the next start would be slow.
    setTimeout(flushCompileCache, 1000).unref()
    log.info(`dapr initialized. Status: Running. Init Elapsed ${Math.round(performance.now() - began)}ms`)
  }

  /** Refuses new intake, lets what runs finish within `grace` ms, hands unfinished messages back, closes components. */
  async stop(grace: number): Promise<void> {
    this.#notReady.add('runtime')
    this.#stop.abort()
    this.#memory?.[Symbol.dispose]()
    await this.#endIntake()
    await this.#edges?.close(grace)
    await this.#blocks?.close()
    await this.#manager?.close()
    await this.#app?.channel[Symbol.asyncDispose]()
    await this.#tracing?.[Symbol.asyncDispose]()
    this.#identity?.[Symbol.dispose]()
    this.#apiTokens?.[Symbol.dispose]()
    this.#appToken?.[Symbol.dispose]()
  }

  /** Ends what comes in from brokers and bindings, for good; the APIs go on. */
  #endIntake(): Promise<void> {
    this.#intakeEnd ??= this.#blocks?.stopIntake()
    return this.#intakeEnd ?? Promise.resolve()
  }

  /** Ends intake, then resolves when the time is over, or earlier when the watched app is unhealthy. */
  async untilUnhealthy(milliseconds: number): Promise<'unhealthy' | 'expired'> {
    void this.#endIntake()
    const expiry = AbortSignal.timeout(milliseconds)
    const expired = new Promise<'expired'>((resolve) => expiry.addEventListener('abort', () => resolve('expired'), { once: true }))
    const unhealthy = this.#health?.untilUnhealthy(expiry).then(() => (expiry.aborted ? ('expired' as const) : ('unhealthy' as const)))
    return Promise.race(unhealthy ? [unhealthy, expired] : [expired])
  }

  /** What components may read of their sidecar in this process's environment. */
  #setEnvironment(): void {
    const flags = this.#flags
    Object.assign(process.env, {
      APP_ID: flags.appId,
      APP_PORT: String(flags.appPort),
      DAPR_HTTP_PORT: String(flags.daprHttpPort),
      DAPR_GRPC_PORT: String(flags.daprGrpcPort),
      DAPR_METRICS_PORT: String(flags.metricsPort),
      DAPR_PROFILE_PORT: String(flags.profilePort),
    })
  }

  /** Before anything else of the sidecar: without its tokens nothing may listen. */
  #openTokenFiles(): void {
    const { apiTokenFile, appApiTokenFile } = this.#flags.environment
    const log = this.#log.scope('dapr.runtime')
    if (apiTokenFile) this.#apiTokens = openTokenFile('OUTRIDER_API_TOKEN_FILE', apiTokenFile, log)
    if (appApiTokenFile) this.#appToken = openTokenFile('OUTRIDER_APP_API_TOKEN_FILE', appApiTokenFile, log)
  }

  #openApp(pipeline: Pipeline | undefined): App | undefined {
    const { appPort, appProtocol, appChannelAddress, appMaxConcurrency, maxBodySize, environment } = this.#flags
    if (appPort === 0) return undefined
    const token = () => this.#appToken?.tokens[0] ?? environment.appApiToken
    const common = {
      host: appChannelAddress,
      port: appPort,
      maxConcurrency: Number.isFinite(appMaxConcurrency) ? appMaxConcurrency : 0,
    }
    this.#app =
      appProtocol === 'grpc' || appProtocol === 'grpcs'
        ? {
            wire: 'grpc',
            channel: createGrpcChannel({
              ...common,
              get token() {
                return token()
              },
              protocol: appProtocol,
              maxMessageSize: Number.isFinite(maxBodySize) ? maxBodySize : Number.MAX_SAFE_INTEGER,
            }),
          }
        : {
            wire: 'http',
            channel: createHttpChannel({
              ...common,
              get token() {
                return token()
              },
              protocol: appProtocol,
              pipeline,
            }),
          }
    if (this.#flags.enableAppHealthCheck) this.#app.healthy = () => this.#health?.healthy === true
    return this.#app
  }

  async #awaitApp(app: App): Promise<void> {
    const { appPort, appProtocol, appChannelAddress } = this.#flags
    const log = this.#log
    if (!(await accepts(appChannelAddress, appPort))) {
      log.info(
        `application protocol: ${appProtocol}. waiting on port ${appPort}.  This will block until the app is listening on that port.`,
      )
      await app.channel.ready(this.#stop.signal).catch(() => {})
      if (this.#stop.signal.aborted) return
    }
    log.info(`application discovered on port ${appPort}`)
  }

  /** Asks the app for its configuration, once. Actors are not served yet, so what it answers has no effect. */
  async #loadAppConfiguration(app: App): Promise<void> {
    const { disableInitEndpoints } = this.#flags
    const log = this.#log
    if (this.#configured || app.wire !== 'http') return
    this.#configured = true
    if (disableInitEndpoints.includes('config')) {
      log.info('Skipping programmatic dapr configuration loading')
      return
    }
    try {
      await app.channel.call({
        method: 'GET',
        path: '/dapr/config',
        headers: { 'dapr-app-id': this.#flags.appId },
        signal: this.#stop.signal,
      })
    } catch (error) {
      log.debug(`could not load the application's configuration: ${messageOf(error)}`)
    }
  }

  async #startIntake(app: App | undefined): Promise<void> {
    if (this.#intakeEnd) return
    const blocks = this.#blocks as Blocks
    if (app) await this.#loadAppConfiguration(app)
    if (app && this.#flags.disableInitEndpoints.includes('subscribe')) this.#log.info('Skipping programmatic subscription loading')
    await blocks.startSubscriptions()
    if (!app) return
    await blocks.bindings.start().catch((error: unknown) => this.#log.warn(`failed to read from bindings: ${messageOf(error)}`))
  }

  /** Intake runs while the app is healthy, and rests while it is not. */
  #watchApp(app: App): void {
    const flags = this.#flags
    const blocks = this.#blocks as Blocks
    const change = async (healthy: boolean) => {
      this.#log.info(healthy ? 'App entered healthy status' : 'App entered un-healthy status')
      if (healthy) await this.#startIntake(app)
      else await Promise.all([blocks.pubsub.stop(), blocks.bindings.stop()])
    }
    this.#health = new AppHealth({
      probe: healthProbe(app, flags.appHealthCheckPath),
      interval: flags.appHealthProbeIntervalMs,
      timeout: flags.appHealthProbeTimeoutMs,
      threshold: flags.appHealthThreshold,
      onChange: (healthy) =>
        change(healthy).catch((error: unknown) => this.#log.error(`intake could not follow the app's health: ${messageOf(error)}`)),
      signal: this.#stop.signal,
    })
    void this.#health.run()
  }

  #componentCame(kind: string, name: string): void {
    if (kind === 'pubsub') this.#blocks?.forwarding?.came(name)
    const late = async () => {
      if (this.#stop.signal.aborted || this.#intakeEnd || this.#notReady.has('runtime')) return
      if (kind === 'bindings') await this.#blocks?.bindings.startOne(name)
      if (kind === 'pubsub' || kind === 'state') await this.#blocks?.componentCame(name)
    }
    late().catch((error: unknown) => this.#log.error(`component ${name} is up, but its intake could not start: ${messageOf(error)}`))
  }
}

/** Asks the app for its health, over its own wire; resolves whether it is well, rejects when it cannot be asked. */
function healthProbe(app: App, path: string): (signal: AbortSignal) => Promise<boolean> {
  if (app.wire === 'grpc') {
    const none = Buffer.alloc(0)
    return async (signal) => {
      await app.channel.probe('/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck', none, { signal })
      return true
    }
  }
  return async (signal) => {
    const { status } = await app.channel.call({ method: 'GET', path, headers: {}, signal, direct: true })
    return status >= 200 && status < 300
  }
}

/** Whether a TCP connection to the port succeeds within half a second. */
function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, timeout: 500 })
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
    socket.once('timeout', () => end(false))
  })
}
