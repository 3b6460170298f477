import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startApp, startSidecar } from './sidecar.ts'

// The real sidecar follows its resources while it runs.
const root = mkdtempSync(join(tmpdir(), 'outrider-reload-'))
after(() => rmSync(root, { recursive: true, force: true }))

const binaries = join(dirname(fileURLToPath(import.meta.url)), '..', 'bin')
const LIMIT = { timeout: 30_000 }

function folder(name: string): string {
  const path = join(root, name)
  mkdirSync(path, { recursive: true })
  return path
}

const resource = (kind: string, name: string, spec: string, version = 'v1alpha1') =>
  `apiVersion: dapr.io/${version}\nkind: ${kind}\nmetadata: {name: ${name}}\nspec: ${spec}\n`
const component = (name: string, type: string, metadata = '[]') =>
  resource('Component', name, `{type: ${type}, version: v1, metadata: ${metadata}}`)
const subscription = (topic: string, route: string) =>
  resource('Subscription', `on-${topic}`, `{pubsubname: pubsub, topic: ${topic}, routes: {default: ${route}}}`, 'v2alpha1')

interface Metadata {
  components: { name: string; type: string }[]
  subscriptions?: { topic: string }[]
  httpEndpoints?: { name: string }[]
  resiliencies?: { name: string }[]
  extended: Record<string, string>
}

async function get<T>(url: string): Promise<T> {
  return (await (await fetch(url)).json()) as T
}

/** Asks until the answer is as wanted, for ten seconds at most. */
async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  for (const end = performance.now() + 10_000; ; ) {
    const answer = await ask()
    if (wanted(answer)) return answer
    if (performance.now() > end) assert.fail(`still not as wanted: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

async function metrics(port: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
}

test('components, subscriptions, endpoints and policies come, change and go while it runs', LIMIT, async () => {
  const [dataDir, resources] = [folder('all-data'), folder('all')]
  const write = (file: string, text: string) => writeFileSync(join(resources, file), text)
  await using app = await startApp({ unused: '/orders', other: '/changed' })
  await using sidecar = await startSidecar({ dataDir, resources, appPort: app.port })
  const { http } = sidecar
  const metadata = () => get<Metadata>(`${http}/v1.0/metadata`)

  write('pubsub.yaml', component('pubsub', 'pubsub.in-memory'))
  write('orders.yaml', subscription('orders', '/orders'))
  await until(
    metadata,
    ({ components, subscriptions }) => components.length === 1 && (subscriptions ?? []).some((one) => one.topic === 'orders'),
  )
  const publish = async (data: string) => assert.equal((await post(`${http}/v1.0/publish/pubsub/orders`, data)).status, 204)
  await until(
    () => get<{ parts: { kind: string; name: string; state: string }[] }>(`${http}/v1.0/healthz?verbose`),
    ({ parts }) => parts.some(({ kind, name, state }) => kind === 'subscription' && name === 'pubsub/orders' && state === 'up'),
  )
  await publish('one')
  await app.heard('/orders', 1)
  write('orders.yaml', subscription('orders', '/changed'))
  await until(
    async () => {
      await publish('two')
      return app.events('/changed').size
    },
    (size) => size > 0,
  )

  const service = createServer((request, response) => response.end(request.headers['x-key'])).listen(0, '127.0.0.1')
  await once(service, 'listening')
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
  write('web.yaml', resource('HTTPEndpoint', 'web', `{baseUrl: "${url}", headers: [{name: x-key, value: first}]}`))
  const key = async () => (await fetch(`${http}/v1.0/invoke/web/method/x`)).text()
  await until(key, (text) => text === 'first')
  write('web.yaml', resource('HTTPEndpoint', 'web', `{baseUrl: "${url}", headers: [{name: x-key, value: second}]}`))
  await until(key, (text) => text === 'second')
  write('policy.yaml', resource('Resiliency', 'slow', '{policies: {timeouts: {t: 50ms}}, targets: {apps: {web: {timeout: t}}}}'))
  await until(metadata, ({ resiliencies }) => resiliencies?.[0]?.name === 'slow')
  service.removeAllListeners('request').on('request', () => {})
  await until(key, (text) => text.includes('ERR_DIRECT_INVOKE') && /timeout|deadline/i.test(text))

  for (const file of ['web.yaml', 'policy.yaml', 'orders.yaml', 'pubsub.yaml']) rmSync(join(resources, file))
  const last = await until(
    metadata,
    ({ components, httpEndpoints, resiliencies }) => components.length === 0 && !httpEndpoints && !resiliencies,
  )
  assert.equal(last.extended['outrider.state'], 'degraded', 'the app wants topics of a pubsub that is gone')
  service.closeAllConnections()
  service.close()
  assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
})

test('a bad new version leaves the old one running and says why, with file and line', LIMIT, async () => {
  const [dataDir, resources] = [folder('bad-data'), folder('bad')]
  const file = join(resources, 'store.yaml')
  writeFileSync(file, component('store', 'state.in-memory'))
  await using sidecar = await startSidecar({ dataDir, resources })
  const { http } = sidecar
  assert.equal((await post(`${http}/v1.0/state/store`, [{ key: 'a', value: 1 }])).status, 204)
  const verbose = () => get<{ state: string; reasons: string[] }>(`${http}/v1.0/healthz?verbose`)
  const served = async () => assert.equal(await (await fetch(`${http}/v1.0/state/store/a`)).text(), '1')
  const bad: [string, RegExp][] = [
    [
      `# moved\n${component('store', 'state.sqlite')}`,
      /Component store \(.*store\.yaml:2\) is refused, the version before it goes on: .*connectionString/,
    ],
    [component('store', 'state.nonesuch'), /is refused, the version before it goes on: .*state\.nonesuch/],
    [
      'kind: Component\napiVersion: dapr.io/v1alpha1\nmetadata: {name: store}\nspec: {type: 5: 6',
      /store\.yaml:4:\d+ is refused: not valid YAML/,
    ],
    [component('store', 'state.in-memory').replace('spec: {', 'spec: {version: [], '), /store\.yaml:\d+:\d+ is refused/],
    [
      `${component('store', 'state.in-memory')}---\n${component('store', 'pubsub.in-memory')}`,
      /duplicate definition of Component name store/,
    ],
  ]
  for (const [text, reason] of bad) {
    writeFileSync(file, text)
    const { state } = await until(verbose, ({ reasons }) => reasons.some((one) => reason.test(one)))
    assert.equal(state, 'degraded')
    await served()
    assert.equal((await fetch(`${http}/v1.0/healthz`)).status, 204)
    const { extended } = await get<Metadata>(`${http}/v1.0/metadata`)
    assert.ok(Object.values(extended).some((one) => reason.test(one)))
    assert.match(sidecar.log(), reason)
  }
  writeFileSync(file, component('store', 'state.in-memory'))
  await until(verbose, ({ state }) => state === 'ready')
  await served()
})

