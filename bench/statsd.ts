import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { startAgent } from '../src/agent/testing/program.ts'
import { freePort } from '../test/servers/process.ts'
import { cpuSeconds, memoryOf } from './processes.ts'

/**
 * node bench/statsd.ts [--seconds 5] [--rates 50000,100000,150000]
 * StatsD packets of one metric each over UDP into `outrider agent`: how many were counted, lost in the system (counted too), and lost
 * without a trace, which has to be none. Linux only.
 */
const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '5' }, rates: { type: 'string', default: '50000,100000,150000' } },
})
const seconds = Number(values.seconds)
const folder = mkdtempSync(join(tmpdir(), 'outrider-statsd-'))
const port = await freePort()
writeFileSync(
  join(folder, 'metrics.yaml'),
  `apiVersion: outrider.dev/v1\nkind: MetricsAdapter\nmetadata: { name: bench }\nspec: { statsd: { udp: "127.0.0.1:${port}" } }\n`,
)
const agent = await startAgent(folder)
const figures = async () => {
  const page = await (await fetch(`${agent.url}/metrics`, { headers: { accept: 'text/plain' } })).text()
  const of = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(page)?.[1])
  return { counted: of('outrider_metrics_samples_total'), lost: of('outrider_metrics_dropped_total\\{reason="kernel"\\}') }
}
console.log(`${cpus().length} cores (${cpus()[0]?.model}), load average ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`)
console.log(
  `${'wanted/s'.padStart(9)} ${'sent/s'.padStart(9)} ${'counted'.padStart(10)} ${'lost, counted'.padStart(14)} ${'uncounted'.padStart(10)} ${'CPU µs'.padStart(7)} ${'RSS MiB'.padStart(8)}`,
)
let uncounted = 0
try {
  for (const rate of values.rates.split(',').map(Number)) {
    const before = { ...(await figures()), cpu: cpuSeconds(agent.pid) }
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(import.meta.dirname, 'statsd-load.ts'),
      String(port),
      String(rate),
      String(seconds),
    ])
    const { sent, seconds: took } = JSON.parse(stdout) as { sent: number; seconds: number }
    // What is still in the socket's buffer.
    let now = await figures()
    for (
      const until = performance.now() + 2000;
      now.counted + now.lost - before.counted - before.lost < sent && performance.now() < until;
    )
      now = await figures()
    const [counted, lost] = [now.counted - before.counted, now.lost - before.lost]
    uncounted += sent - counted - lost
    const cpu = ((cpuSeconds(agent.pid) - before.cpu) / counted) * 1e6
    console.log(
      `${String(rate).padStart(9)} ${(sent / took).toFixed(0).padStart(9)} ${String(counted).padStart(10)} ${String(lost).padStart(14)} ${String(sent - counted - lost).padStart(10)} ${cpu.toFixed(1).padStart(7)} ${memoryOf(agent.pid).rss.toFixed(0).padStart(8)}`,
    )
  }
} finally {
  await agent.stop()
  rmSync(folder, { recursive: true, force: true })
}
if (uncounted !== 0) process.exitCode = 1
