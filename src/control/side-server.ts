import type { Server } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Logger } from '../telemetry/log.ts'
import { metricsPage } from '../telemetry/open-metrics.ts'
import { createServer } from '../transport/node-http.ts'

export interface SideServerOptions {
  healthz: { host: string; port: number }
  /** Undefined: none are served. */
  metrics: { host: string; port: number; text(): string } | undefined
  /** What is still missing; empty: healthy. */
  missing(): readonly string[]
  log: Logger
}

/** Serves `/healthz`, `/livez` and the metrics of a program of the control plane. Rejects when the health port is taken. */
export async function openSideServer({ healthz, metrics, missing, log }: SideServerOptions): Promise<AsyncDisposable> {
  const servers: Server[] = []
  const listen = (server: Server, { host, port }: { host: string; port: number }) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host === '' ? undefined : host, () => {
        servers.push(server)
        resolve()
      })
    })
  const health = createServer((request, response) => {
    // It runs; what it still waits for is no reason to start it anew.
    if (request.url === '/livez') return void response.writeHead(200, { 'content-type': 'text/plain' }).end('ok')
    if (request.url !== '/healthz') return void response.writeHead(404).end()
    const without = missing()
    response.writeHead(without.length === 0 ? 200 : 500, { 'content-type': 'text/plain' })
    response.end(without.length === 0 ? 'ok' : `not ready: ${without.join(', ')}`)
  })
  await listen(health, healthz)
  const address = health.address()
  log.debug(`health is at port ${address !== null && typeof address === 'object' ? address.port : healthz.port}`)
  if (metrics) {
    const server = createServer((request, response) => {
      const { contentType, body } = metricsPage([metrics.text(), processText()], request.headers.accept)
      // A scraper that goes away half-way needs no answer.
      pipeline(body, response.writeHead(200, { 'content-type': contentType })).catch(() => {})
    })
    await listen(server, metrics).catch((error: Error) =>
      log.error(`metrics port ${metrics.port} cannot be opened: ${error.message}; choose another with --metrics-port`),
    )
  }
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(
        servers.map((server) => {
          server.closeAllConnections()
          return new Promise<void>((resolve) => server.close(() => resolve()))
        }),
      )
    },
  }
}

function processText(): string {
  const { user, system } = process.cpuUsage()
  return `# HELP process_resident_memory_bytes Resident memory size in bytes.\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ${process.memoryUsage.rss()}\n# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ${(user + system) / 1e6}\n`
}
