import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { packageDir } from './paths.ts'
import { stillRuns } from './process.ts'

// The tool is tested against a stand-in for the sidecar: real processes and sockets, and a wish to fail on demand.
const home = mkdtempSync(join(tmpdir(), 'outrider-cli-'))
const dataDir = join(home, 'data')
const stub = join(home, 'sidecar')
writeFileSync(
  stub,
  `#!${process.execPath}
const args = process.argv.slice(2)
const flag = (name) => args[args.indexOf('--' + name) + 1]
if (process.env.STUB_EXIT) process.exit(Number(process.env.STUB_EXIT))
const http = require('node:http')
const metadata = {}
http.createServer((request, response) => {
  let body = ''
  request.on('data', (chunk) => (body += chunk)).on('end', () => {
    if (request.method === 'PUT') metadata[request.url.split('/').pop()] = body
    if (request.url.endsWith('/fail')) return response.writeHead(500).end('the reason')
    response.end(request.method === 'PUT' ? '' : JSON.stringify({ method: request.method, url: request.url, body, type: request.headers['content-type'], metadata, args }))
  })
}).listen(Number(flag('dapr-http-port')), '127.0.0.1')
http.createServer().listen(Number(flag('dapr-grpc-port')), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
console.log('stub sidecar log line')
`,
)
chmodSync(stub, 0o755)
const children = new Set<ChildProcessWithoutNullStreams>()
after(() => {
  for (const child of children) child.kill('SIGTERM')
  rmSync(home, { recursive: true, force: true })
})

