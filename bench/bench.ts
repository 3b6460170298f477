import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuSeconds, end, LoadGenerator, memoryOf, startApp, startRedis } from './processes.ts'
import { profileIn, topFunctions } from './profile.ts'
import { requestText, type Scenario, scenarios } from './scenarios.ts'
import { type BenchSidecar, call, startSidecar, writeComponents } from './sidecar.ts'

/**
 * npm run bench -- [--seconds 3] [--only REGEXP] [--profile SCENARIO]
 * What one request costs bin/outriderd: CPU of the sidecar's processes, rate, latency, memory, start. Linux only.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    profile: { type: 'string' },
    connections: { type: 'string', default: '16' },
  },
})
const seconds = Number(values.seconds)
const connections = Number(values.connections)
if (process.platform !== 'linux') throw new Error('the benchmark reads /proc: run it on Linux')
if (!(seconds > 0) || !(connections > 0)) throw new Error('--seconds and --connections take a number above 0')
const only = new RegExp(values.only, 'i')
const profiled = values.profile
if (profiled !== undefined && !scenarios.some(({ name }) => name === profiled))
  throw new Error(`--profile takes one of: ${scenarios.map(({ name }) => name).join(', ')}`)

const work = mkdtempSync(join(tmpdir(), 'outrider-bench-'))
const resources = join(work, 'resources')
const data = join(work, 'data')
const profiles = mkdtempSync(join(tmpdir(), 'outrider-profile-'))
mkdirSync(resources)
mkdirSync(data)
const [redis, app, grpcApp] = [await startRedis(), await startApp(), await startApp('grpc')]
const load = new LoadGenerator()
try {
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), load average ${loadavg()[0]?.toFixed(1)}, Node ${process.version}, ${connections} connections, ${seconds} s a scenario`,
  )
  if (!redis) console.log('redis-server is not on PATH: the redis scenarios are left out')
  if (profiled === undefined && values.only === '') await measureStart()
  writeComponents(resources, data, redis?.port)
  const chosen = scenarios.filter(
    ({ name, redis: needed }) => (profiled === undefined ? only.test(name) : name === profiled) && (!needed || redis !== undefined),
  )
  console.log(
    `\n${'scenario'.padEnd(24)} ${'CPU µs'.padStart(7)} ${'rate/s'.padStart(8)} ${'p50 µs*'.padStart(8)} ${'p99 µs*'.padStart(8)} ${'p99 µs'.padStart(8)} ${'RSS MiB'.padStart(8)} ${'anon MiB'.padStart(9)}`,
  )
  for (const scenario of chosen) await measure(scenario)
  console.log('CPU per request, all sidecars of the scenario; * with one connection; memory after the load, all sidecars')
} finally {
  load.stop()
  await end(app.child)
  await end(grpcApp.child)
  if (redis) await end(redis.child)
  rmSync(work, { recursive: true, force: true })
  if (profiled === undefined) rmSync(profiles, { recursive: true, force: true })
}

/** Five starts with the six components that need no server; the last one rests before its memory is read. */
async function measureStart(): Promise<void> {
  const count = writeComponents(resources, data, undefined)
  const times: number[] = []
  let idle = { rss: 0, anonymous: 0 }
  for (let round = 0; round < 5; round++) {
    const sidecar = await startSidecar({ appId: 'bench-start', resources })
    times.push(sidecar.readyMilliseconds)
    if (round === 4) {
      await rest(5000)
      idle = memoryOf(sidecar.pid)
    }
    await sidecar.stop()
  }
  times.sort((a, b) => a - b)
  console.log(`start to ready, ${count} components: ${times[2]?.toFixed(0)} ms (median of 5, slowest ${times[4]?.toFixed(0)})`)
  console.log(`idle memory, ${count} components: RSS ${idle.rss.toFixed(0)} MiB, of it anonymous ${idle.anonymous.toFixed(0)}`)
}

async function measure(scenario: Scenario): Promise<void> {
  const profileDirectory = profiled === undefined ? undefined : profiles
  const sidecars: BenchSidecar[] = []
  try {
    const beside = scenario.grpcApp
      ? ({ resources, appPort: grpcApp.port, appProtocol: 'grpc' } as const)
      : ({ resources, appPort: app.port } as const)
    const caller = await startSidecar({ ...beside, appId: 'bench-caller', profileDirectory })
    sidecars.push(caller)
    if (scenario.callee) sidecars.push(await startSidecar({ ...beside, appId: 'bench-callee' }))
    for (const store of redis ? ['memory', 'sqlite', 'redis'] : ['memory', 'sqlite'])
      await call(caller.httpPort, 'POST', `/v1.0/state/${store}`, '[{"key":"key","value":{"name":"order","n":42}}]')
    const { grpc } = scenario
    const what = grpc
      ? {
          port: caller.grpcPort,
          request: '',
          grpc: { path: scenario.path, message: grpc.message.toString('base64'), metadata: grpc.metadata },
        }
      : { port: caller.httpPort, request: requestText(scenario) }
    const run = (clients: number, milliseconds: number) => load.run({ ...what, connections: clients, milliseconds })
    await run(connections, 1500)
    const single = await run(1, 1000)
    const cpu = () => sidecars.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0)
    const before = cpu()
    const result = await run(connections, seconds * 1000)
    const spent = cpu() - before
    const memory = sidecars.map(({ pid }) => memoryOf(pid))
    const total = (field: 'rss' | 'anonymous') => memory.reduce((sum, each) => sum + each[field], 0).toFixed(0)
    const columns = [
      ((spent / result.requests) * 1e6).toFixed(1).padStart(7),
      ((result.requests / result.elapsedMilliseconds) * 1000).toFixed(0).padStart(8),
      single.p50Microseconds.toFixed(0).padStart(8),
      single.p99Microseconds.toFixed(0).padStart(8),
      result.p99Microseconds.toFixed(0).padStart(8),
      total('rss').padStart(8),
      total('anonymous').padStart(9),
    ]
    console.log(`${scenario.name.padEnd(24)} ${columns.join(' ')}${result.bad > 0 ? `  ${result.bad} answers were not 2xx` : ''}`)
    if (result.bad > 0) process.exitCode = 1
  } finally {
    for (const sidecar of sidecars) await sidecar.stop()
  }
  const file = profileDirectory && profileIn(profileDirectory)
  if (file) console.log(`\nCPU profile: ${file} (open it in Chrome's DevTools)\n${topFunctions(file, 25).join('\n')}\n`)
}

function rest(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
