import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Level } from '../telemetry/log.ts'
import { type DaprdEnvironment, readEnvironment } from './environment.ts'
import { deprecation, FlagError, list, reader, scan } from './flag-scan.ts'
import type { FlagName } from './flag-table.ts'

export { FlagError } from './flag-scan.ts'
export { NOT_ACTED_UPON, usage } from './flag-table.ts'

export const APP_PROTOCOLS = ['http', 'https', 'grpc', 'grpcs', 'h2c'] as const
export type AppProtocol = (typeof APP_PROTOCOLS)[number]

/** Everything the command line and the environment say, checked, in the units the names tell. */
export interface DaprdFlags {
  appId: string
  mode: 'standalone' | 'kubernetes'
  daprHttpPort: number
  daprGrpcPort: number
  /** 0: to be derived, see `--dapr-internal-grpc-port`. */
  daprInternalGrpcPort: number
  daprInternalGrpcListenAddress: string
  /** Empty: all addresses. */
  daprListenAddresses: string[]
  /** Undefined: no public port. */
  daprPublicPort?: number
  daprPublicListenAddress: string
  /** 0: no app. */
  appPort: number
  /** `--app-ssl` already applied. */
  appProtocol: AppProtocol
  appChannelAddress: string
  /** Infinity: no bound. */
  appMaxConcurrency: number
  /** `--components-path` already applied. */
  resourcesPaths: string[]
  config: string[]
  controlPlaneAddress: string
  sentryAddress: string
  controlPlaneTrustDomain: string
  controlPlaneNamespace: string
  sentryRequestJwtAudiences: string[]
  enableMtls: boolean
  /** Unset: the roots are in the environment. */
  trustAnchorsFile: string | undefined
  allowedOrigins: string[]
  enableProfiling: boolean
  profilePort: number
  /** Bytes; Infinity: no bound. */
  maxBodySize: number
  /** Bytes. */
  readBufferSize: number
  unixDomainSocket?: string
  gracefulShutdownMs: number
  blockShutdownMs?: number
  /** Undefined: the Configuration decides. */
  enableApiLogging?: boolean
  disableBuiltinK8sSecretStore: boolean
  enableAppHealthCheck: boolean
  appHealthCheckPath: string
  appHealthProbeIntervalMs: number
  appHealthProbeTimeoutMs: number
  appHealthThreshold: number
  appBindingOptionsTimeoutMs: number
  disableInitEndpoints: ('config' | 'subscribe')[]
  /** Empty: no placement. */
  placementHostAddress: string[]
  schedulerHostAddress: string[]
  schedulerJobStreams: number
  actorsDisseminateTimeoutMs: number
  hotReloadReconcileIntervalMs: number
  logLevel: Level
  logAsJson: boolean
  logFile?: string
  enableMetrics: boolean
  metricsPort: number
  metricsListenAddress: string
  wait: boolean
  version: boolean
  buildInfo: boolean
  help: boolean
  /** `--outrider-embedded`: components on SQLite without any resource. */
  outriderEmbedded: boolean
  /** `--outrider-exit-on-unreachable`: a server that is away at start ends the sidecar. */
  outriderExitOnUnreachable: boolean
  /** `--outrider-exit-with-app`: the sidecar of a job ends with it. */
  outriderExitWithApp: boolean
  /** `--outrider-exit-on-bad-reload`: a changed resource that cannot be used ends the sidecar. */
  outriderExitOnBadReload: boolean
  /** `--outrider-agent-port`, on loopback. */
  outriderAgentPort: number
  outriderAgentSocket: string | undefined
  outriderDataDir: string
  environment: DaprdEnvironment
  /** Names of the flags that were given, without dashes. */
  given: ReadonlySet<FlagName>
}

const LEVELS: Readonly<Record<string, Level>> = {
  debug: 'debug',
  info: 'info',
  warn: 'warning',
  warning: 'warning',
  error: 'error',
  fatal: 'fatal',
}
/**
 * Reads a daprd command line (without the program's name) and its environment.
 * Throws FlagError, or EnvironmentError for an unusable variable; both carry `exitCode`.
 */
