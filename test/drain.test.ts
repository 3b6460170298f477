import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { redisServer } from './servers/redis.ts'
import { startApp, startSidecar } from './sidecar.ts'

// What becomes of requests and events when the real sidecar is told to stop.
const root = mkdtempSync(join(tmpdir(), 'outrider-drain-'))
after(() => rmSync(root, { recursive: true, force: true }))

const LIMIT = { timeout: 40_000 }
// Other sidecars on this machine may answer to a common name.
const CALLEE = `callee-${process.pid}`
const CALLER = `caller-${process.pid}`

function folder(name: string, files: Record<string, string> = {}): string {
  const path = join(root, name)
  mkdirSync(path, { recursive: true })
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text)
  return path
}

/** Calls under way; a machine that is too slow for the rate gets less. */
const MOST_AT_ONCE = 50

/** Calls `work` so many times a second until told to stop; resolves when all calls are over. */
function atRate(perSecond: number, work: (number: number) => Promise<void>): { stop(): Promise<number> } {
  const running = new Set<Promise<void>>()
  const began = performance.now()
  let number = 0
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * perSecond; number < due; number++) {
      if (running.size >= MOST_AT_ONCE) continue
      const call = work(number).finally(() => running.delete(call))
      running.add(call)
    }
  }, 5)
  return {
    async stop() {
      clearInterval(timer)
      await Promise.all(running)
      return number
    },
  }
}

const text = async (response: Response) => `${response.status}: ${await response.text()}`