test('as daprd, when told so, a bad new version ends the process', LIMIT, async () => {
  const [dataDir, resources] = [folder('fatal-data'), folder('fatal')]
  const file = join(resources, 'store.yaml')
  writeFileSync(file, component('store', 'state.in-memory'))
  await using sidecar = await startSidecar({ dataDir, resources, args: ['--outrider-exit-on-bad-reload'] })
  writeFileSync(file, component('store', 'state.sqlite'))
  while (!sidecar.log().includes('Fatal error from runtime')) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.deepEqual(await sidecar.exited, { code: 1, signal: null })
  assert.match(sidecar.log(), /Component store \(.*store\.yaml:1\) is refused: /, 'no version before goes on, and none is promised')
})

test('requests do not notice that their component is replaced: none fails while it changes twenty times', LIMIT, async (t) => {
  const [dataDir, resources] = [folder('load-data'), folder('load')]
  const file = join(resources, 'store.yaml')
  const version = (n: number) =>
    component('store', 'state.sqlite', `[{name: connectionString, value: "${dataDir}/s.db"}, {name: tableName, value: t${n % 2}}]`)
  writeFileSync(file, version(0))
  await using sidecar = await startSidecar({ dataDir, resources })
  const { http } = sidecar
  const failures: string[] = []
  let requests = 0
  let over = false
  const client = async () => {
    while (!over) {
      const answer = await post(`${http}/v1.0/state/store`, [{ key: `k${requests++ % 100}`, value: 'x' }])
      if (answer.status !== 204) failures.push(await answer.text())
    }
  }
  const clients = Promise.all([client(), client(), client(), client()])
  const changes = async () =>
    (await metrics(sidecar.metricsPort)).match(/outrider_reloads_total\{[^}]*action="change",result="success"\} (\d+)/)?.[1]
  for (let n = 1; n <= 20; n++) {
    writeFileSync(file, version(n))
    await until(changes, (count) => count === String(n))
  }
  over = true
  await clients
  t.diagnostic(`${requests} requests over 20 versions`)
  assert.deepEqual(failures, [])
  assert.ok(requests > 100)
})

