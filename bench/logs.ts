// biome-ignore-all lint/suspicious/noTemplateCurlyInString: filled in by the pipeline.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuSeconds } from './processes.ts'

/**
 * `node bench/logs.ts [--lines 500000] [--only REGEXP] [BINARY]`: lines of 200 bytes from a file through the buffer to a sink in a
 * process of its own, `outrider agent` held to one core: lines a second by the clock and for each second of CPU, and the most
 * memory by the kernel's own high-water mark. Linux only.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { lines: { type: 'string', default: '500000' }, only: { type: 'string', default: '' } },
})
const LINES = Number(values.lines)
const BYTES = 200
const only = new RegExp(values.only)
const binary = positionals[0] ?? join(import.meta.dirname, '../bin/outrider')

interface Scenario {
  name: string
  format: 'text' | 'json'
  output(sink: string): object
  filters?: object[]
}
const scenarios: readonly Scenario[] = [
  { name: 'text → Elasticsearch bulk', format: 'text', output: (url) => ({ elasticsearch: { urls: [url], logstashFormat: true } }) },
  { name: 'JSON → Elasticsearch bulk', format: 'json', output: (url) => ({ elasticsearch: { urls: [url], logstashFormat: true } }) },
  {
    name: 'JSON, grep and two fields → bulk',
    format: 'json',
    filters: [{ grep: { exclude: [{ field: 'level', pattern: '^debug$' }] } }, { add: { fields: { service: 'shop', from: '${tag}' } } }],
    output: (url) => ({ elasticsearch: { urls: [url], logstashFormat: true } }),
  },
  { name: 'text → HTTP, lines of JSON', format: 'text', output: (url) => ({ http: { url } }) },
  { name: 'text → Loki', format: 'text', output: (url) => ({ loki: { url } }) },
]

if (process.env.BENCH_SINK) await sink()
else await main()

/** Counts events; answers a bulk as Elasticsearch does. */
async function sink(): Promise<void> {
  let events = 0
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      let lines = 0
      if (request.url?.startsWith('/loki')) for (let at = body.indexOf('],[') + 1; at > 0; at = body.indexOf('],[', at) + 1) lines++
      else for (let at = body.indexOf(10) + 1; at > 0; at = body.indexOf(10, at) + 1) lines++
      const bulk = request.url?.startsWith('/_bulk')
      const count = bulk ? lines / 2 : request.url?.startsWith('/loki') ? lines + 1 : lines
      events += count
      response.end(bulk ? `{"errors":false,"items":[${Array(count).fill('{"create":{"status":201}}').join(',')}]}` : '{}')
      process.send?.({ events })
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send?.({ port: (server.address() as { port: number }).port })
}

function writeLines(path: string, json: boolean): void {
  const file = openSync(path, 'w')
  for (let at = 0; at < LINES; at += 1000) {
    let text = ''
    for (let number = at; number < Math.min(at + 1000, LINES); number++) {
      const head = json
        ? `{"ts":"2026-11-21T10:00:00.000Z","level":"info","number":${number},"message":"`
        : `2026-11-21T10:00:00.000Z info request ${number} of somebody took 12 ms `
      text += `${head.padEnd(BYTES - 1 - (json ? 2 : 0), 'x')}${json ? '"}' : ''}\n`
    }
    writeSync(file, text)
  }
  closeSync(file)
}

async function run(home: string, { name, format, filters, output }: Scenario): Promise<string> {
  const folder = join(home, name.replaceAll(/\W+/g, '-'))
  mkdirSync(join(folder, 'resources'), { recursive: true })
  const path = join(folder, 'app.log')
  writeLines(path, format === 'json')
  const child = fork(import.meta.filename, [], { env: { ...process.env, BENCH_SINK: '1' } })
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const spec = {
    sources: [{ tag: 'app', tail: { paths: [path], format } }],
    ...(filters && { filters }),
    outputs: [output(`http://127.0.0.1:${port}`)],
  }
  writeFileSync(
    join(folder, 'resources', 'logs.yaml'),
    JSON.stringify({ apiVersion: 'outrider.dev/v1', kind: 'LogPipeline', metadata: { name: 'bench' }, spec }),
  )
  const arguments_ = [binary, 'agent', '-f', join(folder, 'resources'), '--outrider-data-dir', join(folder, 'data'), '--port', '0']
  const agent = spawn('taskset', ['-c', String(availableParallelism() - 1), ...arguments_], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  agent.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  const pid = agent.pid as number
  const done = new Promise<void>((resolve) => child.on('message', ({ events }: { events: number }) => events >= LINES && resolve()))
  const failed = once(agent, 'exit').then(() => Promise.reject(new Error(`the agent has ended: ${said}`)))
  const spawned = performance.now()
  await Promise.race([done, failed])
  const seconds = (performance.now() - spawned) / 1000
  const cpu = cpuSeconds(pid)
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  failed.catch(() => undefined)
  agent.kill()
  child.kill()
  await Promise.all([once(agent, 'exit'), once(child, 'exit')])
  const perSecond = (over: number) => Math.round(LINES / over / 1000)
  return `| ${name} | ${perSecond(seconds)}k | ${perSecond(cpu)}k | ${cpu.toFixed(1)} s | ${Math.round(peak)} MiB |`
}

async function main(): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'outrider-bench-logs-'))
  try {
    console.log(`${LINES} lines of ${BYTES} bytes, one core, load ${loadavg()[0]?.toFixed(1)}\n`)
    console.log('| from → to | lines/s | lines per CPU second | CPU | most memory |\n| --- | --- | --- | --- | --- |')
    for (const scenario of scenarios) if (only.test(scenario.name)) console.log(await run(home, scenario))
    console.log(`\nload ${loadavg()[0]?.toFixed(1)}`)
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
