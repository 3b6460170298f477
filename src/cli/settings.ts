import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { hasResources } from './paths.ts'
import { freePorts, portAvailable } from './ports.ts'
import { CommandError } from './status.ts'

/** What one sidecar and its app are started with; empty text, 0 and false mean: not given. */
export interface Settings {
  appId: string
  appPort: number
  appProtocol: string
  appChannelAddress: string
  appSsl: boolean
  daprHttpPort: number
  daprGrpcPort: number
  daprInternalGrpcPort: number
  metricsPort: number
  profilePort: number
  resourcesPaths: string[]
  config: string
  logLevel: string
  logAsJson: boolean
  apiListenAddresses: string
  appMaxConcurrency: number
  enableProfiling: boolean
  enableApiLogging: boolean
  enableAppHealthCheck: boolean
  appHealthCheckPath: string
  appHealthProbeInterval: number
  appHealthProbeTimeout: number
  appHealthThreshold: number
  maxBodySize: string
  readBufferSize: string
  unixDomainSocket: string
  placementHostAddress: string
  schedulerHostAddress: string
  /** Give the embedded components too, whatever the resources say. */
  embedded: boolean
  dataDir: string
}

/** Settings with nothing given but the app id and the data folder. */
export function emptySettings(appId: string, dataDir: string): Settings {
  return {
    appId,
    appPort: 0,
    appProtocol: '',
    appChannelAddress: '',
    appSsl: false,
    daprHttpPort: 0,
    daprGrpcPort: 0,
    daprInternalGrpcPort: 0,
    metricsPort: 0,
    profilePort: 0,
    resourcesPaths: [],
    config: '',
    logLevel: '',
    logAsJson: false,
    apiListenAddresses: '',
    appMaxConcurrency: 0,
    enableProfiling: false,
    enableApiLogging: false,
    enableAppHealthCheck: false,
    appHealthCheckPath: '',
    appHealthProbeInterval: 0,
    appHealthProbeTimeout: 0,
    appHealthThreshold: 0,
    maxBodySize: '',
    readBufferSize: '',
    unixDomainSocket: '',
    placementHostAddress: '',
    schedulerHostAddress: '',
    embedded: false,
    dataDir,
  }
}

/**
 * Resources and configuration when none are given: those of Dapr's own folder if it has any, otherwise the embedded
 * components. Returns the one line that says so, or undefined when the user chose.
 */
export function chooseDefaults(settings: Settings, daprDir: string): string | undefined {
  const config = join(daprDir, 'config.yaml')
  if (settings.config === '' && existsSync(config)) settings.config = config
  if (settings.resourcesPaths.length > 0 || settings.embedded) return undefined
  const components = join(daprDir, 'components')
  if (hasResources(components)) {
    settings.resourcesPaths = [components]
    return `No resources given: using those in ${components}`
  }
  settings.embedded = true
  return `No resources given: using the embedded defaults statestore, pubsub, lockstore, configstore and secretstore (SQLite in ${settings.dataDir})`
}

/** Fills in ports that were not given with free ones. Throws CommandError when a given one is taken. */
export async function choosePorts(settings: Settings, others: readonly Settings[] = []): Promise<void> {
  const wanted = [
    ['HTTPPort', 'daprHttpPort', '--dapr-http-port'],
    ['GRPCPort', 'daprGrpcPort', '--dapr-grpc-port'],
    ['MetricsPort', 'metricsPort', '--metrics-port'],
    ['InternalGRPCPort', 'daprInternalGrpcPort', '--dapr-internal-grpc-port'],
    ['ProfilePort', 'profilePort', '--profile-port'],
  ] as const
  // A port that this or another app asks for is free until it starts: the system may offer it again.
  const asked = [settings, ...others].flatMap((one) => [one.appPort, ...wanted.map(([, key]) => one[key])])
  const fresh = await freePorts(wanted.length, new Set(asked))
  for (const [index, [name, key, flag]] of wanted.entries()) {
    if (key === 'profilePort' && !settings.enableProfiling) continue
    if (settings[key] <= 0) settings[key] = fresh[index] as number
    else if (!(await portAvailable(settings[key]))) {
      throw new CommandError(
        `invalid configuration for ${name}. Port ${settings[key]} is not available`,
        `another program listens there; end it, choose another port with ${flag}, or leave it out to get a free one`,
      )
    }
  }
}