class Tool {
  out = ''
  err = ''
  readonly child: ChildProcessWithoutNullStreams
  readonly #waiting = new Set<() => void>()
  constructor(args: string[], env: Record<string, string> = {}) {
    this.child = spawn(join(packageDir, 'bin', 'outrider'), args, {
      cwd: home,
      env: { PATH: process.env.PATH, HOME: home, OUTRIDER_SIDECAR: stub, OUTRIDER_DATA_DIR: dataDir, ...env },
    })
    children.add(this.child)
    this.child.stdin.end()
    this.child.stdout.on('data', (chunk) => this.#more('out', chunk))
    this.child.stderr.on('data', (chunk) => this.#more('err', chunk))
  }
  #more(where: 'out' | 'err', chunk: Buffer) {
    this[where] += chunk
    for (const wake of this.#waiting) wake()
  }
  async says(text: string): Promise<void> {
    const gone = once(this.child, 'close').then(() => 'gone')
    while (!this.out.includes(text)) {
      const more = new Promise((done) => this.#waiting.add(() => done('more')))
      if ((await Promise.race([more, gone])) === 'gone' && !this.out.includes(text))
        assert.fail(`never said ${text}:\n${this.out}\n${this.err}`)
      this.#waiting.clear()
    }
  }
  async end(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, 'close')
    children.delete(this.child)
    return this.child.exitCode
  }
}
const call = async (...args: string[]) => {
  const tool = new Tool(args)
  return { code: await tool.end(), out: tool.out, err: tool.err }
}
const pidsIn = (text: string) => [...text.matchAll(/PID=(\d+)/g)].map((match) => Number(match[1]))
const APP =
  "console.log('APP UP PID=' + process.pid, process.env.APP_ID, process.env.APP_PORT, process.env.DAPR_HTTP_PORT > 0); setInterval(() => {}, 1e6)"

test('an app and its sidecar run, are listed, reached and stopped together', async () => {
  const tool = new Tool(['run', '--app-id', 'one', '--app-port', '8123', '--', process.execPath, '-e', APP])
  await tool.says("✅  You're up and running! Both Dapr and your app logs will appear here.\n\n")
  await tool.says(' one 8123 true\n')
  assert.match(tool.out, /ℹ️ {2}No resources given: using the embedded defaults .* \(SQLite in .*data\)\n/)
  assert.match(tool.out, /ℹ️ {2}Starting Dapr with id one\. HTTP Port: \d+\. gRPC Port: \d+\n/)
  assert.match(tool.out, /\nstub sidecar log line\n/)
  assert.match(tool.out, /ℹ️ {2}Updating metadata for appPID: \d+\n/)
  assert.match(tool.out, /APP UP PID=\d+ one 8123 true\n/)

  const [row] = JSON.parse((await call('list', '--json')).out)
  assert.equal(row.appId, 'one')
  assert.equal(row.cliPid, tool.child.pid)
  assert.equal(row.command.length, 20)

  const invoked = await call('invoke', '--app-id', 'one', '--method', 'do?x=1', '--data', '{"a":1}')
  assert.equal(invoked.code, 0)
  assert.match(invoked.out, /\n✅ {2}App invoked successfully\n$/)
  const seen = JSON.parse(invoked.out.split('\n')[0] as string)
  assert.deepEqual([seen.method, seen.url, seen.body, seen.type], ['POST', '/v1.0/invoke/one/method/do?x=1', '{"a":1}', 'application/json'])
  assert.equal(seen.metadata.cliPID, String(tool.child.pid))
  assert.equal(seen.metadata.appPID, String(pidsIn(tool.out)[0]))
  assert.ok(seen.args.includes('--outrider-embedded'))
  assert.equal(seen.args[seen.args.indexOf('--outrider-data-dir') + 1], dataDir)

  const refused = await call('invoke', '-a', 'one', '-m', 'fail')
  assert.equal(refused.code, 1)
  assert.match(refused.err, /^❌ {2}error invoking app one: 500 Internal Server Error\n {3}the reason\n$/)
  const published = await call('publish', '-i', 'one', '-p', 'ps', '-t', 'orders', '-d', '{}', '-m', '{"a b":"c"}')
  assert.deepEqual([published.code, published.out], [0, '✅  Event published successfully\n'])
  const set = await call('state', 'set', 'k', '{"n":1}')
  assert.deepEqual([set.code, set.out], [0, '✅  State saved: k\n'])

  assert.equal((await call('stop', 'one')).out, '✅  app stopped successfully: one\n')
  assert.equal(await tool.end(), 0)
  assert.ok(
    tool.out.endsWith('ℹ️  \nterminated signal received: shutting down\n✅  Exited Dapr successfully\n✅  Exited App successfully\n'),
    tool.out,
  )
  for (const pid of [row.daprdPid, ...pidsIn(tool.out)]) assert.equal(stillRuns(pid, ''), false)
  assert.deepEqual(JSON.parse((await call('list', '-o', 'json')).out), [])
})

test('an app that ends takes the sidecar with it; its failure is the exit code 1', async () => {
  const good = new Tool(['run', '--app-id', 'good', '--', process.execPath, '-e', '0'])
  assert.equal(await good.end(), 0)
  assert.match(good.out, /Exited Dapr successfully\n✅ {2}Exited App successfully\n$/)
  const bad = new Tool(['run', '--app-id', 'bad', '--', process.execPath, '-e', 'process.exit(3)'])
  assert.equal(await bad.end(), 1)
  assert.match(bad.err, /❌ {2}The App process exited with error code: 3\n❌ {2}Error exiting App: app exited with status 3\n/)
})

test('a sidecar that dies at its start ends the run at once', async () => {
  const tool = new Tool(['run', '--app-id', 'dead', '--', process.execPath, '-e', APP], { STUB_EXIT: '7' })
  assert.equal(await tool.end(), 1)
  assert.match(tool.err, /❌ {2}The daprd process exited with error code: exit status 7\n❌ {2}Error exiting Dapr: exit status 7\n/)
  assert.doesNotMatch(tool.out, /APP UP|up and running!/)
})

test('children of the app end too', async () => {
  const tool = new Tool(['run', '--app-id', 'family', '--', 'sh', '-c', `"${process.execPath}" -e "${APP}" & wait`])
  await tool.says('APP UP')
  await tool.says('up and running!')
  tool.child.kill('SIGINT')
  assert.equal(await tool.end(), 0)
  for (const pid of pidsIn(tool.out)) assert.equal(stillRuns(pid, ''), false)
})

test('a taken port and a missing program are named before anything starts', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const taken = await call('run', '--app-id', 'x', '--dapr-http-port', String(port))
  server.close()
  assert.equal(taken.code, 1)
  assert.match(taken.err, new RegExp(`❌ {2}invalid configuration for HTTPPort. Port ${port} is not available\\n.*--dapr-http-port`))
  const missing = await call('run', '--app-id', 'x', '--', 'no-such-program')
  assert.equal(missing.code, 1)
  assert.match(missing.err, /❌ {2}Failed to find command no-such-program: exec: "no-such-program": executable file not found in \$PATH\n/)
  const folder = await call('run', '--app-id', 'x', '--resources-path', 'a,b')
  assert.match(folder.err, /❌ {2}error validating resources path \["a" "b"\] : stat a: no such file or directory\n/)
  const flag = await call('run', '--flag')
  assert.equal(flag.code, 255)
  assert.match(flag.err, /^Error: unknown flag: --flag\nIf it belongs to your app's command, put -- before the command\.\nUsage:/)
  assert.match((await call('run', '--app-idd', 'x')).err, /^Error: unknown flag: --app-idd\nDid you mean --app-id\?\n/)
  assert.match((await call('rnu')).err, /^Error: unknown command "rnu" for "outrider"\nDid you mean run\?\n/)
  assert.match((await call('run', '-f', 'nowhere')).err, /nowhere: no such file or directory\n {3}name a run file/)
})

test('a run file starts its apps in order, prefixes their output and ends with exit code 0', async () => {
  for (const folder of ['a', 'b']) mkdirSync(join(home, 'pair', folder), { recursive: true })
  const command = JSON.stringify([process.execPath, '-e', APP])
  writeFileSync(
    join(home, 'pair', 'dapr.yaml'),
    `version: 1\nname: pair\napps:\n- {appDirPath: a, appPort: 8200, command: ${command}, env: {APP_PORT: mine}}\n- {appDirPath: b, command: ${command}}\n`,
  )
  const tool = new Tool(['run', '-f', 'pair', '--app-id', 'ignored'])
  await tool.says('Started Dapr with app id "b"')
  await tool.says('== APP - a == APP UP')
  await tool.says('== APP - b == APP UP')
  assert.match(
    tool.out,
    /^⚠ {2}The following flags are ignored when using --run-file and should be configured in the run file instead: app-id\n/,
  )
  const order = [
    'Validating config and starting app "a"',
    'Started Dapr with app id "a". HTTP Port: ',
    `Writing log files to directory : ${join(home, 'pair/a/.dapr/logs')}`,
    'Validating config and starting app "b"',
  ]
  const places = order.map((line) => tool.out.indexOf(`ℹ️  ${line}`))
  assert.ok((places[0] as number) >= 0)
  assert.deepEqual(
    places,
    places.toSorted((x, y) => x - y),
  )
  assert.match(tool.out, /== APP - a == APP UP PID=\d+ a mine true/)
  assert.doesNotMatch(tool.out, /stub sidecar log line/)
  const logs = join(home, 'pair/a/.dapr/logs')
  const sidecarLog = readdirSync(logs).find((name) => name.startsWith('a_daprd_')) as string
  assert.match(readFileSync(join(logs, sidecarLog), 'utf8'), /stub sidecar log line/)

  assert.equal((await call('stop', '-f', 'pair')).out, '✅  Dapr and app processes stopped successfully\n')
  assert.equal(await tool.end(), 0)
  assert.match(tool.out, /\nℹ️ {2}Received signal to stop Dapr and app processes\. Shutting down Dapr and app processes\.\n/)
  assert.match(tool.out, /\n(✅ {2})?Exited App successfully\n/)
  assert.match(readFileSync(join(logs, sidecarLog), 'utf8'), /Exited Dapr successfully\nExited App successfully\n$/)
  for (const pid of pidsIn(tool.out)) assert.equal(stillRuns(pid, ''), false)
})

test('a sidecar alone says what it can be asked and how it gets an app', async () => {
  const tool = new Tool(['run', '--app-id', 'alone'])
  await tool.says('Ctrl-C ends it.')
  const port = /HTTP Port: (\d+)/.exec(tool.out)?.[1]
  assert.match(tool.out, new RegExp(`\nWhat it has: {2}curl localhost:${port}/v1\\.0/metadata\n`))
  tool.child.kill('SIGTERM')
  assert.equal(await tool.end(), 0)
})

test('an app port that somebody else already has is told before the app fails on it', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const { out } = await call('run', '--app-id', 'late', '--app-port', String(port), '--', process.execPath, '-e', '0')
  server.close()
  assert.match(out, new RegExp(`⚠ {2}Port ${port} \\(--app-port\\) already answers`))
})

test('a data folder that cannot be is named with the way to another', async () => {
  const { code, err } = await call('run', '--app-id', 'x', '--outrider-data-dir', join(stub, 'inside'))
  assert.equal(code, 1)
  assert.match(err, /Cannot make the data folder .*inside: ENOTDIR.*\n {3}choose another one with --outrider-data-dir/)
})

test('stopping what does not run says so and exits 0, as scripts expect', async () => {
  const { code, err } = await call('stop', '--app-id', 'nobody')
  assert.deepEqual([code, err], [0, "❌  failed to stop app id nobody: couldn't find app id nobody\n   no app runs here\n"])
})

test('what a killed tool left behind is listed and can be stopped', async () => {
  const tool = new Tool(['run', '--app-id', 'orphan', '--', process.execPath, '-e', APP])
  await tool.says('up and running!')
  await tool.says('APP UP')
  tool.child.kill('SIGKILL')
  tool.child.stdout.destroy()
  tool.child.stderr.destroy()
  await once(tool.child, 'exit')
  const [row] = JSON.parse((await call('list', '--json')).out)
  assert.deepEqual([row.appId, row.cliPid], ['orphan', 0])
  assert.equal((await call('stop', 'orphan')).out, '✅  app stopped successfully: orphan\n')
  for (const pid of [row.daprdPid, row.appPid]) assert.equal(stillRuns(pid, ''), false)
})
