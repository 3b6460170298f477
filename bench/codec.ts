import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runH2Load } from './h2-load.ts'
import { end } from './processes.ts'
import { profileIn, topFunctions } from './profile.ts'

/**
 * node bench/codec.ts [--seconds 0.3] [--rounds 15] [--streams 8] [--bytes 64] [--profile]
 * What our gRPC codec costs beside a bare node:http2 handler: CPU of the server process per unary echo, in turns so that
 * whatever else the machine does meets both. The ratio is the result; the microseconds belong to this machine and hour.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '0.3' },
    rounds: { type: 'string', default: '15' },
    streams: { type: 'string', default: '8' },
    bytes: { type: 'string', default: '64' },
    profile: { type: 'boolean', default: false },
  },
})
const streams = Number(values.streams)
const message = Buffer.alloc(Number(values.bytes), 7)
const profiles = mkdtempSync(join(tmpdir(), 'outrider-codec-'))

interface Server {
  name: 'bare' | 'ours'
  child: ChildProcess
  port: number
  costs: number[]
  calls: number
}

const servers: Server[] = []
try {
  for (const name of ['bare', 'ours'] as const) {
    const child = fork(join(import.meta.dirname, 'codec-server.ts'), [name], {
      execArgv: values.profile && name === 'ours' ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`] : [],
    })
    const [{ port }] = (await once(child, 'message')) as [{ port: number }]
    servers.push({ name, child, port, costs: [], calls: 0 })
  }
  const load = (server: Server, milliseconds: number) =>
    runH2Load({ port: server.port, path: '/bench.Echo/Echo', message, streams, milliseconds })
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), load average ${loadavg()[0]?.toFixed(1)}, Node ${process.version}, ${streams} calls at a time, ${message.length} bytes`,
  )
  for (const server of servers) await load(server, 1500)
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const server of servers) {
      const before = await cpuOf(server.child)
      const calls = await load(server, Number(values.seconds) * 1000)
      server.costs.push(((await cpuOf(server.child)) - before) / calls)
      server.calls += calls
    }
  }
  const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number
  for (const { name, costs, calls } of servers)
    console.log(`${name.padEnd(5)} ${median(costs).toFixed(1).padStart(6)} µs CPU a call (median of ${costs.length}; ${calls} calls)`)
  const [bare, ours] = servers as [Server, Server]
  console.log(
    `ratio ${median(ours.costs.map((cost, round) => cost / (bare.costs[round] as number))).toFixed(2)} (median of the rounds' ratios)`,
  )
} finally {
  for (const { child } of servers) {
    if (!values.profile) await end(child)
    else {
      child.disconnect()
      await once(child, 'exit')
    }
  }
  const file = values.profile && profileIn(profiles)
  if (file) console.log(`\nCPU profile: ${file}\n${topFunctions(file, 40).join('\n')}`)
  else rmSync(profiles, { recursive: true, force: true })
}

async function cpuOf(child: ChildProcess): Promise<number> {
  const answer = once(child, 'message')
  child.send('cpu')
  const [{ cpu }] = (await answer) as [{ cpu: number }]
  return cpu
}
