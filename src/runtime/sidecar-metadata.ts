import type { Metadata, MetadataBlock } from '../blocks/metadata.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { Code, OutriderError } from '../errors.ts'
import { formatGoDuration } from '../go-duration.ts'
import type { Configuration } from '../resources/configuration-spec.ts'
import type { Resources } from '../resources/kinds.ts'
import { type Logger, levelOf } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import type { ComponentManager } from './component-manager.ts'
import type { Lifecycle } from './lifecycle.ts'

const MAX_KEYS = 1024
/** Metadata that is more than a note: it sets what is logged from now on. */
const LOG_LEVEL = 'outrider.logLevel'

export interface SidecarMetadataOptions {
  flags: DaprdFlags
  manager: ComponentManager
  configuration: Configuration
  /** As reloads leave them. */
  resources: Resources
  lifecycle: Lifecycle
  subscriptions: () => readonly unknown[]
  /** What publishing keeps for brokers that are away, by pub/sub. */
  waiting?: () => readonly (readonly [pubsub: string, waiting: { events: number; bytes: number; oldest: Date | undefined }])[]
  log: Logger
}

/** Gathers what a sidecar tells about itself. Rejected resources and waiting components stand in `extended`. */
export class SidecarMetadata implements MetadataBlock {
  readonly #options: SidecarMetadataOptions
  readonly #extended = new Map<string, string>()

  constructor(options: SidecarMetadataOptions) {
    this.#options = options
  }

  get(): Metadata {
    const { flags, manager, configuration, resources } = this.#options
    const features = ['HotReload', 'WorkflowsRemoteActivityReminder'].filter((name) => configuration.features.get(name) !== false)
    const own = [...configuration.features].filter(([name, on]) => on && !features.includes(name)).map(([name]) => name)
    const metadata: Metadata = {
      id: flags.appId,
      runtimeVersion: VERSION,
      enabledFeatures: [...features, ...own],
      components: manager
        .statuses()
        .filter((status) => status.loaded)
        .map(({ name, type, version, capabilities }) => ({ name, type, version, ...(capabilities.length > 0 && { capabilities }) })),
      extended: { daprRuntimeVersion: VERSION, ...Object.fromEntries(this.#extended) },
      actorRuntime: { runtimeStatus: 'DISABLED', hostReady: false, placement: 'placement: disconnected' },
    }
    this.#tellOfLife(metadata.extended)
    resources.rejected.forEach((rejected, index) => {
      metadata.extended[`outrider.rejected.${index + 1}`] = `${rejected.file}:${rejected.line}:${rejected.column}: ${rejected.message}`
    })
    for (const [pubsub, { events, bytes, oldest }] of this.#options.waiting?.() ?? [])
      metadata.extended[`outrider.storeAndForward.${pubsub}`] =
        `${events} waiting, ${bytes} bytes${oldest ? `, oldest ${oldest.toISOString()}` : ''}`
    const subscriptions = this.#options.subscriptions()
    if (subscriptions.length > 0) metadata.subscriptions = [...subscriptions]
    if (resources.httpEndpoints.length > 0) metadata.httpEndpoints = resources.httpEndpoints.map(({ name }) => ({ name }))
    if (resources.resiliencies.length > 0) metadata.resiliencies = resources.resiliencies.map(({ name }) => ({ name }))
    if (resources.mcpServers.length > 0) metadata.mcpServers = resources.mcpServers.map(({ name }) => ({ name }))
    metadata.appConnectionProperties = this.#app()
    return metadata
  }

  set(key: string, value: string): void {
    if (key === LOG_LEVEL) this.#setLogLevel(value)
    if (this.#extended.size >= MAX_KEYS && !this.#extended.has(key)) {
      throw new OutriderError({
        code: 'ERR_METADATA_FULL',
        http: 400,
        grpc: Code.ResourceExhausted,
        message: `metadata holds ${MAX_KEYS} keys and takes no more`,
        hint: 'Reuse a key.',
      })
    }
    this.#extended.set(key, value)
  }

  /** Nothing while all is well: then the extended members are daprd's. */
  #tellOfLife(extended: Record<string, string>): void {
    const { lifecycle } = this.#options
    if (lifecycle.state !== 'ready') extended['outrider.state'] = lifecycle.state
    for (const { kind, name, state, error, nextAttempt } of lifecycle.parts())
      if (state !== 'up')
        extended[`outrider.${kind}.${name}`] =
          `${state}${error ? `: ${error}` : ''}${nextAttempt ? `; next attempt ${nextAttempt.toISOString()}` : ''}`
    for (const [about, sentence] of lifecycle.remarks) extended[`outrider.${about}`] = sentence
  }

  #setLogLevel(text: string): void {
    const level = levelOf(text)
    if (!level) {
      throw new OutriderError({
        code: 'ERR_METADATA_LOG_LEVEL',
        http: 400,
        grpc: Code.InvalidArgument,
        message: `${JSON.stringify(text.slice(0, 40))} is no log level`,
        hint: 'Set it to debug, info, warn, error or fatal.',
      })
    }
    const { log } = this.#options
    log.setLevel?.(level)
    log.info(`log level is ${level} from now on`)
  }

  #app(): NonNullable<Metadata['appConnectionProperties']> {
    const { flags } = this.#options
    const app: NonNullable<Metadata['appConnectionProperties']> = {
      ...(flags.appPort > 0 && { port: flags.appPort }),
      protocol: flags.appProtocol,
      channelAddress: flags.appChannelAddress,
    }
    if (Number.isFinite(flags.appMaxConcurrency) && flags.appMaxConcurrency > 0) app.maxConcurrency = flags.appMaxConcurrency
    if (flags.enableAppHealthCheck) {
      const http = flags.appProtocol !== 'grpc' && flags.appProtocol !== 'grpcs'
      app.health = {
        ...(http && { healthCheckPath: flags.appHealthCheckPath }),
        healthProbeInterval: formatGoDuration(flags.appHealthProbeIntervalMs),
        healthProbeTimeout: formatGoDuration(flags.appHealthProbeTimeoutMs),
        healthThreshold: flags.appHealthThreshold,
      }
    }
    return app
  }
}