async function slowApp(milliseconds: number): Promise<AsyncDisposable & { port: number; asked: Promise<void>; server: Server }> {
  const asked = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/dapr/')) return void response.writeHead(404).end()
    if (request.url !== '/slow') return void response.end('quick')
    asked.resolve()
    setTimeout(() => response.end('slow'), milliseconds)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    server,
    port: (server.address() as AddressInfo).port,
    asked: asked.promise,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

test(
  'SIGTERM under 200 requests and 200 events a second: no request fails that its readiness allowed, no event is lost',
  LIMIT,
  async (t) => {
    const dataDir = folder('load')
    await using app = await startApp({ orders: '/orders' })
    await using sidecar = await startSidecar({ dataDir, embedded: true, appPort: app.port })
    const { http } = sidecar
    let ready = true
    const failures: string[] = []
    const published = new Set<string>()
    let saved = 0
    // A load balancer looks 100 times a second; on a busy machine it may look too late, so the log says when it could have known.
    const watch = atRate(100, async () => {
      if (!ready) return
      const answer = await fetch(`${http}/v1.0/healthz`).catch(() => undefined)
      if (answer?.status !== 204) ready = false
      await answer?.arrayBuffer()
    })
    const draining = () => sidecar.log().includes('→ draining')
    const json = { 'content-type': 'application/json' }
    const send = async (what: string, url: string, body: unknown, done: () => void) => {
      if (!ready || draining()) return
      try {
        const answer = await fetch(url, { method: 'POST', headers: json, body: JSON.stringify(body) })
        if (answer.status === 204) done()
        else failures.push(`${what}: ${await text(answer)}`)
      } catch (error) {
        failures.push(`${what}: ${String((error as Error).cause ?? error)}`)
      }
    }
    const requests = atRate(200, (n) =>
      send(`save ${n}`, `${http}/v1.0/state/statestore`, [{ key: `k${n}`, value: n }], () => void saved++),
    )
    const events = atRate(200, (n) =>
      send(`publish ${n}`, `${http}/v1.0/publish/pubsub/orders`, `e${n}`, () => void published.add(`e${n}`)),
    )
    await app.heard('/orders', 200)
    const began = performance.now()
    const exit = await sidecar.stop()
    const took = Math.round(performance.now() - began)
    await Promise.all([watch.stop(), requests.stop(), events.stop()])
    t.diagnostic(`${saved} saves and ${published.size} events acknowledged, exit after ${took} ms`)
    assert.deepEqual(exit, { code: 0, signal: null })
    assert.deepEqual(failures, [])

    await using again = await startSidecar({ dataDir, embedded: true, appPort: app.port })
    assert.ok(again.pid)
    const missing = () => [...published].filter((data) => !app.events('/orders').has(data))
    for (let count = published.size; missing().length > 0; count++) await app.heard('/orders', count)
    assert.deepEqual(missing(), [])
  },
)

test('a call under way finishes when the called sidecar drains, and later ones fail without waiting for a retry', LIMIT, async (t) => {
  const dataDir = folder('callee')
  await using app = await slowApp(2000)
  await using callee = await startSidecar({ appId: CALLEE, dataDir, appPort: app.port })
  await using caller = await startSidecar({ appId: CALLER, dataDir })
  const invoke = (path: string) => fetch(`${caller.http}/v1.0/invoke/${CALLEE}/method/${path}`)
  assert.equal(await text(await invoke('quick')), '200: quick')
  const slow = invoke('slow').then(text)
  await app.asked
  const stopped = callee.stop()
  // Requests go on coming while it drains, as many as a busy caller sends.
  const refused: { took: number; answer: string }[] = []
  const load = atRate(50, async () => {
    const began = performance.now()
    const answer = await text(await invoke('quick'))
    if (!answer.startsWith('200')) refused.push({ took: performance.now() - began, answer })
  })
  assert.equal(await slow, '200: slow')
  assert.deepEqual(await stopped, { code: 0, signal: null })
  await load.stop()
  const began = performance.now()
  assert.match(await text(await invoke('quick')), /^500: .*ERR_DIRECT_INVOKE/)
  const took = performance.now() - began
  const times = refused.map((one) => one.took).sort((one, other) => one - other)
  const most = times[Math.floor(times.length * 0.9)] ?? 0
  const slowest = times.at(-1) ?? 0
  t.diagnostic(
    `${refused.length} calls refused, nine of ten within ${most.toFixed(1)} ms, all within ${slowest.toFixed(1)} ms; after its end ${took.toFixed(1)} ms; ${refused[0]?.answer}`,
  )
  // How fast is told above. Whoever waited for the built-in retries, three a second apart, would need three seconds.
  assert.ok(Math.max(took, most) < 1500, `calls to a draining app failed after ${most} ms, to one that is gone after ${took} ms`)
})

test('with another replica no call fails while one drains', LIMIT, async (t) => {
  const dataDir = folder('replicas')
  await using app = await slowApp(500)
  await using one = await startSidecar({ appId: CALLEE, dataDir, appPort: app.port })
  await using other = await startSidecar({ appId: CALLEE, dataDir, appPort: app.port })
  await using caller = await startSidecar({ appId: CALLER, dataDir })
  const failures: string[] = []
  let done = 0
  const twenty = Promise.withResolvers<void>()
  const load = atRate(200, async () => {
    const answer = await text(await fetch(`${caller.http}/v1.0/invoke/${CALLEE}/method/quick`))
    if (answer !== '200: quick') failures.push(answer)
    if (++done === 200) twenty.resolve()
  })
  await twenty.promise
  assert.deepEqual(await one.stop(), { code: 0, signal: null })
  const after = done
  while (done < after + 100) await new Promise((resolve) => setImmediate(resolve))
  await load.stop()
  t.diagnostic(`${done} calls, ${done - after} of them after the end of one replica`)
  assert.deepEqual(failures, [])
  assert.ok(other.pid)
})

for (const broker of ['sqlite', 'redis'] as const) {
  test(`events prefetched from ${broker} are handed back at the end and arrive elsewhere within 1 s`, LIMIT, async (t) => {
    const server = broker === 'redis' ? await redisServer() : undefined
    if (broker === 'redis' && !server) return t.skip('redis-server is not on this machine')
    try {
      const dataDir = folder(`prefetched-${broker}`)
      const resources =
        server &&
        folder('prefetched-resources', {
          'pubsub.yaml': `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: pubsub}\nspec:\n  type: pubsub.redis\n  version: v1\n  metadata:\n  - {name: redisHost, value: "${server.host}:${server.port}"}\n  - {name: concurrency, value: "10"}\n`,
        })
      const common = { dataDir, ...(resources ? { resources } : { embedded: true }), args: ['--dapr-graceful-shutdown-seconds=2'] }
      // This app never answers: what it has been given is unfinished, the rest waits in the sidecar.
      await using silent = await startApp({ orders: '/orders' }, { silent: ['/orders'] })
      await using first = await startSidecar({ ...common, appPort: silent.port })
      for (let n = 0; n < 20; n++) {
        const answer = await fetch(`${first.http}/v1.0/publish/pubsub/orders`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(`e${n}`),
        })
        assert.equal(answer.status, 204)
      }
      await silent.heard('/orders', 1)
      const { port } = silent
      const stopping = first.stop()
      await silent.close()
      const exit = await stopping
      await using app = await startApp({ orders: '/orders' }, { port })
      await using second = await startSidecar({ ...common, appPort: port })
      const began = performance.now()
      await app.heard('/orders', 20)
      const took = performance.now() - began
      t.diagnostic(
        `exit ${exit.code}; 20 events ${Math.round(took)} ms after the next sidecar was ready (${Math.round(second.readyMs)} ms)`,
      )
      assert.ok(took <= 1000, `${took} ms`)
    } finally {
      await server?.stop()
    }
  })
}

test('a second signal ends the process at once, with 1', LIMIT, async () => {
  const dataDir = folder('second')
  await using app = await slowApp(30_000)
  await using sidecar = await startSidecar({ dataDir, appPort: app.port, args: ['--dapr-graceful-shutdown-seconds=30'] })
  void fetch(`${sidecar.http}/v1.0/invoke/faults/method/slow`).catch(() => {})
  await app.asked
  const gone = sidecar.stop()
  while (!sidecar.log().includes('beginning shutdown')) await new Promise((resolve) => setImmediate(resolve))
  const began = performance.now()
  process.kill(sidecar.pid, 'SIGTERM')
  assert.deepEqual(await gone, { code: 1, signal: null })
  assert.ok(performance.now() - began < 2000)
})
