import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Link, lacksNetwork, startNetwork } from './network/network.ts'

// Sidecars on hosts of their own: slow and lossy cables, a cable that is pulled, a host that dies under load.
const skip = lacksNetwork() ?? false
const root = join(import.meta.dirname, '..')
const GOOD: Link = { delay: 0, loss: 0 }
const INTERNAL = 50002

interface Host {
  sidecar: ChildProcess
  /** Requests that reached the app, by path. */
  readonly reached: ReadonlySet<string>
  /** Resolves when a request that meets the condition reaches the app. */
  until(met: (path: string) => boolean): Promise<void>
}

/** `caller` and replicas of the app `shop`, each on a host of its own. */
async function fleet(links: Record<string, Link>, resources: readonly object[] = [], answerAfter = 0) {
  const home = mkdtempSync(join(tmpdir(), 'on-'))
  const network = await startNetwork({ caller: GOOD, ...links })
  const names = Object.keys(links)
  const config = join(home, 'config.yaml')
  const shop = names.map((name) => `${network.address(name)}:${INTERNAL}`)
  const spec = { nameResolution: { component: 'static', configuration: { apps: { shop } } } }
  writeFileSync(config, JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Configuration', metadata: { name: 'c' }, spec }))
  mkdirSync(join(home, 'resources'))
  for (const [index, resource] of resources.entries()) writeFileSync(join(home, 'resources', `${index}.yaml`), JSON.stringify(resource))
  const start = async (host: string, appId: string, args: readonly string[]) => {
    const data = join(home, host)
    mkdirSync(data)
    const flags = [
      `--app-id=${appId}`,
      `--unix-domain-socket=${data}`,
      `--outrider-data-dir=${data}`,
      `--config=${config}`,
      '--enable-metrics=false',
    ]
    const child = network.spawn(host, join(root, 'bin', 'outriderd'), [...flags, ...args], { cwd: data })
    await said(child, 'dapr initialized')
    return { child, socket: join(data, `dapr-${appId}-http.socket`) }
  }
  const replica = async (name: string): Promise<Host> => {
    const reached = new Set<string>()
    const waiting = new Set<(path: string) => void>()
    const app = network.spawn(name, process.execPath, [join(root, 'test', 'network', 'app.js'), name, '8080', String(answerAfter)])
    await said(app, 'listening', (line) => {
      reached.add(line)
      for (const look of waiting) look(line)
    })
    const internal = [`--dapr-internal-grpc-port=${INTERNAL}`, '--dapr-internal-grpc-listen-address=0.0.0.0', '--app-port=8080']
    const { child } = await start(name, 'shop', internal)
    return {
      sidecar: child,
      reached,
      until: (met) =>
        new Promise((resolve) => {
          const look = (path: string) => {
            if (!met(path)) return
            waiting.delete(look)
            resolve()
          }
          waiting.add(look)
        }),
    }
  }
  try {
    const hosts = new Map(await Promise.all(names.map(async (name) => [name, await replica(name)] as const)))
    const caller = await start('caller', 'caller', [`--resources-path=${join(home, 'resources')}`])
    const agent = new Agent({ keepAlive: true, maxSockets: 500 })
    return {
      network,
      host: (name: string) => hosts.get(name) as Host,
      async call(path: string): Promise<{ status: number; text: string }> {
        const sent = httpRequest({ socketPath: caller.socket, path: `/v1.0/invoke/shop/method/${path}`, agent }).end()
        const [reply] = (await once(sent, 'response')) as [IncomingMessage]
        let text = ''
        for await (const part of reply) text += part
        return { status: reply.statusCode as number, text }
      },
      async [Symbol.asyncDispose]() {
        agent.destroy()
        await network[Symbol.asyncDispose]()
        rmSync(home, { recursive: true, force: true })
      },
    }
  } catch (error) {
    await network[Symbol.asyncDispose]()
    throw error
  }
}

type Fleet = Awaited<ReturnType<typeof fleet>>

/** Reads a program's lines until one holds `text`; the later ones go to `then`. */
function said(child: ChildProcess, text: string, then: (line: string) => void = () => {}): Promise<void> {
  return new Promise((resolve, reject) => {
    let rest = ''
    let all = ''
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      if (all.length < 100_000) all += part
      const lines = (rest + part).split('\n')
      rest = lines.pop() as string
      for (const line of lines) {
        if (line.includes(text)) resolve()
        else then(line)
      }
    })
    child.stderr?.resume()
    child.once('exit', (code) => reject(new Error(`ended with ${code}:\n${all}`)))
  })
}

