import type { Server } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { DaprdFlags } from '../cli/flags.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { metricsPage } from '../telemetry/open-metrics.ts'
import { pushesMetrics } from '../telemetry/otlp/metrics-settings.ts'
import { createServer } from '../transport/node-http.ts'

export interface SidePortsOptions {
  flags: DaprdFlags
  log: Logger
  /** Undefined: none are served. */
  metrics: Metrics | undefined
}

const LOOPBACK = '127.0.0.1'

/**
 * Opens the ports of metrics and profiles where they are wanted, and sends metrics to a collector where the environment names one;
 * a port that is taken is an error in the log. Disposing ends all of it.
 */
export async function openSidePorts({ flags, log, metrics }: SidePortsOptions): Promise<AsyncDisposable> {
  const servers: Server[] = []
  const listen = (server: Server, port: number, host: string, what: string, flag: string) =>
    new Promise<boolean>((resolve) => {
      server.once('error', (error) => {
        log.error(`${what} port ${port} cannot be opened: ${error.message}; choose another with --${flag}`)
        resolve(false)
      })
      server.listen(port, host, () => {
        servers.push(server)
        resolve(true)
      })
    })
  if (flags.enableMetrics && metrics) {
    const server = createServer((request, response) => {
      const { contentType, body } = metricsPage(metrics.parts(), request.headers.accept)
      // A scraper that goes away half-way needs no answer.
      pipeline(body, response.writeHead(200, { 'content-type': contentType })).catch(() => {})
    })
    const host = flags.given.has('metrics-listen-address') ? flags.metricsListenAddress : LOOPBACK
    await listen(server, flags.metricsPort, host, 'metrics', 'metrics-port')
  }
  let pushed: AsyncDisposable | undefined
  if (flags.enableMetrics && metrics && pushesMetrics(process.env)) {
    const { pushMetrics } = await import('../telemetry/otlp/push-metrics.ts')
    pushed = pushMetrics({ appId: flags.appId, page: () => metrics.parts(), env: process.env, log: log.scope('dapr.runtime.metrics') })
  }
  if (flags.enableProfiling) {
    const { createProfilingServer } = await import('../telemetry/profiling.ts')
    // Profiles hold what the app has sent: loopback only.
    if (await listen(createProfilingServer(), flags.profilePort, LOOPBACK, 'profiling', 'profile-port'))
      log.info(`profiles are served at http://${LOOPBACK}:${flags.profilePort}/debug/pprof/`)
  }
  return {
    async [Symbol.asyncDispose]() {
      await pushed?.[Symbol.asyncDispose]()
      await Promise.all(
        servers.map((server) => {
          server.closeAllConnections()
          return new Promise<void>((resolve) => server.close(() => resolve()))
        }),
      )
    },
  }
}
