import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createGrpcClient } from '../src/transport/grpc/client.ts'
import { cpuSeconds, freePort, memoryOf } from './processes.ts'
import { type BenchSidecar, startSidecar, writeComponents } from './sidecar.ts'

/**
 * `node bench/soak.ts [--minutes 30] [--rate 500]`: two sidecars under mixed load (state, publish and subscribe, invocation,
 * streams of 1 MiB, over HTTP and gRPC) while a component's YAML is rewritten every ten seconds. A line each minute; at the end
 * the slope of RSS after minute five, how many events never came, and how many timers each sidecar still holds, by its heap
 * snapshot. Linux only. This process is the app as well.
 */
const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '30' }, rate: { type: 'string', default: '500' }, binary: { type: 'string' } },
})
const minutes = Number(values.minutes)
const rate = Number(values.rate)
/** Milliseconds between two batches of operations, and the most of them under way: past it the rate is not kept. */
const TICK = 20
const MOST = 500
const STREAM = 2 ** 20
/** Of this run alone: a bench beside it must not be called. */
const calleeId = `bench-callee-${process.pid}`

const work = mkdtempSync(join(tmpdir(), 'outrider-soak-'))
const resources = join(work, 'resources')
mkdirSync(resources)
mkdirSync(join(work, 'data'))
writeComponents(resources, join(work, 'data'), undefined)
const reloaded = (round: number) =>
  writeFileSync(
    join(resources, 'reloaded.yaml'),
    JSON.stringify({
      apiVersion: 'dapr.io/v1alpha1',
      kind: 'Component',
      metadata: { name: 'reloaded' },
      spec: {
        type: 'state.sqlite',
        version: 'v1',
        metadata: [
          { name: 'connectionString', value: join(work, 'data', 'reloaded.db') },
          { name: 'busyTimeout', value: `${2 + (round % 5)}s` },
        ],
      },
    }),
  )
reloaded(0)

let events = 0
const app = createServer((incoming, response) => {
  const path = incoming.url ?? ''
  if (path === '/dapr/subscribe')
    return void response
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify([{ pubsubname: 'events', topic: 'soak', route: '/event' }]))
  if (path.startsWith('/dapr/')) return void response.writeHead(404).end()
  if (path === '/event') events++
  if (path === '/down') return void response.end(Buffer.alloc(STREAM))
  incoming.resume().once('end', () => response.setHeader('content-type', 'application/json').end('{"ok":true}'))
}).listen(0, '127.0.0.1')
await new Promise((resolve) => app.once('listening', resolve))
const appPort = (app.address() as AddressInfo).port
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
const binary = values.binary ? { binary: [values.binary] } : {}
const profilePorts = [await freePort(), await freePort()] as const
const profiled = (port: number) => ({ more: { 'enable-profiling': 'true', 'profile-port': String(port) } })
const caller = await startSidecar({ appId: `bench-caller-${process.pid}`, resources, appPort, ...binary, ...profiled(profilePorts[0]) })
const callee = await startSidecar({ appId: calleeId, resources: join(work, 'data'), appPort, ...binary, ...profiled(profilePorts[1]) })
const client = createGrpcClient()

// What waits but keeps no process alive is in no other count.
const timersBefore = [await timersOf(profilePorts[0]), await timersOf(profilePorts[1])]

const counts = { done: 0, failed: 0, late: 0, published: 0 }
const failures = new Map<string, number>()
let running = 0

function http(method: string, path: string, body?: string | Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const outgoing = request({ host: '127.0.0.1', port: caller.httpPort, method, path, agent, headers }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => {
        if ((response.statusCode ?? 0) >= 400) text += chunk
      })
      response.once('end', () => ((response.statusCode ?? 0) < 400 ? resolve() : reject(new Error(`${response.statusCode} ${text}`))))
      response.once('error', reject)
    })
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}

const text = (value: string, field: number) => Buffer.concat([Buffer.from([field * 8 + 2, value.length]), Buffer.from(value)])
const getState = Buffer.concat([text('sqlite', 1), text('key', 2)])
const large = Buffer.alloc(STREAM, 'x')
type Operation = [share: number, name: string, run: () => Promise<unknown>]
let turn = 0
const operations: Operation[] = [
  [20, 'state save', () => http('POST', '/v1.0/state/sqlite', `[{"key":"key${turn % 1000}","value":{"n":${turn}}}]`)],
  [20, 'state get', () => http('GET', `/v1.0/state/memory/key${turn % 1000}`)],
  [10, 'state of the reloaded one', () => http('POST', '/v1.0/state/reloaded', `[{"key":"key${turn % 100}","value":${turn}}]`)],
  [15, 'gRPC state get', () => client.unary(`127.0.0.1:${caller.grpcPort}`, '/dapr.proto.runtime.v1.Dapr/GetState', getState)],
  [
    15,
    'publish',
    () =>
      http('POST', '/v1.0/publish/events/soak', `{"n":${turn}}`).then(() => {
        counts.published++
      }),
  ],
  [18, 'invoke', () => http('POST', `/v1.0/invoke/${calleeId}/method/hello`, `{"n":${turn}}`)],
  [1, 'stream down', () => http('GET', `/v1.0/invoke/${calleeId}/method/down`)],
  [1, 'stream up', () => http('POST', `/v1.0/invoke/${calleeId}/method/up`, large)],
]
const wheel = operations.flatMap((operation) => Array.from({ length: operation[0] }, () => operation))

