import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { freePort } from './servers/process.ts'
import { becomesReady, startApp, startSidecar } from './sidecar.ts'

// What happens to the real sidecar when processes are killed, servers are away and inputs are bad.
const root = mkdtempSync(join(tmpdir(), 'outrider-faults-'))
after(() => rmSync(root, { recursive: true, force: true }))

const LIMIT = { timeout: 20_000 }
const WORKERS = 16
const range = (count: number) => Array.from({ length: count }, (_, index) => index)

function folder(name: string, files: Record<string, string> = {}): string {
  const path = join(root, name)
  mkdirSync(path, { recursive: true })
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text)
  return path
}

function component(name: string, type: string, properties: Record<string, string> = {}): string {
  const metadata = Object.entries(properties).map(([key, value]) => `    - name: ${key}\n      value: ${JSON.stringify(value)}\n`)
  return `apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: ${name}
spec:
  type: ${type}
  version: v1
  metadata:${metadata.length > 0 ? `\n${metadata.join('')}` : ' []\n'}`
}

async function post(url: string, body: unknown): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

/** Posts and reads the answer away; throws what the sidecar says when it is not 204. */
async function accepted(url: string, body: unknown): Promise<void> {
  const response = await post(url, body)
  const text = await response.text()
  if (response.status !== 204) throw new Error(`${response.status}: ${text}`)
}

/** Runs `work` for 0 … count-1 on several workers; gives the numbers that succeeded, and the failures. */
async function all(
  count: number,
  work: (number: number) => Promise<void>,
  onDone?: (done: number) => void,
): Promise<{ done: number[]; failures: unknown[] }> {
  const done: number[] = []
  const failures: unknown[] = []
  let next = 0
  const worker = async () => {
    for (let number = next++; number < count; number = next++) {
      try {
        await work(number)
        done.push(number)
        onDone?.(done.length)
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(range(WORKERS).map(worker))
  return { done, failures }
}

async function readAll(http: string, keys: readonly string[]): Promise<Map<string, unknown>> {
  const response = await post(`${http}/v1.0/state/statestore/bulk`, { keys, parallelism: 10 })
  assert.equal(response.status, 200)
  const rows = (await response.json()) as { key: string; data?: unknown }[]
  return new Map(rows.filter((row) => row.data !== undefined).map((row) => [row.key, row.data]))
}

async function metadata(http: string): Promise<{ components: { name: string }[]; extended: Record<string, string> }> {
  const response = await fetch(`${http}/v1.0/metadata`)
  assert.equal(response.status, 200)
  return (await response.json()) as { components: { name: string }[]; extended: Record<string, string> }
}

test('a sidecar killed while it saves has every acknowledged item after its restart', LIMIT, async (t) => {
  const dataDir = folder('kill-state')
  const save = (http: string) => (number: number) => accepted(`${http}/v1.0/state/statestore`, [{ key: `k${number}`, value: { number } }])
  await using first = await startSidecar({ dataDir, embedded: true })
  const { done } = await all(2000, save(first.http), (count) => {
    if (count === 1000) void first.kill()
  })
  assert.deepEqual(await first.kill(), { code: null, signal: 'SIGKILL' })
  assert.ok(done.length >= 1000 && done.length < 2000, `${done.length} saves were acknowledged before the kill`)

  await using second = await startSidecar({ dataDir, embedded: true })
  t.diagnostic(`${done.length} saves acknowledged; ready ${Math.round(second.readyMs)} ms after the restart`)
  const found = await readAll(
    second.http,
    range(2000).map((number) => `k${number}`),
  )
  assert.deepEqual(
    done.filter((number) => (found.get(`k${number}`) as { number: number } | undefined)?.number !== number),
    [],
    'acknowledged and gone',
  )
  const rest = range(2000).filter((number) => !done.includes(number))
  assert.deepEqual((await all(rest.length, (index) => save(second.http)(rest[index] as number))).failures, [])
})

test('a sidecar killed while it publishes delivers every acknowledged event after its restart', LIMIT, async (t) => {
  const dataDir = folder('kill-pubsub')
  const topics = { orders: '/orders' }
  // This app never answers, so no event counts as handled before the kill.
  await using silent = await startApp(topics, { silent: ['/orders'] })
  const { port } = silent
  await using first = await startSidecar({ dataDir, embedded: true, appPort: port })
  const { done } = await all(
    2000,
    (number) => accepted(`${first.http}/v1.0/publish/pubsub/orders`, `e${number}`),
    (count) => {
      if (count === 1000) void silent.heard('/orders', 1).then(() => first.kill())
    },
  )
  await first.kill()
  assert.ok(done.length >= 1000 && done.length < 2000, `${done.length} events were acknowledged before the kill`)
  await silent.close()

  await using app = await startApp(topics, { port })
  await using second = await startSidecar({ dataDir, embedded: true, appPort: port })
  const ready = performance.now()
  // Events whose publisher got no answer may be there too, so numbers alone do not tell that all have come.
  const missing = () => done.filter((number) => !app.events('/orders').has(`e${number}`))
  for (let count = done.length; missing().length > 0; count++) await app.heard('/orders', count)
  t.diagnostic(
    `${done.length} events acknowledged; ready ${Math.round(second.readyMs)} ms after the restart, all delivered ${Math.round(performance.now() - ready)} ms later`,
  )
  assert.deepEqual(missing(), [])
})

test('two sidecars save to the same data folder at once without an error', LIMIT, async () => {
  const dataDir = folder('shared')
  await using one = await startSidecar({ dataDir, embedded: true, appId: 'one' })
  await using two = await startSidecar({ dataDir, embedded: true, appId: 'two' })
  const sidecars = [
    { name: 'one', http: one.http },
    { name: 'two', http: two.http },
  ]
  const results = await Promise.all(
    sidecars.map(({ name, http }) =>
      all(500, (number) => accepted(`${http}/v1.0/state/statestore`, [{ key: `k${number}`, value: `${name} ${number}` }])),
    ),
  )
  for (const result of results) assert.deepEqual(result.failures, [])
  for (const { name, http } of sidecars) {
    const found = await readAll(
      http,
      range(500).map((number) => `k${number}`),
    )
    assert.deepEqual(found, new Map(range(500).map((number) => [`k${number}`, `${name} ${number}`])))
  }
})

test('events published while the app is down reach it when it is up again', LIMIT, async () => {
  const dataDir = folder('app-down')
  const topics = { orders: '/orders' }
  await using before = await startApp(topics)
  const { port } = before
  await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: port })
  await accepted(`${sidecar.http}/v1.0/publish/pubsub/orders`, 'hello')
  await before.heard('/orders', 1)
  await before.close()
  const { failures } = await all(200, (number) => accepted(`${sidecar.http}/v1.0/publish/pubsub/orders`, `e${number}`))
  assert.deepEqual(failures, [])

  await using app = await startApp(topics, { port })
  await app.heard('/orders', 200)
  assert.deepEqual(
    new Set([...app.events('/orders')].filter((event) => event !== 'hello')),
    new Set(range(200).map((number) => `e${number}`)),
  )
})

test('a topic whose handler never answers does not hold up another topic of the component', LIMIT, async () => {
  const dataDir = folder('slow-topic')
  await using app = await startApp({ slow: '/slow', fast: '/fast' }, { silent: ['/slow'] })
  await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: app.port })
  // More than the handlers that may run at once for a topic, so that its deliveries are all taken.
  assert.deepEqual((await all(100, (number) => accepted(`${sidecar.http}/v1.0/publish/pubsub/slow`, `s${number}`))).failures, [])
  await app.heard('/slow', 10)
  assert.deepEqual((await all(50, (number) => accepted(`${sidecar.http}/v1.0/publish/pubsub/fast`, `f${number}`))).failures, [])
  assert.equal(await app.heard('/fast', 50), 50)
  assert.ok(app.events('/slow').size < 100, 'the slow topic was held up')
})

