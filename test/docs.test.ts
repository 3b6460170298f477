import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { lacks } from './sdk/install.ts'
import { freePort } from './servers/process.ts'

// Runs the examples of docs/*.md in order against one sidecar with the resources that the pages show.
const run = promisify(execFile)
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const home = mkdtempSync(join(tmpdir(), 'outrider-docs-'))
const events: string[] = []
let heard: (() => void) | undefined
let app: Server
let sidecar: ChildProcess
let http: number
let grpc: number
let metrics: number

interface Example {
  /** Shell, or a module that may use Dapr's JavaScript SDK. */
  language: 'sh' | 'js'
  page: string
  line: number
  script: string
  output: string
}

const pages = globSync('docs/*.md', { cwd: root }).sort()
const text = (page: string) => readFileSync(join(root, page), 'utf8')

const examples: Example[] = pages.flatMap((page) =>
  [...text(page).matchAll(/<!-- run(?:: js)? -->\n```(sh|js)\n([\s\S]*?)```\n```output\n([\s\S]*?)```/g)].map((match) => ({
    language: match[1] as 'sh' | 'js',
    page,
    line: text(page).slice(0, match.index).split('\n').length,
    script: match[2] as string,
    output: match[3] as string,
  })),
)

before(async () => {
  const resources = join(home, 'resources')
  mkdirSync(resources)
  mkdirSync(join(home, 'keys'))
  symlinkSync(join(root, 'test/sdk/javascript/node_modules'), join(home, 'node_modules'))
  for (const page of pages) {
    for (const [, name, yaml] of text(page).matchAll(/<!-- resource: ([\w.-]+) -->\n```yaml\n([\s\S]*?)```/g))
      writeFileSync(join(resources, name as string), yaml as string)
  }
  app = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://app')
    if (url.pathname === '/hello') return void response.end(`hello ${url.searchParams.get('name')}\n`)
    if (url.pathname !== '/orders') return void response.writeHead(404).end()
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      events.push(body)
      response.end()
      heard?.()
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => app.once('listening', resolve))
  http = await freePort()
  grpc = await freePort()
  metrics = await freePort()
  const flags = [
    '--app-id=docs',
    `--app-port=${(app.address() as AddressInfo).port}`,
    `--dapr-http-port=${http}`,
    `--dapr-grpc-port=${grpc}`,
    `--metrics-port=${metrics}`,
  ]
  const ours = [
    '--outrider-embedded',
    `--outrider-data-dir=${join(home, 'data')}`,
    `--resources-path=${resources}`,
    '--dapr-listen-addresses=127.0.0.1',
  ]
  sidecar = spawn(join(root, 'bin', 'outriderd'), [...flags, ...ours], {
    cwd: home,
    env: { ...process.env, DOCS_PASSWORD: 'example' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve, reject) => {
    let log = ''
    sidecar.once('exit', (code) => reject(new Error(`outriderd ended with ${code}:\n${log}`)))
    sidecar.stdout?.setEncoding('utf8').on('data', (part: string) => {
      if (log.length < 1e6) log += part
      if (log.includes('dapr initialized')) resolve()
    })
  })
})

after(async () => {
  app?.closeAllConnections()
  app?.close()
  if (sidecar?.exitCode === null && sidecar.kill('SIGTERM')) await new Promise((resolve) => sidecar.once('exit', resolve))
  rmSync(home, { recursive: true, force: true })
})

test('every marked example has an expected output beside it', () => {
  const marks = pages.reduce((sum, page) => sum + text(page).split(/<!-- run(?:: js)? -->\n/).length - 1, 0)
  assert.ok(examples.length > 0)
  assert.equal(examples.length, marks)
})

const lines = (printed: string) =>
  printed
    .trim()
    .split('\n')
    .filter((each) => each !== '')

for (const { page, line, language, script, output } of examples) {
  test(`${page}:${line} prints what it says`, async (t) => {
    const what = script.includes('@dapr/dapr') ? lacks('javascript') : undefined
    if (what && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${what}`)
    if (what) return t.skip(what)
    const options = { cwd: home, timeout: 20_000 }
    if (language === 'sh') {
      const { stdout } = await run(
        'sh',
        ['-e', '-c', script.replaceAll('localhost:3500', `127.0.0.1:${http}`).replaceAll('localhost:9090', `127.0.0.1:${metrics}`)],
        options,
      )
      return assert.deepEqual(lines(stdout), lines(output))
    }
    writeFileSync(join(home, 'example.mjs'), script)
    const env = {
      ...process.env,
      DAPR_HOST: '127.0.0.1',
      DAPR_HTTP_PORT: String(http),
      DAPR_GRPC_PORT: String(grpc),
      OUTRIDER_DATA_DIR: join(home, 'data'),
    }
    const { stdout } = await run(process.execPath, ['example.mjs'], { ...options, env })
    assert.deepEqual(lines(stdout), lines(output))
  })
}

test('the subscription of docs/pubsub.md delivers the published event', { timeout: 20_000 }, async () => {
  while (events.length === 0) {
    await new Promise<void>((resolve) => {
      heard = resolve
    })
  }
  const event = JSON.parse(events[0] as string) as { topic: string; data: unknown }
  assert.deepEqual([event.topic, event.data], ['orders', { id: 7 }])
})

test('docs/grpc.md names every method that is served, and no other', async () => {
  // fileContainingSymbol of server reflection; the descriptor names each method before the type that it takes.
  const symbol = Buffer.from('dapr.proto.runtime.v1.Dapr')
  const session = connect(`http://127.0.0.1:${grpc}`)
  const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo'
  const call = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' })
  call.end(Buffer.concat([Buffer.from([0, 0, 0, 0, symbol.length + 2, 0x22, symbol.length]), symbol]))
  const reply = Buffer.concat(await Array.fromAsync(call as AsyncIterable<Buffer>))
    .toString('latin1')
    .replaceAll('\u0012', '<')
    .replaceAll('\u001a', '>')
  session.close()
  const described = /\n[\s\S]([A-Z]\w+)<[\s\S]{1,2}\.(?:dapr|google)\.[\w.]+>/g
  const served = [...reply.matchAll(described)].map((match) => match[1] as string)
  const table = text('docs/grpc.md').split('\nMethods of actors')[0] as string
  const named = [...table.matchAll(/`([A-Z]\w+)`/g)].map((match) => match[1] as string).filter((name) => name !== 'Alpha1')
  const withAlpha = ['GetConfiguration', 'SubscribeConfiguration', 'UnsubscribeConfiguration'].map((name) => `${name}Alpha1`)
  const elsewhere = /Actor|Workflow|Job|^Subtle/
  assert.ok(served.some((name) => elsewhere.test(name)))
  assert.deepEqual([...new Set([...named, ...withAlpha])].sort(), [...new Set(served.filter((name) => !elsewhere.test(name)))].sort())
})

test('every link between pages leads somewhere', () => {
  for (const page of [...globSync('docs/**/*.md', { cwd: root }), 'README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    for (const [, target] of text(page).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      assert.doesNotThrow(
        () => globSync(join(dirname(join(root, page)), target as string)).at(0) ?? assert.fail(),
        `${page} links to ${target}`,
      )
    }
  }
})
