import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { loadResources } from '../src/resources/load.ts'
import { createLogger } from '../src/telemetry/log.ts'
import { freePort } from './servers/process.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
type Doc = Record<string, unknown>

/** An Elasticsearch as far as a bulk needs it, and an example that runs as it is but for its port. */
async function example(t: TestContext, name: string) {
  const home = mkdtempSync(join(tmpdir(), 'outrider-logs-example-'))
  const docs: { index: string; doc: Doc }[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const lines = Buffer.concat(chunks)
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Doc)
    for (let at = 0; at < lines.length; at += 2)
      docs.push({ index: (lines[at] as { create: { _index: string } }).create._index, doc: lines[at + 1] as Doc })
    response.end(JSON.stringify({ errors: false, items: Array.from({ length: lines.length / 2 }, () => ({ create: { status: 201 } })) }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const folder = join(home, 'resources')
  cpSync(join(root, 'examples/logs', name), folder, { recursive: true })
  for (const file of globSync(join(folder, '**/*.*')))
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('localhost:9200', `127.0.0.1:${port}`))
  mkdirSync(join(home, 'logs'))
  const [agentPort, forwardPort] = [await freePort(), await freePort()]
  const start = () => {
    const child = spawn(
      join(root, 'bin/outrider'),
      ['agent', '-f', folder, '--outrider-data-dir', join(home, 'data'), '--port', String(agentPort)],
      {
        cwd: home,
        env: { ...process.env, FORWARD_PORT: String(forwardPort) },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    t.after(async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      if (child.exitCode === null && child.kill()) await gone
      server.closeAllConnections()
      server.close()
      rmSync(home, { recursive: true, force: true })
    })
    return () => said
  }
  return { home, docs, agentPort, start }
}

async function until(holds: () => boolean | Promise<boolean>, describe: () => string): Promise<void> {
  const end = performance.now() + 15_000
  while (!(await holds())) {
    if (performance.now() > end) assert.fail(describe())
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('examples/logs/pipeline: files and posts, redacted, in Elasticsearch and in a file', async (t) => {
  const { home, docs, agentPort, start } = await example(t, 'pipeline')
  writeFileSync(
    join(home, 'logs/a.log'),
    '{"time":"2026-11-21T10:00:00Z","level":"error","message":"mail to a@b.org failed"}\n{"level":"debug"}\nError: no\n  at here\n  at there\n{"level":"info"}\n',
  )
  const said = start()
  const ready = () =>
    fetch(`http://127.0.0.1:${agentPort}/ready`).then(
      ({ status }) => status === 200,
      () => false,
    )
  await until(ready, said)
  const reply = await fetch(`http://127.0.0.1:${agentPort}/log/checkout`, {
    method: 'POST',
    body: '{"message":"posted"}',
    headers: { 'content-type': 'application/json' },
  })
  assert.deepEqual([reply.status, await reply.json()], [200, { accepted: 1 }])
  await until(
    () => docs.length === 4,
    () => JSON.stringify(docs) + said(),
  )
  const messages = docs.map(({ doc }) => doc.message ?? doc.level)
  assert.deepEqual(messages.sort(), ['Error: no\n  at here\n  at there', 'info', 'mail to [redacted] failed', 'posted'])
  const first = docs.find(({ doc }) => doc.level === 'error')
  assert.deepEqual([first?.index, first?.doc['@timestamp'], first?.doc.service], ['shop-2026.11.21', '2026-11-21T10:00:00.000Z', 'shop'])
  // What is posted has the tag of its path, and the file is for shop.** only.
  const [file = ''] = globSync(join(home, 'out/errors-*.jsonl'))
  await until(
    () => readFileSync(file, 'utf8').trim().split('\n').length === 3,
    () => readFileSync(file, 'utf8'),
  )
  assert.match(
    await (await fetch(`http://127.0.0.1:${agentPort}/metrics`)).text(),
    /outrider_logs_delivered_total\{pipeline="shop",output="search"\} 4/,
  )
})

test("examples/logs/fluentd: Fluentd's configuration does what it says", async (t) => {
  const { home, docs, start } = await example(t, 'fluentd')
  writeFileSync(join(home, 'logs/a.log'), '{"level":"info","password":"x","n":1}\n{"level":"debug","n":2}\n{"level":"warn","n":3}\n')
  const said = start()
  await until(() => docs.length === 2, said)
  assert.deepEqual(
    docs.map(({ doc: { '@timestamp': _, ...doc } }) => doc),
    [
      { level: 'info', n: 1, service: 'shop', from: 'log' },
      { level: 'warn', n: 3, service: 'shop', from: 'log' },
    ],
  )
  await until(() => globSync(join(home, 'out/shop.*.log')).length === 1, said)
})

test('examples/logs/pod: the resources load, and both files name what is there', async () => {
  const pod = join(root, 'examples/logs/pod')
  const said: string[] = []
  const log = createLogger({ level: 'warning', json: false, appId: 'app', version: '', write: (line) => said.push(line) })
  const { roles, components } = await loadResources({ paths: [join(pod, 'resources')], appId: 'app', namespace: '', log })
  assert.deepEqual([roles.map(({ kind }) => kind), components.map(({ name }) => name), said], [['LogPipeline'], ['statestore'], []])
  const compose = parse(readFileSync(join(pod, 'compose.yaml'), 'utf8')) as { services: { sidecar: { command: string[] } } }
  const { spec } = parse(readFileSync(join(pod, 'kubernetes.yaml'), 'utf8')) as { spec: { initContainers: { command: string[] }[] } }
  assert.deepEqual(compose.services.sidecar.command, spec.initContainers[0]?.command)
})