test('a traffic policy of our own counts for calls as it comes, changes and goes; a bad one leaves the old one', LIMIT, async (t) => {
  const [dataDir, resources] = [folder('traffic-data'), folder('traffic')]
  const service = createServer((_, response) => response.end('served')).listen(0, '127.0.0.1')
  await once(service, 'listening')
  t.after(() => {
    service.closeAllConnections()
    service.close()
  })
  const own = (name: string, spec: string) =>
    writeFileSync(
      join(resources, `${name}.yaml`),
      `apiVersion: outrider.dev/v1\nkind: TrafficPolicy\nmetadata: {name: ${name}}\nspec: ${spec}\n`,
    )
  const fault = (status: number, target: string) =>
    `{policies: {faults: {f: {error: {percent: 100, httpStatus: ${status}}}}}, targets: ${target}}`
  const rate = '{policies: {rateLimits: {r: {requestsPerSecond: 0.001, burst: 1}}}, targets: {apps: {reload-callee: {rateLimit: r}}}}'
  const appPort = (service.address() as AddressInfo).port
  await using callee = await startSidecar({ appId: 'reload-callee', dataDir, resources, appPort })
  await using caller = await startSidecar({ appId: 'reload-caller', dataDir, resources })
  const status = async () => (await fetch(`${caller.http}/v1.0/invoke/reload-callee/method/x`)).status
  await until(status, (code) => code === 200)
  own('outbound', fault(418, '{apps: {reload-callee: {fault: f}}}'))
  await until(status, (code) => code === 418)
  own('outbound', fault(451, '{apps: {"*": {fault: f}}}'))
  await until(status, (code) => code === 451)
  writeFileSync(
    join(resources, 'outbound.yaml'),
    'apiVersion: outrider.dev/v1\nkind: TrafficPolicy\nmetadata: {name: outbound}\nspec: {}\n',
  )
  await until(
    () => get<{ reasons: string[] }>(`${caller.http}/v1.0/healthz?verbose`),
    ({ reasons }) =>
      reasons.some((reason) => /TrafficPolicy outbound at .*outbound\.yaml:4:7 is refused: spec\.policies is missing/.test(reason)),
  )
  assert.equal(await status(), 451, 'the version before goes on')
  rmSync(join(resources, 'outbound.yaml'))
  await until(status, (code) => code === 200)
  own('inbound', fault(507, '{inbound: {fault: f}}'))
  await until(status, (code) => code === 507)
  rmSync(join(resources, 'inbound.yaml'))
  await until(status, (code) => code === 200)
  own('rate', rate)
  await until(status, (code) => code === 429)
  // Another policy for others: what this one has learned stays, its only token is gone for a quarter of an hour.
  own('others', fault(418, '{apps: {nobody: {fault: f}}}'))
  const loads = async () =>
    (await get<{ reloads: { counts: { kind: string; action: string; count: number }[] } }>(`${caller.http}/v1.0/healthz?verbose`)).reloads
      .counts
  await until(loads, (counts) => counts.some(({ kind, action, count }) => kind === 'TrafficPolicy' && action === 'add' && count === 4))
  assert.equal(await status(), 429)
  for (const sidecar of [caller, callee]) assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
})

test('a mount that is swapped as Kubernetes does it is followed, also when the folder comes after the sidecar', LIMIT, async () => {
  const dataDir = folder('mount-data')
  const resources = join(root, 'mount')
  await using sidecar = await startSidecar({ dataDir, resources })
  const types = async () => (await get<Metadata>(`${sidecar.http}/v1.0/metadata`)).components.map(({ type }) => type).join()
  const publish = (version: string, type: string) => {
    mkdirSync(join(resources, version), { recursive: true })
    writeFileSync(join(resources, version, 'a.yaml'), component('a', type))
    symlinkSync(version, join(resources, '..data_tmp'))
    renameSync(join(resources, '..data_tmp'), join(resources, '..data'))
  }
  publish('..one', 'state.in-memory')
  symlinkSync('..data/a.yaml', join(resources, 'a.yaml'))
  await until(types, (text) => text === 'state.in-memory')
  publish('..two', 'pubsub.in-memory')
  await until(types, (text) => text === 'pubsub.in-memory')
})

