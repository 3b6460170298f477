import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { memoryOf, threadsOf } from './processes.ts'
import { type BenchSidecar, startSidecar, writeComponents } from './sidecar.ts'

/**
 * `node bench/idle.ts [--seconds 60] [NAME=BINARY …]`: what a sidecar that nobody calls costs: CPU, and how often one of its
 * threads wakes up, with the six components, and for Outrider with its embedded ones. All of them idle at the same time. Linux only.
 */
const { values, positionals } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string', default: '60' } } })
const seconds = Number(values.seconds)
const own = join(import.meta.dirname, '../bin/outriderd')
const work = mkdtempSync(join(tmpdir(), 'outrider-idle-'))
const resources = join(work, 'resources')
const empty = join(work, 'empty')
for (const directory of [resources, empty, join(work, 'data')]) mkdirSync(directory)
const running: { name: string; sidecar: BenchSidecar }[] = []
try {
  for (const given of positionals.length > 0 ? positionals : [`outrider=${own}`]) {
    const [name = '', path = ''] = given.split('=')
    // daprd has neither locks nor configuration on SQLite.
    const components = name === 'daprd' ? ['memory', 'sqlite', 'events', 'secrets'] : undefined
    const directory = join(work, name)
    mkdirSync(directory)
    writeComponents(directory, join(work, 'data'), undefined, components)
    running.push({ name, sidecar: await startSidecar({ appId: `bench-${name}`, resources: directory, binary: [path] }) })
  }
  const more = { 'outrider-embedded': 'true', 'outrider-data-dir': join(work, 'embedded') }
  running.push({ name: 'embedded', sidecar: await startSidecar({ appId: 'bench-embedded', resources: empty, binary: [own], more }) })
  await new Promise((resolve) => setTimeout(resolve, 10_000))
  const before = running.map(({ sidecar }) => threadsOf(sidecar.pid))
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  console.log(`${seconds} s without a request, 10 s after the start; load average ${loadavg()[0]?.toFixed(1)}`)
  running.forEach(({ name, sidecar: { pid } }, index) => {
    const now = threadsOf(pid)
    const { rss, anonymous } = memoryOf(pid)
    let [all, cpu] = [0, 0]
    const each: string[] = []
    for (const [thread, { switches, nanoseconds, title }] of now) {
      const earlier = before[index]?.get(thread)
      const rate = (switches - (earlier?.switches ?? 0)) / seconds
      all += rate
      cpu += (nanoseconds - (earlier?.nanoseconds ?? 0)) / 1e9 / seconds
      if (rate >= 0.05) each.push(`${title} ${rate.toFixed(1)}`)
    }
    console.log(
      `${name.padEnd(10)} ${(cpu * 100).toFixed(2).padStart(6)} % of a core, ${all.toFixed(1).padStart(5)} wake-ups/s (${each.join(', ')}), RSS ${rss.toFixed(0)} MiB, ${anonymous.toFixed(0)} anonymous`,
    )
  })
} finally {
  for (const { sidecar } of running) await sidecar.stop()
  rmSync(work, { recursive: true, force: true })
}
