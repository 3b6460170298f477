import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuSeconds, end, memoryOf } from './processes.ts'
import { type BenchSidecar, startSidecar, writeComponents } from './sidecar.ts'
import type { Transfer } from './stream-load.ts'

/**
 * `node bench/streams.ts [--mebibytes 100] [--rounds 3] [--only REGEXP] [NAME=BINARY …]`: what a long body costs the two
 * sidecars it passes, and the rate of each binary against the last one's. The binaries take turns. Linux only.
 *
 * What is added: the kernel's high-water mark of resident memory (VmHWM) during a stream, less what was resident 3 s after 20 calls
 * of 64 KiB, the first that the sidecar served; the most of all rounds, caller and callee apart. It counts everything that streams
 * bring for the first time: buffers, the growth of the JavaScript heap, compiled code, and pages of the program's own file that
 * had not been touched (of which up to 5 MiB come with the compiler's first run, in whichever sidecar the 20 calls did not bring it).
 * `anonymous` is the most that was added without pages of files, sampled every 10 ms, of both sidecars the higher.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mebibytes: { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
})
/** Of this run alone: a bench beside it must not be called. */
const calleeOf = (name: string) => `bench-${name}-callee-${process.pid}`
const MIB = 2 ** 20
const bytes = Number(values.mebibytes) * MIB
const rounds = Number(values.rounds)
const only = new RegExp(values.only)
const binaries = (positionals.length > 0 ? positionals : [`outrider=${join(import.meta.dirname, '../bin/outriderd')}`]).map((given) => {
  const [name = '', path = ''] = given.split('=')
  return { name, path: resolve(path) }
})
const scenarios: Pick<Transfer, 'wire' | 'direction'>[] = [
  { wire: 'http', direction: 'down' },
  { wire: 'http', direction: 'up' },
  { wire: 'grpc', direction: 'down' },
  { wire: 'grpc', direction: 'up' },
]

const work = mkdtempSync(join(tmpdir(), 'outrider-streams-'))
/** What is to be stopped, however the run ends. */
const running = new Set<BenchSidecar>()
const resources = join(work, 'resources')
mkdirSync(resources)
mkdirSync(join(work, 'data'))
writeComponents(resources, join(work, 'data'), undefined, ['memory', 'events'])
const app = spawn(process.execPath, [join(import.meta.dirname, 'stream-app.ts')], { stdio: ['pipe', 'pipe', 'inherit'] })
const [line] = (await once(app.stdout, 'data')) as [Buffer]
const [httpPort = 0, grpcPort = 0] = line.toString().split(' ').map(Number)
const client = fork(join(import.meta.dirname, 'stream-load.ts'))
console.log(
  `${values.mebibytes} MiB, ${rounds} rounds, load average ${loadavg()[0]?.toFixed(1)}; MiB added by caller and callee, most of all rounds; rest: median`,
)
console.log(
  `${'scenario'.padEnd(12)} ${'binary'.padEnd(10)} ${'caller'.padStart(7)} ${'callee'.padStart(7)} ${'MB/s'.padStart(6)} ${'best'.padStart(6)} ${'CPU s'.padStart(6)} ${'anonymous'.padStart(9)} ${'RSS before'.padStart(11)} ${'10 s after'.padStart(11)} rate/${binaries.at(-1)?.name}`,
)
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void Promise.all([...running].map((sidecar) => sidecar.stop())).then(() => process.exit(1)))
try {
  for (const scenario of scenarios) if (only.test(`${scenario.wire} ${scenario.direction}`)) await measure(scenario)
} finally {
  client.disconnect()
  await end(app)
  rmSync(work, { recursive: true, force: true })
}

interface Pair {
  name: string
  sidecars: [BenchSidecar, BenchSidecar]
  before: number[]
  anonymousBefore: number[]
  added: [number, number]
  anonymous: number
  rates: number[]
  cpu: number[]
}

