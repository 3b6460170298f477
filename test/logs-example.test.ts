import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
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
  const running: ChildProcess[] = []
  t.after(async () => {
    for (const child of running) {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      if (child.exitCode === null && child.kill()) await gone
    }
    server.close()
    server.closeAllConnections()
    rmSync(home, { recursive: true, force: true })
  })
  const { port } = server.address() as AddressInfo
  const folder = join(home, 'resources')
  cpSync(join(root, 'examples/logs', name), folder, { recursive: true })
  for (const file of globSync(join(folder, '**/*.*')))
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/\b(?:localhost|elasticsearch):9200/g, `127.0.0.1:${port}`))
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
    running.push(child)
    return () => said
  }
  return { home, docs, agentPort, start, running }
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
  // A file a day: that of the event with a time of its own, and today's.
  const errors = () => globSync(join(home, 'out/errors-*.jsonl')).flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'))
  await until(
    () => errors().length === 3,
    () => errors().join('\n'),
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

test('examples/logs/pod: one process is runtime, logs and proxy', async (t) => {
  const pod = join(root, 'examples/logs/pod')
  const compose = parse(readFileSync(join(pod, 'compose.yaml'), 'utf8')) as { services: { sidecar: { command: string[] } } }
  const { spec } = parse(readFileSync(join(pod, 'kubernetes.yaml'), 'utf8')) as { spec: { initContainers: { command: string[] }[] } }
  const [program = '', ...flags] = compose.services.sidecar.command
  assert.deepEqual([program, ...flags], spec.initContainers[0]?.command)

  const { home, docs, running } = await example(t, 'pod')
  const upstream = createServer((request, response) => void response.end(`orders answers ${request.url}`))
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const folder = join(home, 'resources')
  const [proxy, http, grpc, metrics, agent] = (await Promise.all(Array.from({ length: 5 }, freePort))) as [
    number,
    number,
    number,
    number,
    number,
  ]
  const here = (text: string) =>
    text
      .replaceAll('/var/log/app', join(home, 'logs'))
      .replaceAll('/var/lib/outrider', join(home, 'data'))
      .replaceAll('/etc/outrider', join(folder, 'resources'))
      .replaceAll('/etc/envoy', join(folder, 'envoy'))
      .replaceAll('address: orders, port_value: 8080', `address: 127.0.0.1, port_value: ${(upstream.address() as AddressInfo).port}`)
      .replaceAll('port_value: 15001', `port_value: ${proxy}`)
  for (const file of globSync(join(folder, '**/*.yaml'))) writeFileSync(file, here(readFileSync(file, 'utf8')))
  mkdirSync(join(home, 'data'))
  writeFileSync(join(home, 'logs/a.log'), '{"message":"from a file","mail":"a@b.org"}\n')
  const ports = [`--dapr-http-port=${http}`, `--dapr-grpc-port=${grpc}`, `--metrics-port=${metrics}`, `--outrider-agent-port=${agent}`]
  // No app runs here, so nobody waits for its port.
  const own = flags
    .filter((flag) => !flag.startsWith('--app-port'))
    .map((flag) => here(flag).replace('--app-id=app', `--app-id=logs-pod-${process.pid}`))
  const child = spawn(join(root, 'bin', program), [...own, ...ports], {
    cwd: home,
    env: { ...process.env, POD_NAME: 'pod-1', NAMESPACE: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  running.push(child)
  t.after(() => {
    upstream.close()
    upstream.closeAllConnections()
  })
  const ok = (url: string) =>
    fetch(url).then(
      ({ ok }) => ok,
      () => false,
    )
  await until(
    () => ok(`http://127.0.0.1:${http}/v1.0/healthz/outbound`),
    () => said,
  )
  await until(
    () => ok(`http://127.0.0.1:${agent}/ready`),
    () => said,
  )
  const state = `http://127.0.0.1:${http}/v1.0/state/statestore`
  await fetch(state, { method: 'POST', body: '[{"key":"k","value":"v"}]', headers: { 'content-type': 'application/json' } })
  assert.equal(await (await fetch(`${state}/k`)).text(), '"v"')
  await fetch(`http://127.0.0.1:${agent}/log`, { method: 'POST', body: 'from the app' })
  assert.equal(await (await fetch(`http://127.0.0.1:${proxy}/orders/1`)).text(), 'orders answers /orders/1')
  await until(
    () => docs.length === 2,
    () => JSON.stringify(docs) + said,
  )
  assert.deepEqual(docs.map(({ doc }) => doc.message).sort(), ['from a file', 'from the app'])
  const { pod: name, mail } = docs.find(({ doc }) => doc.mail)?.doc ?? {}
  assert.deepEqual([name, mail], ['pod-1', '[redacted]'])
})
