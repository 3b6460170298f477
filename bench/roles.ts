import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type AgentProgram, startAgent } from '../src/agent/testing/program.ts'
import { memoryOf, threadsOf } from './processes.ts'

/**
 * `node bench/roles.ts [--seconds 30] [--only REGEXP]`: what `outrider agent` costs while nothing happens, with each role alone and
 * with all five: CPU, wake-ups and memory, side by side. Linux only.
 */
const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' }, only: { type: 'string', default: '' } } })
const seconds = Number(values.seconds)
const work = mkdtempSync(join(tmpdir(), 'outrider-roles-'))
const settings = join(work, 'settings')
mkdirSync(settings)
writeFileSync(join(settings, 'shop.yaml'), 'a: 1\n')
writeFileSync(join(work, 'secrets.json'), '{"db":"x"}')
writeFileSync(join(work, 'app.log'), 'a line\n')

const SPECS: Readonly<Record<string, object>> = {
  LogPipeline: {
    sources: [
      { tag: 'app', tail: { paths: [join(work, '*.log')] } },
      { tag: 'posted', http: {} },
    ],
    outputs: [{ file: { path: join(work, 'out.jsonl') } }],
  },
  MetricsAdapter: { statsd: { udp: ':0' } },
  ConfigServer: { sources: [{ name: 'files', files: { folder: settings } }] },
  SecretFiles: { secretStore: 'secrets', folder: join(work, 'run'), files: [{ path: 'db', secret: 'db' }] },
  SecurityRules: {
    rules: [{ rule: 'shell', desc: 'none', condition: 'evt.type=execve and proc.name=sh', output: '%proc.cmdline', priority: 'NOTICE' }],
    files: [{ path: settings }],
    outputs: { file: { path: join(work, 'security.json') } },
  },
}
const STORE = {
  apiVersion: 'dapr.io/v1alpha1',
  kind: 'Component',
  metadata: { name: 'secrets' },
  spec: { type: 'secretstores.local.file', version: 'v1', metadata: [{ name: 'secretsFile', value: join(work, 'secrets.json') }] },
}
const subjects = [...Object.keys(SPECS).map((kind) => [kind]), Object.keys(SPECS)].filter((kinds) =>
  new RegExp(values.only).test(kinds.join('+')),
)
const running: { name: string; agent: AgentProgram }[] = []
try {
  for (const kinds of subjects) {
    const name = kinds.length > 1 ? 'all of them' : (kinds[0] as string)
    const folder = join(work, `of-${running.length}`)
    mkdirSync(folder)
    const documents = kinds.map((kind) => ({ apiVersion: 'outrider.dev/v1', kind, metadata: { name: 'bench' }, spec: SPECS[kind] }))
    for (const [index, document] of [...documents, ...(kinds.includes('SecretFiles') ? [STORE] : [])].entries())
      writeFileSync(join(folder, `${index}.yaml`), JSON.stringify(document))
    running.push({ name, agent: await startAgent(folder) })
  }
  await new Promise((resolve) => setTimeout(resolve, 10_000))
  const before = running.map(({ agent }) => threadsOf(agent.pid))
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  console.log(`${seconds} s of nothing, 10 s after the start, ${running.length} processes; load average ${loadavg()[0]?.toFixed(1)}`)
  for (const [index, { name, agent }] of running.entries()) {
    const { rss, anonymous } = memoryOf(agent.pid)
    let [cpu, wakes] = [0, 0]
    for (const [thread, now] of threadsOf(agent.pid)) {
      const earlier = before[index]?.get(thread)
      cpu += (now.nanoseconds - (earlier?.nanoseconds ?? 0)) / 1e9 / seconds
      wakes += (now.switches - (earlier?.switches ?? 0)) / seconds
    }
    const cost = `${(cpu * 100).toFixed(2).padStart(6)} % of a core, ${wakes.toFixed(1).padStart(5)} wake-ups/s`
    console.log(`${name.padEnd(14)} ${cost}, RSS ${rss.toFixed(0)} MiB, ${anonymous.toFixed(0)} anonymous`)
  }
} finally {
  for (const { agent } of running) await agent.stop()
  rmSync(work, { recursive: true, force: true })
}