test('a Redis that is away at the start is named by readiness, and its store works once it is there', LIMIT, async (t) => {
  if (spawnSync('redis-server', ['--version']).error && process.env.OUTRIDER_REQUIRE_SERVERS !== '1')
    return t.skip('redis-server is not on this machine')
  const port = await freePort()
  const dataDir = folder('redis')
  const resources = folder('redis-resources', {
    'late.yaml': component('late', 'state.redis', { redisHost: `127.0.0.1:${port}`, redisMaxRetries: '0' }),
    'there.yaml': component('there', 'state.in-memory'),
  })
  await using sidecar = await startSidecar({ dataDir, resources, readyAt: '/v1.0/healthz/outbound' })
  const why = new RegExp(`retrying: .*127\\.0\\.0\\.1:${port}.*ECONNREFUSED`)
  const health = await fetch(`${sidecar.http}/v1.0/healthz`)
  const { message } = (await health.json()) as { message: string }
  const hint = decodeURIComponent(health.headers.get('outrider-hint') ?? '')
  assert.deepEqual([health.status, message], [500, 'dapr is not ready: [component-late]'])
  assert.match(hint, /component late \(state\.redis\)/)
  assert.match(hint, why)
  const { components, extended } = await metadata(sidecar.http)
  assert.deepEqual(
    components.map(({ name }) => name),
    ['there'],
  )
  assert.match(extended['outrider.component.late'] ?? '', why)
  await accepted(`${sidecar.http}/v1.0/state/there`, [{ key: 'a', value: 1 }])
  await assert.rejects(accepted(`${sidecar.http}/v1.0/state/late`, [{ key: 'a', value: 1 }]), /state store late /)

  const redis = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', dataDir], { stdio: 'ignore' })
  try {
    await once(redis, 'spawn')
    assert.ok(await becomesReady(`${sidecar.http}/v1.0/healthz`, () => redis.exitCode !== null), sidecar.log())
    await accepted(`${sidecar.http}/v1.0/state/late`, [{ key: 'a', value: 'from redis' }])
    assert.equal(await (await fetch(`${sidecar.http}/v1.0/state/late/a`)).json(), 'from redis')
    assert.equal((await metadata(sidecar.http)).extended['outrider.component.late'], undefined)
  } finally {
    const gone = once(redis, 'exit')
    if (redis.kill('SIGKILL')) await gone
  }
})