async function measure(scenario: Pick<Transfer, 'wire' | 'direction'>): Promise<void> {
  const pairs: Pair[] = []
  try {
    for (const binary of binaries) pairs.push(await open(binary, scenario))
    await new Promise((done) => setTimeout(done, 3000))
    for (const pair of pairs) {
      const memory = pair.sidecars.map(({ pid }) => memoryOf(pid))
      pair.before = memory.map(({ rss }) => rss)
      pair.anonymousBefore = memory.map(({ anonymous }) => anonymous)
    }
    for (let round = 0; round < rounds; round++) for (const pair of pairs) await transfer(pair, scenario)
    await new Promise((done) => setTimeout(done, 10_000))
    for (const pair of pairs) {
      const after = pair.sidecars.map(({ pid }) => memoryOf(pid).rss.toFixed(0)).join(' + ')
      const columns = [
        ...pair.added.map((mebibytes) => mebibytes.toFixed(1).padStart(7)),
        median(pair.rates).toFixed(0).padStart(6),
        Math.max(...pair.rates)
          .toFixed(0)
          .padStart(6),
        median(pair.cpu).toFixed(2).padStart(6),
        pair.anonymous.toFixed(1).padStart(9),
        pair.before
          .map((rss) => rss.toFixed(0))
          .join(' + ')
          .padStart(11),
        after.padStart(11),
        (median(pair.rates) / median((pairs.at(-1) as Pair).rates)).toFixed(2),
      ]
      console.log(`${`${scenario.wire} ${scenario.direction}`.padEnd(12)} ${pair.name.padEnd(10)} ${columns.join(' ')}`)
    }
  } finally {
    for (const sidecar of running) await sidecar.stop()
    running.clear()
  }
}

/** Two sidecars that have talked to each other before. */
async function open({ name, path }: { name: string; path: string }, scenario: Pick<Transfer, 'wire' | 'direction'>): Promise<Pair> {
  const common = {
    resources,
    binary: [path],
    appPort: scenario.wire === 'http' ? httpPort : grpcPort,
    appProtocol: scenario.wire,
    more: { 'max-body-size': '1Gi' },
  }
  const start = async (appId: string) => {
    const sidecar = await startSidecar({ ...common, appId })
    running.add(sidecar)
    return sidecar
  }
  const caller = await start(`bench-${name}-caller-${process.pid}`)
  const sidecars: Pair['sidecars'] = [caller, await start(calleeOf(name))]
  for (let call = 0; call < 20; call++) await send({ ...scenario, port: portOf(caller, scenario), bytes: 65_536, callee: calleeOf(name) })
  return { name, sidecars, before: [], anonymousBefore: [], added: [0, 0], anonymous: 0, rates: [], cpu: [] }
}

async function transfer(pair: Pair, scenario: Pick<Transfer, 'wire' | 'direction'>): Promise<void> {
  const { sidecars } = pair
  // Sets the high-water mark back to what is resident now: proc(5), clear_refs.
  for (const { pid } of sidecars) writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const cpu = () => sidecars.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0)
  const before = cpu()
  const sampling = setInterval(() => {
    for (const [index, { pid }] of sidecars.entries())
      pair.anonymous = Math.max(pair.anonymous, memoryOf(pid).anonymous - (pair.anonymousBefore[index] as number))
  }, 10)
  const milliseconds = await send({ ...scenario, port: portOf(sidecars[0], scenario), bytes, callee: calleeOf(pair.name) })
  clearInterval(sampling)
  pair.cpu.push(cpu() - before)
  pair.rates.push(bytes / 1000 / milliseconds)
  sidecars.forEach(({ pid }, index) => {
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
    pair.added[index as 0 | 1] = Math.max(pair.added[index as 0 | 1], peak - (pair.before[index] as number))
  })
}

function portOf(sidecar: BenchSidecar, { wire }: Pick<Transfer, 'wire'>): number {
  return wire === 'http' ? sidecar.httpPort : sidecar.grpcPort
}

async function send(transfer: Transfer): Promise<number> {
  const answer = once(client, 'message')
  client.send(transfer)
  const [message] = (await answer) as [{ milliseconds: number } | { error: string }]
  if ('error' in message) throw new Error(`${transfer.wire} ${transfer.direction}: ${message.error}`)
  return message.milliseconds
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}