/** The sidecar's arguments, in the order of Dapr's tool. What was not given is left to the sidecar's defaults. */
export function sidecarArguments(settings: Settings): string[] {
  const args: string[] = []
  const text = (flag: string, value: string) => void (value !== '' && args.push(`--${flag}`, value))
  const number = (flag: string, value: number) => void (value > 0 && args.push(`--${flag}`, String(value)))
  const on = (flag: string, value: boolean) => void (value && args.push(`--${flag}`))
  text('config', settings.config)
  text('app-protocol', settings.appProtocol)
  text('dapr-listen-addresses', settings.apiListenAddresses)
  on('enable-profiling', settings.enableProfiling)
  text('log-level', settings.logLevel)
  number('app-max-concurrency', settings.appMaxConcurrency)
  text('placement-host-address', withPort(settings.placementHostAddress, 50005))
  for (const path of settings.resourcesPaths) text('resources-path', path)
  on('app-ssl', settings.appSsl)
  text('max-body-size', settings.maxBodySize)
  text('read-buffer-size', settings.readBufferSize)
  on('enable-app-health-check', settings.enableAppHealthCheck)
  text('app-health-check-path', settings.appHealthCheckPath)
  number('app-health-probe-interval', settings.appHealthProbeInterval)
  number('app-health-probe-timeout', settings.appHealthProbeTimeout)
  number('app-health-threshold', settings.appHealthThreshold)
  on('enable-api-logging', settings.enableApiLogging)
  text('scheduler-host-address', withPort(settings.schedulerHostAddress, 50006))
  text('app-id', settings.appId)
  if (settings.appChannelAddress !== '127.0.0.1') text('app-channel-address', settings.appChannelAddress)
  number('app-port', settings.appPort)
  number('dapr-http-port', settings.daprHttpPort)
  number('dapr-grpc-port', settings.daprGrpcPort)
  if (settings.enableProfiling) number('profile-port', settings.profilePort)
  number('metrics-port', settings.metricsPort)
  text('unix-domain-socket', settings.unixDomainSocket)
  number('dapr-internal-grpc-port', settings.daprInternalGrpcPort)
  on('log-as-json', settings.logAsJson)
  on('outrider-embedded', settings.embedded)
  text('outrider-data-dir', settings.dataDir)
  return args
}

function withPort(address: string, port: number): string {
  return address === '' || address.includes(':') ? address : `${address}:${port}`
}

/** The variables that tell an app where its sidecar is. */
export function appEnvironment(settings: Settings): Record<string, string> {
  const env: Record<string, string> = { APP_ID: settings.appId, APP_CHANNEL_ADDRESS: settings.appChannelAddress }
  if (settings.appPort > 0) env.APP_PORT = String(settings.appPort)
  env.DAPR_HTTP_PORT = String(settings.daprHttpPort)
  env.DAPR_GRPC_PORT = String(settings.daprGrpcPort)
  env.DAPR_METRICS_PORT = String(settings.metricsPort)
  let protocol = (settings.appProtocol || 'http').toLowerCase()
  if (settings.appSsl && (protocol === 'http' || protocol === 'grpc')) protocol = `${protocol}s`
  if (['http', 'https', 'grpc', 'grpcs', 'h2c'].includes(protocol)) env.APP_PROTOCOL = protocol
  return env
}

/** The path of the sidecar's socket (`http` or `grpc`), when it has sockets. */
export function socketPath(settings: Settings, kind: 'http' | 'grpc'): string | undefined {
  return settings.unixDomainSocket === '' ? undefined : join(settings.unixDomainSocket, `dapr-${settings.appId}-${kind}.socket`)
}
