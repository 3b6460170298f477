import { flushCompileCache } from 'node:module'
import type { App } from '../app/app.ts'
import { createPipeline } from '../app/middleware/pipeline.ts'
import type { Middleware } from '../blocks/middleware/driver.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { parseDuration } from '../components/metadata.ts'
import type { Named } from '../components/sets.ts'
import { Resiliency } from '../policy/resiliency.ts'
import { featureEnabled } from '../resources/configuration.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import { Metrics } from '../telemetry/metrics.ts'
import { openTracing, type Tracing } from '../telemetry/tracing/open.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import type { Ports } from '../transport/ports.ts'
import { appGone, awaitApp, openApp } from './app-link.ts'
import { createAppliers } from './appliers.ts'
import { type Blocks, createBlocks } from './blocks.ts'
import { ComponentManager } from './component-manager.ts'
import { remarkOn, samplerOf, setEnvironment, shownConfiguration } from './configuration-remarks.ts'
import { socketsFolder } from './drivers.ts'
import { type Edges, openEdges } from './edges.ts'
import { builtInComponents } from './embedded.ts'
import { FollowResources } from './follow-resources.ts'
import { keepIdleMemoryLow } from './idle-memory.ts'
import { InFlight } from './in-flight.ts'
import { Intake } from './intake.ts'
import { Lifecycle } from './lifecycle.ts'
import { lifecycleMetrics, verboseHealth } from './lifecycle-report.ts'
import { LiveResiliency } from './live-resiliency.ts'
import { type LoadContext, loadComponents } from './load-components.ts'
import { loadEndpoints } from './load-endpoints.ts'
import { withPolicyEvents, withTrafficEvents } from './policy-events.ts'
import { Reloader } from './reload.ts'
import type { ReloadRecord } from './reload-record.ts'
import { openSource, type ResourceSource } from './resource-source.ts'
import { tellAllShown } from './shown-resources.ts'
import { SidecarMetadata } from './sidecar-metadata.ts'
import { rolesBeside, type SidecarRoles } from './sidecar-roles.ts'
import { openTokenFile, type TokenFile } from './token-file.ts'
import { openTrust } from './trust.ts'

export interface SidecarHooks {
  /** The sidecar is to end; without a reason, because the app asked for it. */
  shutdown(force: boolean, why?: string): void
  /** Its Configuration changed: it is to be made anew. */
  restart(): void
  /** A reload cannot be lived with (only with `--outrider-exit-on-bad-reload`). */
  fatal(error: Error): void
}

/** What outlives a sidecar that is made anew. */
export interface Lasting {
  record: ReloadRecord
  ports: Ports
}

/**
 * One sidecar; its states are those of `lifecycle.ts`. Starting: configuration and resources are read, components come up, the
 * edges listen, then the app is awaited and its subscriptions and input bindings begin. From then on it follows its resources.
 */
export class Sidecar {
  readonly #flags: DaprdFlags
  readonly #log: Logger
  readonly #hooks: SidecarHooks
  readonly #record: ReloadRecord
  readonly #ports: Ports
  readonly #lifecycle: Lifecycle
  readonly #stop = new AbortController()
  #outbound = false
  /** Once everything was up, a component that is away makes the sidecar degraded, not unready. */
  #complete = false
  #app: App | undefined
  #manager: ComponentManager | undefined
  #blocks: Blocks | undefined
  #edges: Edges | undefined
  #intake: Intake | undefined
  #roles: SidecarRoles | undefined
  #memory: Disposable | undefined
  #identity: WorkloadIdentity | undefined
  #source: ResourceSource | undefined
  #apiTokens: TokenFile | undefined
  #appToken: TokenFile | undefined
  #tracing: Tracing | undefined
  #reloader: Reloader | undefined
  #follow: FollowResources | undefined

  constructor(flags: DaprdFlags, log: Logger, lasting: Lasting, hooks: SidecarHooks) {
    this.#flags = flags
    this.#log = log
    this.#hooks = hooks
    this.#record = lasting.record
    this.#ports = lasting.ports
    this.#lifecycle = new Lifecycle({ appId: flags.appId, log })
  }

