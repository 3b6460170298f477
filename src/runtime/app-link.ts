import { createConnection } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { App } from '../app/app.ts'
import { createGrpcChannel } from '../app/grpc-channel.ts'
import { createHttpChannel } from '../app/http-channel.ts'
import type { Pipeline } from '../app/middleware/pipeline.ts'
import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface AppLinkOptions {
  flags: DaprdFlags
  pipeline: Pipeline | undefined
  metrics: Metrics
  /** What the app is to know its sidecar by, asked at each call; empty or undefined: nothing. */
  token: () => string | undefined
}

/** The channel to the app beside the sidecar; undefined without --app-port. */
export function openApp({ flags, pipeline, metrics, token }: AppLinkOptions): App | undefined {
  const { appPort, appProtocol, appChannelAddress, appMaxConcurrency, maxBodySize } = flags
  if (appPort === 0) return undefined
  const common = {
    host: appChannelAddress,
    port: appPort,
    maxConcurrency: Number.isFinite(appMaxConcurrency) ? appMaxConcurrency : 0,
  }
  if (appProtocol !== 'grpc' && appProtocol !== 'grpcs') {
    const options = {
      ...common,
      get token() {
        return token()
      },
      protocol: appProtocol,
      pipeline,
      metrics: metrics.http,
    }
    return { wire: 'http', channel: createHttpChannel(options) }
  }
  const options = {
    ...common,
    get token() {
      return token()
    },
    protocol: appProtocol,
    maxMessageSize: Number.isFinite(maxBodySize) ? maxBodySize : Number.MAX_SAFE_INTEGER,
    metrics: metrics.grpcClient,
  }
  return { wire: 'grpc', channel: createGrpcChannel(options) }
}

/** Resolves when the app's port accepts, or when told to stop. */
export async function awaitApp(app: App, flags: DaprdFlags, log: Logger, stop: AbortSignal): Promise<void> {
  const { appPort, appProtocol, appChannelAddress } = flags
  if (!(await accepts(appChannelAddress, appPort))) {
    log.info(`application protocol: ${appProtocol}. waiting on port ${appPort}.  This will block until the app is listening on that port.`)
    await app.channel.ready(stop).catch(() => {})
    if (stop.aborted) return
  }
  log.info(`application discovered on port ${appPort}`)
}

/** Looks at the app's port every second; resolves when it was refused `times` in a row, or when told to stop. */
export async function appGone(flags: DaprdFlags, stop: AbortSignal, times = 3): Promise<void> {
  for (let refused = 0; refused < times && !stop.aborted; ) {
    await pause(1000, undefined, { signal: stop, ref: false }).catch(() => {})
    if (stop.aborted) return
    refused = (await accepts(flags.appChannelAddress, flags.appPort)) ? 0 : refused + 1
  }
}

/** Asks the app for its configuration. Actors are not served yet, so what it answers has no effect. */
export async function loadAppConfiguration(app: App, flags: DaprdFlags, log: Logger, signal: AbortSignal): Promise<void> {
  if (app.wire !== 'http') return
  if (flags.disableInitEndpoints.includes('config')) return log.info('Skipping programmatic dapr configuration loading')
  try {
    await app.channel.call({ method: 'GET', path: '/dapr/config', headers: { 'dapr-app-id': flags.appId }, signal })
  } catch (error) {
    log.debug(`could not load the application's configuration: ${messageOf(error)}`)
  }
}

/** Asks the app for its health, over its own wire; resolves whether it is well, rejects when it cannot be asked. */
export function healthProbe(app: App, path: string): (signal: AbortSignal) => Promise<boolean> {
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