export function parseFlags(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): { flags: DaprdFlags; warnings: string[] } {
  const warnings: string[] = []
  const raw = scan(argv, warnings)
  const given = new Set(raw.keys())
  for (const name of given) {
    const instead = deprecation(name)
    if (instead) warnings.push(`--${name} is deprecated; use ${instead} instead`)
  }
  const read = reader(raw)
  const environment = readEnvironment(env)
  const endsEarly = ['help', 'version', 'build-info', 'wait'].some((name) => read.bool(name as FlagName))
  const flags: DaprdFlags = {
    appId: endsEarly ? (read.text('app-id') ?? '') : appId(read.text('app-id')),
    mode: oneOf('mode', read.text('mode') ?? '', ['standalone', 'kubernetes']),
    daprHttpPort: read.port('dapr-http-port'),
    daprGrpcPort: read.port('dapr-grpc-port'),
    daprInternalGrpcPort: read.port('dapr-internal-grpc-port'),
    daprInternalGrpcListenAddress: read.text('dapr-internal-grpc-listen-address') ?? '',
    daprListenAddresses: list(read.text('dapr-listen-addresses')),
    daprPublicPort: read.text('dapr-public-port') ? read.port('dapr-public-port') : undefined,
    daprPublicListenAddress: read.text('dapr-public-listen-address') ?? '',
    appPort: read.port('app-port'),
    appProtocol: appProtocol(read.text('app-protocol') ?? '', read.bool('app-ssl') ?? false),
    appChannelAddress: read.text('app-channel-address') || '127.0.0.1',
    appMaxConcurrency: positiveOr(read.int('app-max-concurrency'), Number.POSITIVE_INFINITY),
    resourcesPaths: given.has('resources-path') ? read.list('resources-path') : list(read.text('components-path')),
    config: read.list('config'),
    controlPlaneAddress: read.text('control-plane-address') ?? '',
    sentryAddress: read.text('sentry-address') ?? '',
    controlPlaneTrustDomain: given.has('control-plane-trust-domain')
      ? (read.text('control-plane-trust-domain') ?? '')
      : env.DAPR_CONTROLPLANE_TRUST_DOMAIN || 'localhost',
    controlPlaneNamespace: given.has('control-plane-namespace')
      ? (read.text('control-plane-namespace') ?? '')
      : env.DAPR_CONTROLPLANE_NAMESPACE || 'default',
    sentryRequestJwtAudiences: read.list('sentry-request-jwt-audiences'),
    enableMtls: read.bool('enable-mtls') ?? false,
    trustAnchorsFile: read.text('trust-anchors-file') || env.DAPR_TRUST_ANCHORS_FILE || undefined,
    allowedOrigins: list(read.text('allowed-origins')),
    enableProfiling: read.bool('enable-profiling') ?? false,
    profilePort: read.port('profile-port'),
    maxBodySize: read.size('max-body-size', 'dapr-http-max-request-size', 2 ** 20),
    readBufferSize: read.size('read-buffer-size', 'dapr-http-read-buffer-size', 2 ** 10),
    unixDomainSocket: read.text('unix-domain-socket') || undefined,
    gracefulShutdownMs: nonNegativeOr(read.int('dapr-graceful-shutdown-seconds'), 5) * 1000,
    blockShutdownMs: read.duration('dapr-block-shutdown-duration'),
    enableApiLogging: read.bool('enable-api-logging'),
    disableBuiltinK8sSecretStore: read.bool('disable-builtin-k8s-secret-store') ?? false,
    enableAppHealthCheck: read.bool('enable-app-health-check') ?? false,
    appHealthCheckPath: read.text('app-health-check-path') || '/healthz',
    appHealthProbeIntervalMs: positiveOr(read.int('app-health-probe-interval'), 5) * 1000,
    appHealthProbeTimeoutMs: positiveOr(read.int('app-health-probe-timeout'), 500),
    appHealthThreshold: positiveOr(read.int('app-health-threshold'), 3),
    appBindingOptionsTimeoutMs: positiveOr(read.duration('app-binding-options-timeout'), 3000),
    disableInitEndpoints: read.list('disable-init-endpoints').map((name) => oneOf('disable-init-endpoints', name, ['config', 'subscribe'])),
    placementHostAddress: addresses([read.text('placement-host-address') ?? read.text('actors-service')?.replace(/^placement:/, '') ?? '']),
    schedulerHostAddress: addresses(
      given.has('scheduler-host-address') ? read.list('scheduler-host-address') : [env.DAPR_SCHEDULER_HOST_ADDRESS_DNS_A ?? ''],
    ),
    schedulerJobStreams: read.int('scheduler-job-streams'),
    actorsDisseminateTimeoutMs: read.duration('actors-disseminate-timeout') ?? 30_000,
    hotReloadReconcileIntervalMs: positiveOr(read.duration('hot-reload-reconcile-interval'), 60_000),
    logLevel: LEVELS[(read.text('log-level') ?? 'info').toLowerCase()] ?? oneOf('log-level', read.text('log-level') ?? '', []),
    logAsJson: read.bool('log-as-json') ?? false,
    logFile: read.text('log-file') || undefined,
    enableMetrics: read.bool('enable-metrics') ?? true,
    metricsPort: read.port('metrics-port'),
    metricsListenAddress: read.text('metrics-listen-address') ?? '',
    wait: read.bool('wait') ?? false,
    version: read.bool('version') ?? false,
    buildInfo: read.bool('build-info') ?? false,
    help: read.bool('help') ?? false,
    outriderEmbedded: read.bool('outrider-embedded') ?? false,
    outriderExitOnUnreachable: read.bool('outrider-exit-on-unreachable') ?? false,
    outriderExitWithApp: read.bool('outrider-exit-with-app') ?? false,
    outriderExitOnBadReload: read.bool('outrider-exit-on-bad-reload') ?? false,
    outriderAgentPort: read.port('outrider-agent-port'),
    outriderAgentSocket: read.text('outrider-agent-socket') || undefined,
    outriderDataDir: read.text('outrider-data-dir') || join(env.HOME || homedir(), '.outrider'),
    environment,
    given,
  }
  check(flags)
  return { flags, warnings }
}