  /** Resolves when the sidecar is ready, or has been told to stop before; rejects with what ends it. */
  async start(): Promise<void> {
    const flags = this.#flags
    const log = this.#log
    const lifecycle = this.#lifecycle
    const began = performance.now()
    log.info(`Starting Outrider (daprd compatible) for app ${flags.appId} in ${flags.mode} mode`)
    const namespace = flags.environment.namespace
    const source = await openSource(flags, log, () => this.#trust())
    if (!source) return
    this.#source = source
    const configuration = await source.configuration()
    if (log.enabled('debug') && flags.config.length > 0) log.debug(`Configuration in force: ${shownConfiguration(configuration)}`)
    const resources = await source.read(featureEnabled(configuration, 'HotReload'))
    setEnvironment(flags)
    this.#openTokenFiles()
    const metrics = new Metrics({ appId: flags.appId, namespace, ...configuration.metrics })
    metrics.more.push(() => lifecycleMetrics(lifecycle, this.#record))
    const trusted = await this.#trust()
    if (this.#stop.signal.aborted) return
    // Without mTLS it is for the control plane alone.
    const identity = flags.enableMtls ? trusted : undefined
    if (identity) metrics.runtime.identityReady()
    const http = flags.appProtocol !== 'grpc' && flags.appProtocol !== 'grpcs'
    const { accessControl } = configuration
    const authorize =
      accessControl &&
      (await import('../policy/access-control.ts')).createAccessControl(accessControl, http, log.scope('dapr.acl'), metrics.runtime)
    if (authorize && !identity)
      log.warn('spec.accessControl knows callers by their certificates only: without --enable-mtls its defaultAction counts for all')

    const inFlight = new InFlight((name, error) => this.#manager?.callFailed(name, error))
    const manager = new ComponentManager({
      metrics: metrics.runtime,
      appId: flags.appId,
      namespace,
      log,
      lifecycle,
      retryUnreachable: !flags.outriderExitOnUnreachable,
      sockets: socketsFolder(process.env),
      check: (block, component) => {
        if (block === 'state') this.#blocks?.state.check(component as Named<StateStore>)
      },
      onChange: (block, name) => {
        if (block === 'pubsub') this.#blocks?.forwarding.came(name)
        return this.#intake?.changed(block, name)
      },
      onBack: (name) => this.#blocks?.forwarding.came(name),
      retire: (name) => inFlight.retire(name, flags.gracefulShutdownMs),
    })
    this.#manager = manager
    const middleware = manager.set<Middleware>('middleware')
    const appPipeline = createPipeline(configuration.appHttpPipeline, middleware)
    const token = () => this.#appToken?.tokens[0] ?? flags.environment.appApiToken
    const app = openApp({ flags, pipeline: appPipeline, metrics, token })
    this.#app = app
    const metadata = new SidecarMetadata({
      flags,
      manager,
      configuration,
      resources,
      lifecycle,
      subscriptions: () => this.#blocks?.pubsub.list() ?? [],
      waiting: () => this.#blocks?.forwarding.waiting() ?? [],
      log,
    })
    const secretProperties = new Map<string, string>()
    const namespaced = new Set<string>()
    const observer = withPolicyEvents(metrics.resiliency.of(flags.appId), () => this.#tracing?.tracer)
    const resiliency = new LiveResiliency(await Resiliency.load({ resources: resources.resiliencies, log, observer }))
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
    if (configuration.tracing.samplingRate !== undefined) log.info(`Traces are sampled by ${samplerOf(configuration.tracing.samplingRate)}`)
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
      traffic: {
        resources: resources.trafficPolicies,
        observer: withTrafficEvents(metrics.traffic.of(flags.appId), () => this.#tracing?.tracer),
      },
      storeAndForwards: resources.storeAndForwards,
      lifecycle,
      inFlight,
      appPipeline,
      identity,
      authorize,
      metrics,
      tracer: tracing?.tracer,
    })
    this.#blocks = blocks
    this.#intake = new Intake({ flags, log, lifecycle, blocks, app, signal: this.#stop.signal })
    this.#edges = openEdges({
      flags,
      log,
      blocks,
      app,
      metadata,
      health: this.#health(manager),
      metrics,
      tracer: tracing?.tracer,
      configuration,
      pipeline: createPipeline(configuration.httpPipeline, middleware),
      identity,
      authorize,
      apiToken: this.#apiTokens ? () => this.#apiTokens?.tokens ?? [] : flags.environment.apiToken,
      shutdown: this.#hooks.shutdown,
      ports: this.#ports,
    })

    for (const spec of builtInComponents(flags)) await manager.add(spec)
    const roles = rolesBeside({ flags, log, manager, lifecycle, signal: this.#stop.signal })
    this.#roles = roles
    metrics.more.push(() => roles.metrics())
    const context: LoadContext = {
      manager,
      log,
      appId: flags.appId,
      namespace,
      podName: flags.environment.podName,
      env: process.env,
      denied: configuration.deniedComponents,
      onNamespaced: (name, does) => void (does ? namespaced.add(name) : namespaced.delete(name)),
      onSecretProperty: (component, property, secret) => secretProperties.set(`${component}/${property.toLowerCase()}`, secret),
    }
    await loadComponents(resources.components, context)
    remarkOn(configuration, manager, log)
    await loadEndpoints(resources.httpEndpoints, { ...context, external: blocks.external })
    tellAllShown(resources, log)
    log.info('All outstanding components processed')
    blocks.forwarding.start()
    if (this.#stop.signal.aborted) return
    await this.#edges.listen()
    this.#outbound = true
    await roles.start(resources.roles)

    this.#reloader = new Reloader({
      log,
      lifecycle,
      record: this.#record,
      current: resources,
      read: () => source.read(true),
      appliers: createAppliers({ current: resources, log, manager, blocks, resiliency, observer, context, roles }),
      onFatal: flags.outriderExitOnBadReload ? (error) => this.#hooks.fatal(error) : undefined,
    })
    this.#followResources(configuration, source, this.#reloader)
    if (app) {
      await awaitApp(app, flags, log, this.#stop.signal)
      if (this.#stop.signal.aborted) return
    }
    // A reload may be at it already: then it has declared them as they are now.
    await blocks.declareSubscriptions(resources.subscriptions)
    await this.#intake.begin()
    if (this.#stop.signal.aborted) return
    lifecycle.started()
    manager.watch()
    if (app && flags.outriderExitWithApp) void this.#endWithApp()
    const edges = this.#edges
    this.#memory = keepIdleMemoryLow(() => edges.requests)
    // A process that is killed never writes its compile cache; the next start would be slow.
    setTimeout(flushCompileCache, 1000).unref()
    log.info(`dapr initialized. Status: Running. Init Elapsed ${Math.round(performance.now() - began)}ms`)
  }

  /** Takes changed resources over now; true when the Configuration changed too, or nothing is followed: then it is to be made anew. */
  async reload(): Promise<boolean> {
    if (!this.#follow || !this.#reloader) return true
    if (await this.#follow.check()) return true
    await this.#reloader.request(true)
    return false
  }

  /** Ends intake, then resolves when the time is over, or earlier when the watched app is unhealthy. */
  async untilUnhealthy(milliseconds: number): Promise<'unhealthy' | 'expired'> {
    this.#beginDraining()
    return this.#intake?.untilUnhealthy(milliseconds) ?? 'expired'
  }

  /** Refuses new intake, lets what runs finish within `grace` ms, hands unfinished messages back, closes components. */
  async stop(grace: number): Promise<void> {
    this.#beginDraining()
    this.#stop.abort()
    this.#memory?.[Symbol.dispose]()
    await this.#reloader?.end()
    const edges = this.#edges
    // Other sidecars look elsewhere at once, while the app still needs its API to finish what it has.
    await Promise.all([edges?.leave(grace), this.#intake?.end()])
    await edges?.close(grace)
    await this.#roles?.[Symbol.asyncDispose]()
    await this.#blocks?.close()
    await this.#manager?.close()
    await this.#app?.channel[Symbol.asyncDispose]()
    await this.#tracing?.[Symbol.asyncDispose]()
    await this.#source?.[Symbol.asyncDispose]()
    this.#identity?.[Symbol.dispose]()
    this.#apiTokens?.[Symbol.dispose]()
    this.#appToken?.[Symbol.dispose]()
    this.#lifecycle.stopped()
  }

  async #endWithApp(): Promise<void> {
    await appGone(this.#flags, this.#stop.signal)
    if (this.#stop.signal.aborted) return
    this.#hooks.shutdown(false, `The app has left port ${this.#flags.appPort}; ending with it (--outrider-exit-with-app)`)
  }

  #beginDraining(): void {
    this.#lifecycle.draining()
    this.#follow?.[Symbol.dispose]()
  }

  async #trust(): Promise<WorkloadIdentity | undefined> {
    this.#identity ??= await openTrust(this.#flags, this.#log, this.#stop.signal)
    return this.#identity
  }

  #followResources(configuration: Configuration, source: ResourceSource, reloader: Reloader): void {
    if (!featureEnabled(configuration, 'HotReload')) return this.#log.debug('Hot reloading disabled')
    this.#follow = new FollowResources({
      flags: this.#flags,
      log: this.#log,
      lifecycle: this.#lifecycle,
      record: this.#record,
      configuration,
      source,
      reloader,
      onConfiguration: () => this.#hooks.restart(),
    })
    this.#follow.begin()
  }

  /** Before anything else of the sidecar: without its tokens nothing may listen. */
  #openTokenFiles(): void {
    const { apiTokenFile, appApiTokenFile } = this.#flags.environment
    const log = this.#log.scope('dapr.runtime')
    if (apiTokenFile) this.#apiTokens = openTokenFile('OUTRIDER_API_TOKEN_FILE', apiTokenFile, log)
    if (appApiTokenFile) this.#appToken = openTokenFile('OUTRIDER_APP_API_TOKEN_FILE', appApiTokenFile, log)
  }

  #health(manager: ComponentManager) {
    const lifecycle = this.#lifecycle
    return {
      appId: this.#flags.appId,
      notReady: () => {
        const serving = lifecycle.state === 'ready' || lifecycle.state === 'degraded'
        const away = this.#complete ? [] : manager.retrying().map((status) => `component-${status.name}`)
        if (serving && away.length === 0) this.#complete = true
        return serving ? away : ['runtime', ...away]
      },
      outboundReady: () => this.#outbound,
      reasons: () => lifecycle.reasons(),
      verbose: () => verboseHealth(lifecycle, this.#record, this.#flags.resourcesPaths),
    }
  }
}