test('SIGHUP renews secrets; a new Configuration makes the runtime anew in the same process, a bad one does not', LIMIT, async () => {
  const [dataDir, resources] = [folder('hup-data'), folder('hup')]
  const config = join(dataDir, 'config.yaml')
  const secrets = join(dataDir, 'secrets.json')
  writeFileSync(secrets, JSON.stringify({ table: 'first' }))
  writeFileSync(config, resource('Configuration', 'c', '{api: {allowed: []}}'))
  writeFileSync(join(resources, 'a.yaml'), component('sec', 'secretstores.local.file', `[{name: secretsFile, value: "${secrets}"}]`))
  writeFileSync(
    join(resources, 'b.yaml'),
    `${component('store', 'state.sqlite', `[{name: connectionString, value: "${dataDir}/s.db"}, {name: tableName, secretKeyRef: {name: table}}]`)}auth: {secretStore: sec}\n`,
  )
  await using sidecar = await startSidecar({ dataDir, resources, args: [`--config=${config}`] })
  const { http, pid } = sidecar
  const read = async () => (await fetch(`${http}/v1.0/state/store/a`)).text()
  assert.equal((await post(`${http}/v1.0/state/store`, [{ key: 'a', value: 1 }])).status, 204)
  writeFileSync(secrets, JSON.stringify({ table: 'second' }))
  // The store of secrets reads its file once: what changes is its own resource.
  writeFileSync(
    join(resources, 'a.yaml'),
    component('sec', 'secretstores.local.file', `[{name: secretsFile, value: "${secrets}"}, {name: nestedSeparator, value: "/"}]`),
  )
  process.kill(pid, 'SIGHUP')
  await until(read, (text) => text === '')

  writeFileSync(config, resource('Configuration', 'c', '{api: {allowed: 5}}'))
  process.kill(pid, 'SIGHUP')
  await until(
    () => get<{ reasons: string[] }>(`${http}/v1.0/healthz?verbose`),
    ({ reasons }) => reasons.some((one) => /Configuration is refused.*config\.yaml:4:\d+/.test(one)),
  )
  assert.equal((await fetch(`${http}/v1.0/state/store/a`)).status, 204)

  writeFileSync(config, resource('Configuration', 'c', '{api: {denied: [{name: state, version: v1}]}}'))
  process.kill(pid, 'SIGHUP')
  await until(
    () =>
      fetch(`${http}/v1.0/state/store/a`).then(
        ({ status }) => status,
        () => 0,
      ),
    (status) => status !== 204 && status !== 0,
  )
  assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
})

/** A request on a connection of its own; resolves with the status. */
function alone(url: string, body: unknown): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { method: 'POST', agent: false, headers: { 'content-type': 'application/json' } }, (reply) => {
      reply.resume().once('end', () => resolve(reply.statusCode ?? 0))
    })
      .once('error', reject)
      .end(JSON.stringify(body))
  })
}

test('no connection is refused or cut while the runtime is made anew with another Configuration, ten times', LIMIT, async (t) => {
  const dataDir = folder('anew-data')
  const config = join(dataDir, 'config.yaml')
  const version = (n: number) =>
    writeFileSync(config, resource('Configuration', 'c', `{metrics: {http: {increasedCardinality: ${n % 2 === 0}}}}`))
  version(0)
  await using app = await startApp({ unused: '/x' })
  await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: app.port, args: [`--config=${config}`] })
  const failures: string[] = []
  let requests = 0
  let over = false
  const client = async () => {
    while (!over) {
      try {
        const status = await alone(`${sidecar.http}/v1.0/state/statestore`, [{ key: `k${requests++ % 100}`, value: 'x' }])
        if (status !== 204) failures.push(String(status))
      } catch (error) {
        failures.push(String(error))
      }
    }
  }
  const clients = Promise.all([client(), client()])
  for (let n = 1; n <= 10; n++) {
    version(n)
    process.kill(sidecar.pid, 'SIGHUP')
    await until(
      async () => sidecar.log().split('dapr initialized').length - 1,
      (starts) => starts === n + 1,
    )
  }
  over = true
  await clients
  t.diagnostic(`${requests} requests`)
  assert.deepEqual(failures, [])
  assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
})