function one(): void {
  if (running >= MOST) return void counts.late++
  turn++
  // A prime step: neighbours differ.
  const [, name, run] = wheel[(turn * 37) % wheel.length] as Operation
  running++
  run().then(
    () => {
      running--
      counts.done++
    },
    (error: unknown) => {
      running--
      counts.failed++
      const told = `${name}: ${String(error).slice(0, 160)}`
      if (failures.size < 20 || failures.has(told)) failures.set(told, (failures.get(told) ?? 0) + 1)
    },
  )
}

const started = performance.now()
let begun = 0
const load = setInterval(() => {
  const due = ((performance.now() - started) / 1000) * rate
  for (; begun < due; begun++) one()
}, TICK)
let reloads = 0
const reload = setInterval(() => reloaded(++reloads), 10_000)

const header = [
  'minute',
  'done',
  'failed',
  'late',
  'reloads',
  'RSS',
  'anon',
  'heap',
  'fds',
  'timers',
  'threads',
  'CPU %',
  'RSS',
  'anon',
  'heap',
  'fds',
  'timers',
  'threads',
  'CPU %',
]
console.log(`${rate} operations/s for ${minutes} minutes, load average ${loadavg()[0]?.toFixed(1)}; caller, then callee`)
console.log(row(header))
const rows: [minute: number, rss: number][] = []
let before = [caller, callee].map(({ pid }) => cpuSeconds(pid))
try {
  for (let minute = 1; minute <= minutes; minute++) {
    await new Promise((resolve) => setTimeout(resolve, started + minute * 60_000 - performance.now()))
    const cpu = [caller, callee].map(({ pid }) => cpuSeconds(pid))
    const columns: string[] = []
    for (const [index, sidecar] of [caller, callee].entries())
      columns.push(...(await usage(sidecar, profilePorts[index] as number, (cpu[index] as number) - (before[index] as number))))
    before = cpu
    rows.push([minute, memoryOf(caller.pid).rss])
    console.log(row([minute, counts.done, counts.failed, counts.late, reloads, ...columns]))
  }
} finally {
  clearInterval(load)
  clearInterval(reload)
  const end = performance.now() + 15_000
  while ((running > 0 || events < counts.published) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 100))
  console.log(`${counts.published} events published, ${events} delivered; load average ${loadavg()[0]?.toFixed(1)}`)
  for (const [told, count] of failures) console.log(`${count} × ${told}`)
  const steady = rows.filter(([minute]) => minute > 5)
  if (steady.length > 2) console.log(`RSS of the caller after minute 5: ${slope(steady).toFixed(2)} MiB a minute`)
  await client[Symbol.asyncDispose]()
  agent.destroy()
  // Each connection has timers of its own, so they are counted when the clients are gone.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  for (const [index, name] of ['caller', 'callee'].entries())
    console.log(
      `${name}: ${timersBefore[index]} timers in its heap snapshot before the load, ${await timersOf(profilePorts[index] as number)} after it`,
    )
  await caller.stop()
  await callee.stop()
  app.close()
  app.closeAllConnections()
  rmSync(work, { recursive: true, force: true })
}

async function usage({ pid }: BenchSidecar, profilePort: number, cpu: number): Promise<string[]> {
  const { rss, anonymous } = memoryOf(pid)
  const threads = /Threads:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? ''
  const fds = readdirSync(`/proc/${pid}/fd`).length
  const { active, memory } = (await profilingAnswer(profilePort, 'resources')) as {
    active: Record<string, number>
    memory: { heapUsed: number }
  }
  const heap = (memory.heapUsed / 2 ** 20).toFixed(0)
  return [rss.toFixed(0), anonymous.toFixed(0), heap, String(fds), String(active.Timeout ?? 0), threads, ((cpu / 60) * 100).toFixed(1)]
}

async function profilingAnswer(port: number, path: string): Promise<unknown> {
  return (await fetch(`http://127.0.0.1:${port}/debug/pprof/${path}`)).json()
}

/** All timers that the process holds, also those that do not keep it alive. */
async function timersOf(port: number): Promise<number> {
  const { snapshot, nodes, strings } = (await profilingAnswer(port, 'heap')) as {
    snapshot: { meta: { node_fields: string[]; node_types: [string[]] } }
    nodes: number[]
    strings: string[]
  }
  const { node_fields, node_types } = snapshot.meta
  const [type, name] = [node_fields.indexOf('type'), node_fields.indexOf('name')]
  const object = node_types[0].indexOf('object')
  let timers = 0
  for (let at = 0; at < nodes.length; at += node_fields.length)
    if (nodes[at + type] === object && strings[nodes[at + name] as number] === 'Timeout') timers++
  return timers
}

function row(columns: readonly (string | number)[]): string {
  return columns.map((column) => String(column).padStart(7)).join(' ')
}

/** Of the line of least squares. */
function slope(points: readonly [number, number][]): number {
  const mean = (index: 0 | 1) => points.reduce((sum, point) => sum + point[index], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0)
  return over / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
}