test('a body over the limit is refused as by daprd, declared or in chunks, and the sidecar goes on', LIMIT, async () => {
  const dataDir = folder('oversized')
  await using app = await startApp({ orders: '/orders' })
  await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: app.port, args: ['--max-body-size=1Mi'] })
  await using other = await startSidecar({ dataDir, embedded: true, appId: 'other', args: ['--max-body-size=1Mi'] })
  const body = Buffer.alloc(1024 * 1024 + 1, 'x')
  const chunks = () =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < body.length; at += 65_536) controller.enqueue(body.subarray(at, at + 65_536))
        controller.close()
      },
    })
  const cases = [
    [`${sidecar.http}/v1.0/publish/pubsub/orders`, 'ERR_PUBSUB_PUBLISH_MESSAGE'],
    [`${sidecar.http}/v1.0/invoke/faults/method/orders`, 'ERR_DIRECT_INVOKE'],
    [`${other.http}/v1.0/invoke/faults/method/orders`, 'ERR_DIRECT_INVOKE'],
  ] as const
  for (const [url, code] of cases) {
    for (const given of [{ body }, { body: chunks(), duplex: 'half' }] as RequestInit[]) {
      const response = await fetch(url, { method: 'POST', ...given })
      const error = (await response.json()) as { errorCode: string; message: string }
      assert.deepEqual([response.status, error.errorCode], [413, code], url)
      assert.match(error.message, /request body too large$/)
      assert.match(response.headers.get('outrider-hint') ?? '', /--max-body-size/)
    }
  }
  await accepted(`${sidecar.http}/v1.0/publish/pubsub/orders`, 'small')
  await app.heard('/orders', 1)
  assert.deepEqual(app.events('/orders'), new Set(['small']))
})

test('a YAML document that cannot be read is listed in the metadata and the others load', LIMIT, async () => {
  const dataDir = folder('bad-yaml')
  const resources = folder('bad-yaml-resources', {
    'mixed.yaml': `${component('before', 'state.in-memory')}---\nkind: Component\nmetadata: [unclosed\n---\n${component('behind', 'state.in-memory')}`,
    'other.yaml': component('other', 'state.in-memory'),
  })
  await using sidecar = await startSidecar({ dataDir, resources })
  const { components, extended } = await metadata(sidecar.http)
  assert.deepEqual(components.map(({ name }) => name).sort(), ['before', 'behind', 'other'])
  const rejected = Object.entries(extended).filter(([key]) => key.startsWith('outrider.rejected.'))
  assert.equal(rejected.length, 1, JSON.stringify(extended))
  // The broken document begins behind the separator of the first.
  const line = component('before', 'state.in-memory').split('\n').length
  const [, file, at] = /^(.*):(\d+):\d+: ./.exec((rejected[0] as [string, string])[1]) ?? []
  assert.equal(file, join(resources, 'mixed.yaml'))
  assert.ok(Number(at) > line && Number(at) <= line + 3, `line ${at}`)
  for (const name of ['before', 'behind', 'other']) await accepted(`${sidecar.http}/v1.0/state/${name}`, [{ key: 'a', value: 1 }])
})

test('SIGTERM ends a working sidecar with code 0 within 5 s and leaves no process', LIMIT, async (t) => {
  const dataDir = folder('sigterm')
  await using app = await startApp({ orders: '/orders' })
  await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: app.port })
  await accepted(`${sidecar.http}/v1.0/publish/pubsub/orders`, 'hello')
  await app.heard('/orders', 1)
  const children = process.platform === 'linux' ? readFileSync(`/proc/${sidecar.pid}/task/${sidecar.pid}/children`, 'utf8').trim() : ''
  const began = performance.now()
  assert.deepEqual(await sidecar.stop(), { code: 0, signal: null }, sidecar.log())
  const took = performance.now() - began
  t.diagnostic(`gone after ${Math.round(took)} ms`)
  assert.ok(took < 5000, `took ${took} ms`)
  for (const pid of [String(sidecar.pid), ...children.split(' ')].filter(Boolean))
    assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' })
  await assert.rejects(fetch(`${sidecar.http}/v1.0/healthz`))
})

test('1,000 items are saved by one request', LIMIT, async () => {
  const dataDir = folder('thousand')
  const resources = folder('thousand-resources', {
    'store.yaml': component('statestore', 'state.sqlite', { connectionString: join(dataDir, 'state.db') }),
  })
  await using sidecar = await startSidecar({ dataDir, resources })
  const items = range(1000).map((number) => ({ key: `k${number}`, value: { number, text: 'x'.repeat(100) } }))
  await accepted(`${sidecar.http}/v1.0/state/statestore`, items)
  const found = await readAll(
    sidecar.http,
    items.map(({ key }) => key),
  )
  assert.deepEqual(found, new Map(items.map(({ key, value }) => [key, value])))
})