function appId(value: string | undefined): string {
  if (!value) throw new FlagError('app-id parameter cannot be empty: give --app-id with the name others invoke this app by', 1)
  if (value.includes('.')) throw new FlagError(`parameter app-id cannot contain dots: "${value}"; use dashes instead`, 1)
  return value
}

function appProtocol(value: string, tls: boolean): AppProtocol {
  const protocol = oneOf('app-protocol', value.toLowerCase() || 'http', APP_PROTOCOLS)
  if (!tls) return protocol
  return protocol === 'http' ? 'https' : protocol === 'grpc' ? 'grpcs' : protocol
}

function check(flags: DaprdFlags): void {
  if (flags.given.has('app-port')) {
    for (const [name, port] of [
      ['dapr-http-port', flags.daprHttpPort],
      ['dapr-grpc-port', flags.daprGrpcPort],
    ] as const) {
      if (port === flags.appPort)
        throw new FlagError(`the '${name}' argument value ${port} conflicts with 'app-port'; give them different ports`, 1)
    }
  }
  if (flags.appHealthProbeTimeoutMs > flags.appHealthProbeIntervalMs) {
    throw new FlagError('value for app-health-probe-timeout (milliseconds) must be smaller than app-health-probe-interval (seconds)', 1)
  }
  if (flags.schedulerJobStreams < 1) throw new FlagError('scheduler-job-streams must be at least 1', 1)
  if (flags.actorsDisseminateTimeoutMs <= 0) throw new FlagError('actors-disseminate-timeout must be longer than 0', 1)
}

function oneOf<T extends string>(name: FlagName, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value)
  if (found !== undefined) return found
  const words = name === 'log-level' ? 'debug, info, warn, error or fatal' : allowed.join(', ')
  throw new FlagError(`invalid value "${value}" for --${name}: expected ${words}`, 1)
}

/** Injected templates pass "no address" as spaces or as a pair of quotes. */
function addresses(values: readonly string[]): string[] {
  return values
    .flatMap(list)
    .map((item) => item.replace(/^["'\s]+|["'\s]+$/g, ''))
    .filter((item) => item !== '')
}

function positiveOr(value: number | undefined, fallback: number): number {
  return value !== undefined && value > 0 ? value : fallback
}

function nonNegativeOr(value: number, fallback: number): number {
  return value >= 0 ? value : fallback
}