test(
  'outrider apply shows what would change, changes it, and says what the sidecar made of it; outrider status tells the states',
  LIMIT,
  async () => {
    const [dataDir, resources, fresh] = [folder('cli-data'), folder('cli'), folder('cli-new')]
    writeFileSync(join(resources, 'a.yaml'), component('a', 'state.in-memory'))
    await using sidecar = await startSidecar({ dataDir, resources })
    const port = new URL(sidecar.http).port
    const tool = (...args: string[]) =>
      new Promise<{ code: number; out: string }>((resolve) => {
        execFile(join(binaries, 'outrider'), [...args, '--dapr-http-port', port], (error, out, err) =>
          resolve({ code: error ? Number(error.code) : 0, out: out + err }),
        )
      })
    writeFileSync(join(fresh, 'a.yaml'), component('a', 'state.in-memory', '[{name: x, value: y}]'))
    writeFileSync(join(fresh, 'b.yaml'), component('b', 'pubsub.in-memory'))
    const dry = await tool('apply', fresh, '--dry-run')
    assert.deepEqual([dry.code, dry.out], [0, `~ Component a (${fresh}/a.yaml:1)\n+ Component b (${fresh}/b.yaml:1)\n`])
    const { components } = await get<Metadata>(`${sidecar.http}/v1.0/metadata`)
    assert.deepEqual(
      components.map(({ name }) => name),
      ['a'],
      'nothing has changed',
    )
    const applied = await tool('apply', fresh)
    assert.equal(applied.code, 0, applied.out)
    assert.match(applied.out, /2 files put into .*\n.*faults is ready/)
    const status = await tool('status')
    assert.equal(status.code, 0, status.out)
    assert.match(
      status.out,
      /^faults: ready since [^\n]*\nKIND +NAME +DETAIL +STATE[^\n]*\ncomponent +a +state.in-memory +up[^\n]*\ncomponent +b +pubsub.in-memory +up/,
    )

    writeFileSync(join(fresh, 'b.yaml'), 'kind: Component\nspec: 5\n')
    const bad = await tool('apply', fresh, '--dry-run')
    assert.deepEqual([bad.code, bad.out.includes(`${fresh}/b.yaml:1:1: `)], [1, true], bad.out)
    writeFileSync(join(fresh, 'b.yaml'), component('b', 'pubsub.nonesuch'))
    const refused = await tool('apply', join(fresh, 'b.yaml'))
    assert.deepEqual([refused.code, /Component b .*is refused, the version before it goes on/.test(refused.out)], [1, true], refused.out)
    const degraded = await tool('status', '--json')
    assert.equal(degraded.code, 1)
    assert.equal((JSON.parse(degraded.out) as { state: string }).state, 'degraded')
  },
)

test('what ?verbose tells needs the API token', LIMIT, async () => {
  const dataDir = folder('token-data')
  await using sidecar = await startSidecar({ dataDir, env: { DAPR_API_TOKEN: 'secret' } })
  assert.equal((await fetch(`${sidecar.http}/v1.0/healthz`)).status, 204)
  assert.equal((await fetch(`${sidecar.http}/v1.0/healthz?verbose`)).status, 401)
  assert.equal((await fetch(`${sidecar.http}/v1.0/healthz?verbose`, { headers: { 'dapr-api-token': 'secret' } })).status, 200)
})

test('with --outrider-exit-with-app the sidecar of a job ends with it', LIMIT, async () => {
  const dataDir = folder('job-data')
  const app = await startApp({})
  await using sidecar = await startSidecar({ dataDir, appPort: app.port, args: ['--outrider-exit-with-app'] })
  await app.close()
  assert.deepEqual(await sidecar.exited, { code: 0, signal: null })
  assert.match(sidecar.log(), /The app has left port/)
})

test('an MCPServer is shown by metadata, and the log says that its tools are not served', LIMIT, async () => {
  const [dataDir, resources] = [folder('mcp-data'), folder('mcp')]
  const put = (name: string) =>
    writeFileSync(
      join(resources, `${name}.yaml`),
      resource('MCPServer', name, `{endpoint: {streamableHTTP: {url: "http://mcp.example/${name}"}}}`),
    )
  put('first')
  await using sidecar = await startSidecar({ dataDir, resources })
  put('second')
  const shown = () => get<{ mcpServers?: { name: string }[] }>(`${sidecar.http}/v1.0/metadata`)
  await until(shown, ({ mcpServers }) => mcpServers?.length === 2)
  for (const name of ['first', 'second']) {
    const told = `MCPServer loaded: ${name} (http://mcp.example/${name}); metadata shows it, this version does not serve its tools`
    await until(
      async () => sidecar.log(),
      (log) => log.includes(told),
    )
  }
  writeFileSync(join(resources, 'second.yaml'), resource('MCPServer', 'second', '{endpoint: {streamableHTTP: {url: "ftp://mcp.example"}}}'))
  await until(
    async () => sidecar.log(),
    (log) => /MCPServer second .* is refused, the version before it goes on: .*scheme must be http or https/.test(log),
  )
  assert.equal((await shown()).mcpServers?.length, 2)
})
