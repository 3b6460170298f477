import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './servers/process.ts'

const binary = join(dirname(fileURLToPath(import.meta.url)), '..', 'bin', 'outriderd')
const READY_LIMIT = 15_000
const LOG_LIMIT = 200_000

export interface SidecarOptions {
  /** Default `faults`. */
  appId?: string
  /** Working directory too, so that nothing is written elsewhere. */
  dataDir: string
  /** Gives `statestore`, `pubsub` and the other embedded components. */
  embedded?: boolean
  resources?: string
  appPort?: number
  args?: readonly string[]
  /** Besides what this process has. */
  env?: Readonly<Record<string, string>>
  /** Hears of the process as soon as there is one. */
  onSpawn?: (early: { ports: readonly number[]; log(): string }) => void
  /** Path that must answer 204. Default /v1.0/healthz, which waits for every component's server. */
  readyAt?: '/v1.0/healthz' | '/v1.0/healthz/outbound'
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface SidecarProcess extends AsyncDisposable {
  /** Base URL of the HTTP API, without a slash at the end. */
  http: string
  /** `host:port` of the gRPC API. */
  grpc: string
  /** Port for other sidecars. */
  internal: number
  /** URL of the metrics. */
  metrics: string
  pid: number
  metricsPort: string
  /** Resolves when the process is gone. */
  exited: Promise<Exit>
  /** From the start of the process to the first 204, milliseconds. */
  readyMs: number
  /** The last part of what it logged. */
  log(): string
  /** SIGTERM; resolves when the process is gone. */
  stop(): Promise<Exit>
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<Exit>
}

/** Processes still running when the test process goes away are ended with it. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts bin/outriderd on free ports and waits until its health answers 204. Rejects with the log when it ends before. */
export async function startSidecar(options: SidecarOptions): Promise<SidecarProcess> {
  const [http, grpc, internal, metrics] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const began = performance.now()
  const child = spawn(
    binary,
    [
      `--app-id=${options.appId ?? 'faults'}`,
      `--dapr-http-port=${http}`,
      `--dapr-grpc-port=${grpc}`,
      `--dapr-internal-grpc-port=${internal}`,
      `--metrics-port=${metrics}`,
      '--dapr-listen-addresses=127.0.0.1',
      `--outrider-data-dir=${options.dataDir}`,
      ...(options.embedded ? ['--outrider-embedded'] : []),
      ...(options.resources ? [`--resources-path=${options.resources}`] : []),
      ...(options.appPort ? [`--app-port=${options.appPort}`] : []),
      ...(options.args ?? []),
    ],
    { cwd: options.dataDir, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
  )
  running.add(child)
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      log = (log + part).slice(-LOG_LIMIT)
    })
  }
  options.onSpawn?.({ ports: [http, grpc, internal, metrics], log: () => log })
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      running.delete(child)
      resolve({ code, signal })
    })
  })
  const end = (signal: NodeJS.Signals) => {
    if (running.has(child)) child.kill(signal)
    return exited
  }
  const base = `http://127.0.0.1:${http}`
  const ended = () => !running.has(child)
  if (!(await becomesReady(base + (options.readyAt ?? '/v1.0/healthz'), ended))) {
    const what = ended() ? 'ended' : `is not ready after ${READY_LIMIT} ms`
    await end('SIGKILL')
    throw new Error(`outriderd ${what}:\n${log}`)
  }
  return {
    http: base,
    grpc: `127.0.0.1:${grpc}`,
    internal,
    metrics: `http://127.0.0.1:${metrics}/`,
    pid: child.pid as number,
    metricsPort: String(metrics),
    exited,
    readyMs: performance.now() - began,
    log: () => log,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
    },
  }
}

/** Asks a health URL until it answers 204; false when that takes too long or `over` says that it never will. */
export async function becomesReady(url: string, over: () => boolean = () => false): Promise<boolean> {
  const deadline = performance.now() + READY_LIMIT
  while (performance.now() < deadline && !over()) {
    const answer = await fetch(url).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer?.status === 204) return true
    // Asking without a pause would take the CPU that the sidecar starts with.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return false
}

export interface TestApp extends AsyncDisposable {
  port: number
  /** Resolves with the number of distinct events on a route as soon as it is at least `count`. */
  heard(route: string, count: number): Promise<number>
  /** `data` of every event given to a route. */
  events(route: string): ReadonlySet<string>
  close(): Promise<void>
}

/**
 * An app that subscribes to topics of `pubsub` (topic → route) and notes the `data` of every event.
 * Routes in `silent` note it and never answer.
 */
export async function startApp(
  topics: Record<string, string>,
  options: { port?: number; silent?: readonly string[] } = {},
): Promise<TestApp> {
  const events = new Map<string, Set<string>>()
  const on = (route: string) => events.get(route) ?? (events.set(route, new Set()).get(route) as Set<string>)
  const waiting = new Set<() => void>()
  const subscriptions = Object.entries(topics).map(([topic, route]) => ({ pubsubname: 'pubsub', topic, route }))
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const url = request.url as string
    if (url === '/dapr/subscribe') return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(subscriptions))
    if (!Object.values(topics).includes(url)) return response.writeHead(404).end()
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const event = JSON.parse(Buffer.concat(parts).toString()) as { data: unknown }
    on(url).add(String(event.data))
    if (!options.silent?.includes(url)) response.end()
    for (const look of waiting) look()
  }
  const server: Server = createServer((request, response) => {
    // A sidecar that is killed cuts its requests off; what it had not sent whole is no event.
    serve(request, response).catch(() => response.destroy())
  }).listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  return {
    port: (server.address() as AddressInfo).port,
    events: on,
    heard: (route, count) =>
      new Promise((resolve) => {
        const look = () => {
          if (on(route).size < count) return
          waiting.delete(look)
          resolve(on(route).size)
        }
        waiting.add(look)
        look()
      }),
    close,
    [Symbol.asyncDispose]: close,
  }
}
