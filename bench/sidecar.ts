import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { end, freePort } from './processes.ts'

const binary = join(import.meta.dirname, '../bin/outriderd')

/** A measured sidecar. */
export interface BenchSidecar {
  pid: number
  httpPort: number
  grpcPort: number
  /** From spawning the process to the first healthy answer. */
  readyMilliseconds: number
  stop(): Promise<void>
}

export interface SidecarOptions {
  appId: string
  /** Where its components are written; see writeComponents. */
  resources: string
  appPort?: number
  /** Default http. */
  appProtocol?: 'http' | 'grpc'
  /** Started instead of bin/outriderd, with these arguments before the flags. */
  binary?: readonly string[]
  /** Further flags. */
  more?: Record<string, string>
  /** Writes a CPU profile here when it ends. */
  profileDirectory?: string
}

/** Starts `bin/outriderd` on free ports and waits until it is ready. */
export async function startSidecar(options: SidecarOptions): Promise<BenchSidecar> {
  const [http, grpc, internal, metrics] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const flags = {
    'app-id': options.appId,
    'resources-path': options.resources,
    'dapr-http-port': http,
    'dapr-grpc-port': grpc,
    'dapr-internal-grpc-port': internal,
    'metrics-port': metrics,
    // What daprd needs to stand alone.
    'placement-host-address': ' ',
    'scheduler-host-address': ' ',
    'log-level': 'error',
    ...options.more,
    ...(options.appPort === undefined ? {} : { 'app-port': options.appPort }),
    ...(options.appProtocol === undefined ? {} : { 'app-protocol': options.appProtocol }),
  }
  const env = { ...process.env }
  if (options.profileDirectory) env.NODE_OPTIONS = `--cpu-prof --cpu-prof-dir=${options.profileDirectory}`
  const [command = binary, ...before] = options.binary ?? []
  const began = performance.now()
  const child: ChildProcess = spawn(command, [...before, ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)], {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  try {
    while ((await call(http, 'GET', '/v1.0/healthz')) !== 204) {
      if (child.exitCode !== null) throw new Error(`outriderd exited with ${child.exitCode}`)
      if (performance.now() - began > 30_000) throw new Error('outriderd is not ready after 30 s')
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  } catch (error) {
    await end(child)
    throw error
  }
  return { pid: child.pid as number, httpPort: http, grpcPort: grpc, readyMilliseconds: performance.now() - began, stop: () => end(child) }
}

/** One request; its status, or 0 when the connection failed. */
export function call(port: number, method: string, path: string, body = ''): Promise<number> {
  return new Promise((resolve) => {
    const outgoing = request(
      { host: '127.0.0.1', port, method, path, headers: body ? { 'content-type': 'application/json' } : {} },
      (response) => {
        response.resume().once('end', () => resolve(response.statusCode ?? 0))
      },
    )
    outgoing.once('error', () => resolve(0))
    outgoing.end(body)
  })
}

/** Writes the six components of every run, or those of these names, and two more where there is a Redis, into `directory`. */
export function writeComponents(directory: string, data: string, redisPort: number | undefined, only?: readonly string[]): number {
  const secrets = join(data, 'secrets.json')
  writeFileSync(secrets, '{"key":"value"}')
  const file = (name: string) => ({ connectionString: join(data, `${name}.db`) })
  const rows: [name: string, type: string, metadata: Record<string, string>][] = [
    ['memory', 'state.in-memory', {}],
    ['sqlite', 'state.sqlite', file('state')],
    ['events', 'pubsub.in-memory', {}],
    ['secrets', 'secretstores.local.file', { secretsFile: secrets }],
    ['settings', 'configuration.sqlite', file('settings')],
    ['locks', 'lock.sqlite', file('locks')],
  ]
  if (redisPort !== undefined) {
    const metadata = { redisHost: `127.0.0.1:${redisPort}`, redisPassword: '' }
    rows.push(['redis', 'state.redis', metadata], ['redis-events', 'pubsub.redis', metadata])
  }
  // JSON is YAML.
  const chosen = only ? rows.filter(([name]) => only.includes(name)) : rows
  const documents = chosen.map(([name, type, metadata]) =>
    JSON.stringify({
      apiVersion: 'dapr.io/v1alpha1',
      kind: 'Component',
      metadata: { name },
      spec: { type, version: 'v1', metadata: Object.entries(metadata).map(([field, value]) => ({ name: field, value })) },
    }),
  )
  writeFileSync(join(directory, 'components.yaml'), documents.join('\n---\n'))
  return chosen.length
}