/** Calls at a rate until `over`; what failed, by path, and what is under way. */
function load(fleet: Fleet, perSecond: number) {
  const underWay = new Set<string>()
  const failed = new Map<string, string>()
  let sent = 0
  const done: Promise<void>[] = []
  const began = performance.now()
  const timer = setInterval(() => {
    while (sent < ((performance.now() - began) / 1000) * perSecond) {
      const path = `n${sent++}`
      underWay.add(path)
      const ended = fleet
        .call(path)
        .then(
          ({ status, text }) => status !== 200 && failed.set(path, `${status} ${text}`),
          (error: Error) => failed.set(path, error.message),
        )
        .then(() => void underWay.delete(path))
      done.push(ended)
    }
  }, 5)
  return {
    underWay,
    failed,
    get sent() {
      return sent
    },
    async over() {
      clearInterval(timer)
      await Promise.all(done)
    },
  }
}

const policies = [
  {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Resiliency',
    metadata: { name: 'r' },
    spec: {
      policies: { retries: { few: { policy: 'constant', duration: '10ms', maxRetries: 5 } } },
      targets: { apps: { shop: { retry: 'few' } } },
    },
  },
  {
    apiVersion: 'outrider.dev/v1',
    kind: 'TrafficPolicy',
    metadata: { name: 't' },
    spec: {
      policies: {
        timeouts: { quick: { perTry: '1s' } },
        ejections: { failing: { consecutiveFailures: 3, baseTime: '1s', maxTime: '1s' } },
      },
      targets: { apps: { shop: { timeout: 'quick', ejection: 'failing' } } },
    },
  },
]
const noRetry = [{ ...policies[0], spec: { targets: { apps: { shop: {} } } } }]

test('a slow cable that loses packets: every call is answered', { skip }, async () => {
  await using far = await fleet({ a: { delay: 20, loss: 3 } })
  const times: number[] = []
  for (let i = 0; i < 40; i++) {
    const began = performance.now()
    assert.deepEqual(await far.call(`n${i}`), { status: 200, text: 'a' })
    times.push(performance.now() - began)
  }
  times.sort((a, b) => a - b)
  assert.ok((times[0] as number) >= 39, `the cable is there and back 40 ms long; the fastest call took ${times[0]} ms`)
  assert.ok(far.network.lost('a') > 0, 'the cable lost nothing')
})

test('a cable is pulled and plugged in again: calls go elsewhere meanwhile, and come back', { skip }, async () => {
  await using three = await fleet({ a: GOOD, b: GOOD, c: GOOD }, policies)
  const calls = load(three, 100)
  const b = three.host('b')
  await b.until(() => true)
  three.network.cut('b')
  const from = calls.sent
  while (calls.sent < from + 300) await new Promise((resolve) => setTimeout(resolve, 20))
  const meanwhile = [...b.reached].filter((path) => Number(path.slice(2)) > from + 20)
  const back = b.until((path) => Number(path.slice(2)) > from + 300)
  three.network.restore('b')
  await back
  await calls.over()
  assert.deepEqual([...calls.failed], [])
  assert.deepEqual(meanwhile, [])
})

test('a cable is pulled and nothing is configured: calls over it end, for the connection does not answer', { skip }, async (t) => {
  await using one = await fleet({ a: GOOD }, noRetry)
  assert.equal((await one.call('well')).status, 200)
  one.network.cut('a')
  const began = performance.now()
  const { status, text } = await one.call('lost')
  assert.equal(status, 500)
  assert.match(text, /did not answer a ping within 5000 ms/)
  t.diagnostic(`ended after ${Math.round(performance.now() - began)} ms`)
})

for (const [what, resources] of [
  ['without retries what was under way there fails, and nothing else', noRetry],
  ['with the built-in retries nothing fails', []],
] as const)
  test(`one of three hosts is killed under 200 requests a second: ${what}`, { skip }, async (t) => {
    await using three = await fleet({ a: GOOD, b: GOOD, c: GOOD }, resources, 20)
    const calls = load(three, 200)
    const b = three.host('b')
    let heard = 0
    await b.until(() => ++heard === 100)
    const underWay = new Set(calls.underWay)
    const from = calls.sent
    b.sidecar.kill('SIGKILL')
    await once(b.sidecar, 'exit')
    // What was sent while it died may have gone there too.
    for (let i = from; i < calls.sent; i++) underWay.add(`n${i}`)
    while (calls.sent < from + 400) await new Promise((resolve) => setTimeout(resolve, 20))
    await calls.over()
    const elsewhere = (path: string) => ['a', 'c'].some((name) => three.host(name).reached.has(`/${path}`))
    t.diagnostic(`${calls.sent} sent, ${underWay.size} under way when it died, ${calls.failed.size} failed`)
    if (resources.length === 0) return assert.deepEqual([...calls.failed], [])
    assert.ok(calls.failed.size <= underWay.size, `${calls.failed.size} failed, ${underWay.size} were under way`)
    for (const [path, why] of calls.failed)
      assert.ok(underWay.has(path) && !elsewhere(path), `${path} failed (${why}), and was not under way at the host that died`)
  })
