import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pace } from 'node:timers/promises'
import { BulkPublishRequest, BulkPublishResponse } from '../src/api/grpc/publish-messages.ts'
import { RedisConnection } from '../src/components/redis/connection.ts'
import { createGrpcClient } from '../src/transport/grpc/client.ts'
import { announced, end, findBinary, freePort } from './servers/process.ts'
import { redis } from './servers/redis.ts'
import { help } from './servers/server.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// The real sidecar in front of a real Redis that is away, killed and brought back.
const root = mkdtempSync(join(tmpdir(), 'outrider-forward-'))
after(() => rmSync(root, { recursive: true, force: true }))
const LIMIT = { timeout: 60_000 }
if (!redis.available() && process.env.OUTRIDER_REQUIRE_SERVERS === '1')
  throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${redis.name} is not on this machine: ${help(redis)}`)
const options = { ...LIMIT, skip: redis.available() ? false : help(redis) }

/** A Redis that keeps what it has answered over its own end, and always has the same port. */
class Broker {
  readonly port: number
  readonly #directory: string
  #stop: (() => Promise<void>) | undefined
  #child: ChildProcess | undefined

  constructor(name: string, port: number) {
    this.port = port
    this.#directory = join(root, `${name}-redis`)
  }

  async start(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true })
    const child = spawn(
      findBinary('redis-server', []) as string,
      ['--port', `${this.port}`, '--bind', '127.0.0.1', '--appendonly', 'yes', '--appendfsync', 'always', '--dir', this.#directory],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    // The folder stays: it is the broker's memory.
    const nothing = join(root, 'nothing')
    await announced(child, /Ready to accept connections/, 'redis-server', nothing)
    this.#child = child
    this.#stop = () => end(child, 'SIGKILL', nothing)
  }

  async kill(): Promise<void> {
    await this.#stop?.()
    this.#stop = undefined
  }

  /** Its connections stand, and nothing comes back. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** The events of a topic in their order. */
  async events(topic: string): Promise<{ id: string; data: { key: string; number: number } }[]> {
    const client = new RedisConnection({ host: '127.0.0.1', port: this.port })
    await client.connect()
    const rows = (await client.call('XRANGE', topic, '-', '+')) as [string, string[]][]
    await client.close()
    return rows.map(([, fields]) => JSON.parse(fields[fields.indexOf('data') + 1] as string))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

async function setUp(name: string, spec: Record<string, unknown> = {}, properties: Record<string, string> = {}) {
  const dataDir = join(root, name)
  const resources = join(dataDir, 'resources')
  mkdirSync(resources, { recursive: true })
  const broker = new Broker(name, await freePort())
  const settings = Object.entries({ redisHost: `127.0.0.1:${broker.port}`, ...properties })
  const component = {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 'orders' },
    spec: { type: 'pubsub.redis', version: 'v1', metadata: settings.map(([key, value]) => ({ name: key, value })) },
  }
  writeFileSync(join(resources, 'orders.yaml'), JSON.stringify(component))
  /** Writes the resource with these members; undefined: removes it. */
  const policy = (members: Record<string, unknown> | undefined) => {
    const file = join(resources, 'keep.yaml')
    if (!members) return rmSync(file, { force: true })
    const kept = { pubsubs: ['orders'], timeout: '2s', ...members }
    writeFileSync(file, JSON.stringify({ apiVersion: 'outrider.dev/v1', kind: 'StoreAndForward', metadata: { name: 'keep' }, spec: kept }))
  }
  policy(spec)
  const start = (appId = name) => startSidecar({ appId, dataDir, resources, readyAt: '/v1.0/healthz/outbound' })
  return { broker, start, policy }
}

const publish = (sidecar: SidecarProcess, body: unknown, query = '', topic = 'events') =>
  fetch(`${sidecar.http}/v1.0/publish/orders/${topic}${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

async function waiting(sidecar: SidecarProcess): Promise<string> {
  const { extended } = (await (await fetch(`${sidecar.http}/v1.0/metadata`)).json()) as { extended: Record<string, string> }
  return extended['outrider.storeAndForward.orders'] as string
}

async function metrics(sidecar: SidecarProcess): Promise<Record<string, number>> {
  const text = await (await fetch(sidecar.metrics)).text()
  return Object.fromEntries(
    [...text.matchAll(/^outrider_store_and_forward_(\w+)\{.*component="orders"\} (\d+)/gm)].map(([, name, value]) => [name, Number(value)]),
  )
}

/** Looks again and again, until the test's own limit. */
async function until(done: () => Promise<unknown>): Promise<void> {
  while (!(await done())) await pace(20)
}

test('a broker killed under load, and the sidecar too: all that was accepted arrives, in order per key', options, async (t) => {
  const { broker, start } = await setUp('killed')
  await using _ = broker
  await broker.start()
  let sidecar = await start()
  const keys = ['a', 'b', 'c', 'd', 'e']
  const accepted = new Map<string, number[]>(keys.map((key) => [key, []]))
  const refused: string[] = []
  let count = 0
  let lost = 0
  let over = false
  const waiters: { at: number; go(): void }[] = []
  const reached = (at: number) => new Promise<void>((go) => waiters.push({ at, go }))
  /** One key's events, each once the one before is accepted: twenty a second, a hundred by all keys. */
  const publisher = async (key: string) => {
    for (let number = 0; !over; number++) {
      for (;;) {
        const reply = await publish(sidecar, { key, number }, `?metadata.partitionKey=${key}`).catch(() => undefined)
        if (reply) await reply.arrayBuffer()
        else lost++
        if (reply && reply.status !== 204) refused.push(`${reply.status}`)
        await pace(50)
        if (reply?.status === 204) break
      }
      accepted.get(key)?.push(number)
      count++
      for (const { at, go } of waiters) if (count >= at) go()
    }
  }
  const load = Promise.all(keys.map(publisher))
  await reached(100)
  await broker.kill()
  await reached(250)
  assert.match(await waiting(sidecar), /^\d+ waiting, \d+ bytes, oldest 20/)
  await sidecar.kill()
  sidecar = await start()
  await reached(400)
  const kept = Number.parseInt(await waiting(sidecar), 10)
  assert.ok(kept > 200, `${kept} wait`)
  await broker.start()
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  const seen = count
  await reached(seen + 50)
  over = true
  await load
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  assert.deepEqual(refused, [])
  const events = await broker.events('events')
  t.diagnostic(`${count} accepted, ${kept} of them waited, ${lost} requests cut off, ${events.length} arrived`)
  for (const [key, numbers] of accepted) {
    const arrived = events.filter(({ data }) => data.key === key).map(({ data }) => data.number)
    const firsts = [...new Set(arrived)]
    assert.deepEqual(firsts, numbers, `key ${key}`)
  }
  assert.match(sidecar.log(), /events that were accepted before wait to be forwarded \(StoreAndForward keep\)/)
  assert.match(sidecar.log(), /nothing waits any more, publishes go to the broker again; \d+ events were forwarded/)
  await sidecar.stop()
})

test('a sidecar killed while it forwards: the next one goes on, in order per key', options, async (t) => {
  const { broker, start } = await setUp('again')
  await using _ = broker
  const keys = Array.from({ length: 8 }, (_, index) => `k${index}`)
  const each = 60
  {
    await using sidecar = await start()
    const fill = async (key: string) => {
      for (let number = 0; number < each; number++)
        assert.equal((await publish(sidecar, { key, number }, `?metadata.partitionKey=${key}`)).status, 204)
    }
    await Promise.all(keys.map(fill))
    await broker.start()
    await until(async () => (await broker.events('events')).length > 20)
    await sidecar.kill()
  }
  const before = (await broker.events('events')).length
  assert.ok(before < keys.length * each, `${before} had arrived`)
  await using sidecar = await start()
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  const events = await broker.events('events')
  t.diagnostic(`${before} had arrived when it was killed, ${events.length - keys.length * each} came twice`)
  for (const key of keys) {
    const arrived = events.filter(({ data }) => data.key === key).map(({ data }) => data.number)
    assert.deepEqual(
      [...new Set(arrived)],
      Array.from({ length: each }, (_, number) => number),
    )
  }
  const ids = new Map(events.map(({ id, data }) => [`${data.key} ${data.number}`, id]))
  for (const { id, data } of events) assert.equal(id, ids.get(`${data.key} ${data.number}`))
})

test('publishing works before the broker has ever been there: HTTP, gRPC, bulk; what is not allowed is refused', options, async () => {
  const { broker, start } = await setUp('never', {}, { allowedTopics: 'events' })
  await using _ = broker
  await using sidecar = await start()
  assert.equal((await publish(sidecar, { key: 'http', number: 0 })).status, 204)
  const bulk = [1, 2].map((number) => ({ entryId: `${number}`, event: { key: 'bulk', number }, contentType: 'application/json' }))
  const reply = await fetch(`${sidecar.http}/v1.0/publish/bulk/orders/events`, { method: 'POST', body: JSON.stringify(bulk) })
  assert.equal(reply.status, 204)
  const client = createGrpcClient()
  const entries = [{ entryId: '1', event: Buffer.from('{"key":"grpc","number":3}'), contentType: 'application/json' }]
  const answer = await client.unary(
    sidecar.grpc,
    '/dapr.proto.runtime.v1.Dapr/BulkPublishEvent',
    BulkPublishRequest.encode({ pubsubName: 'orders', topic: 'events', entries }),
  )
  assert.deepEqual(BulkPublishResponse.decode(answer).failedEntries, [])
  await client[Symbol.asyncDispose]()
  assert.equal((await publish(sidecar, {}, '', 'other')).status, 403)
  assert.match(await waiting(sidecar), /^4 waiting, \d+ bytes, oldest 20/)
  const { waiting_bytes, ...rest } = await metrics(sidecar)
  assert.deepEqual(rest, { accepted_total: 4, waiting: 4 })
  assert.ok((waiting_bytes as number) > 800)
  assert.match(sidecar.log(), /pubsub orders cannot be reached: publishes are kept and answered as accepted.*\(StoreAndForward keep\)/)
  await broker.start()
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  assert.deepEqual(
    (await broker.events('events')).map(({ data }) => `${data.key} ${data.number}`),
    ['http 0', 'bulk 1', 'bulk 2', 'grpc 3'],
  )
  assert.deepEqual(await metrics(sidecar), { accepted_total: 4, forwarded_total: 4, waiting: 0, waiting_bytes: 0 })
  assert.equal((await publish(sidecar, { key: 'direct', number: 4 })).status, 204)
  assert.equal((await metrics(sidecar)).accepted_total, 4)
})

test('keeping begins and ends with its resource while the sidecar runs; what was accepted still arrives', options, async () => {
  const { broker, start, policy } = await setUp('live')
  await using _ = broker
  await broker.start()
  policy(undefined)
  await using sidecar = await start()
  await until(async () => (await publish(sidecar, { key: 'x', number: 1 })).status === 204)
  await broker.kill()
  const refused = await publish(sidecar, { key: 'x', number: 0 })
  assert.ok(refused.status >= 500, `${refused.status}: nothing keeps it yet`)
  policy({})
  await until(async () => (await publish(sidecar, { key: 'x', number: 2 })).status === 204)
  assert.match(await waiting(sidecar), /^1 waiting/)
  policy({ maxBytes: '4Ki' })
  let last = 2
  await until(async () => {
    const { status } = await publish(sidecar, { key: 'x', number: last + 1 })
    if (status === 204) last++
    return status === 503
  })
  const kept = last - 1
  assert.match(await waiting(sidecar), new RegExp(`^${kept} waiting`), 'what waited under the first version waits under the second')
  policy(undefined)
  await until(async () => sidecar.log().includes(`publishes are not kept from now on; ${kept} accepted events are still forwarded`))
  const direct = await publish(sidecar, { key: 'x', number: 0 })
  assert.ok(direct.status >= 500 && !(await direct.text()).includes('ERR_PUBSUB_STORE_FULL'), `${direct.status}: kept no more`)
  await broker.start()
  await until(async () => (await publish(sidecar, { key: 'x', number: last + 1 })).status === 204)
  await until(async () => (await broker.events('events')).length === last + 1)
  assert.deepEqual(
    (await broker.events('events')).map(({ data }) => data.number).sort((a, b) => a - b),
    Array.from({ length: last + 1 }, (_, number) => number + 1),
  )
  await until(async () => (await waiting(sidecar)) === undefined)
})

test('a full store refuses with what to do next; a clean end keeps what waits for the next start', options, async () => {
  const { broker, start } = await setUp('full', { maxBytes: '4Ki' })
  await using _ = broker
  let took = 0
  let reply: Response
  {
    await using sidecar = await start()
    for (;;) {
      reply = await publish(sidecar, { key: 'x', number: took })
      if (reply.status !== 204) break
      took++
    }
    assert.ok(took > 3 && took < 15, `${took} fit`)
    const body = (await reply.json()) as { errorCode: string; message: string }
    assert.deepEqual([reply.status, body.errorCode], [503, 'ERR_PUBSUB_STORE_FULL'])
    assert.match(
      body.message,
      /topic events in pubsub orders: the broker cannot be reached, and the 4096 bytes .* are taken: .*ECONNREFUSED/,
    )
    assert.match(decodeURIComponent(reply.headers.get('outrider-hint') ?? ''), /raise maxBytes of StoreAndForward keep/)
    assert.equal((await metrics(sidecar)).refused_total, 1)
    assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
    assert.match(sidecar.log(), new RegExp(`pubsub orders: ${took} accepted events wait for the next start`))
  }
  await using sidecar = await start()
  assert.match(await waiting(sidecar), new RegExp(`^${took} waiting`))
  await broker.start()
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  assert.deepEqual(
    (await broker.events('events')).map(({ data }) => data.number),
    Array.from({ length: took }, (_, number) => number),
  )
})

test('what grows too old is given up, counted and logged', options, async () => {
  const { broker, start } = await setUp('old', { maxAge: '300ms' })
  await using _ = broker
  await using sidecar = await start()
  for (const number of [1, 2, 3]) assert.equal((await publish(sidecar, { key: 'old', number })).status, 204)
  await until(async () => (await metrics(sidecar)).expired_total === 3)
  assert.match(await waiting(sidecar), /^0 waiting/)
  assert.match(
    sidecar.log(),
    /accepted events expired before the broker took them .*maxAge of StoreAndForward keep.* topics: events \(\d\)/,
  )
  await broker.start()
  await until(async () => (await fetch(`${sidecar.http}/v1.0/healthz`)).status === 204)
  assert.equal((await publish(sidecar, { key: 'new', number: 4 })).status, 204)
  assert.deepEqual(
    (await broker.events('events')).map(({ data }) => data.number),
    [4],
  )
})

test('two sidecars of one app on one file: one forwards for both, and when it is killed the other does', options, async () => {
  const { broker, start } = await setUp('two')
  await using _ = broker
  const first = await start('shared')
  await using second = await start('shared')
  assert.equal((await publish(first, { key: 'x', number: 1 })).status, 204)
  assert.equal((await publish(second, { key: 'x', number: 2 })).status, 204)
  assert.match(await waiting(second), /^2 waiting/)
  await first.kill()
  await broker.start()
  await until(async () => (await waiting(second)).startsWith('0 '))
  assert.deepEqual(
    (await broker.events('events')).map(({ data }) => data.number),
    [1, 2],
  )
})

test('a broker that does not answer counts as away after the timeout; at the end what waits stays', options, async () => {
  const { broker, start } = await setUp('silent')
  await using _ = broker
  await broker.start()
  {
    await using sidecar = await start()
    assert.equal((await publish(sidecar, { key: 'x', number: 1 })).status, 204)
    broker.pause()
    assert.equal((await publish(sidecar, { key: 'x', number: 2 })).status, 204)
    const began = performance.now()
    for (const number of [3, 4]) assert.equal((await publish(sidecar, { key: 'x', number })).status, 204)
    assert.ok(performance.now() - began < 2000, 'only the first waits for the timeout, 2 s')
    assert.match(await waiting(sidecar), /^3 waiting/)
    assert.match(sidecar.log(), /publishes are kept.*no answer within 2000 ms/)
    await sidecar.stop()
    assert.match(sidecar.log(), /3 accepted events wait for the next start/)
  }
  broker.resume()
  await using sidecar = await start()
  await until(async () => (await waiting(sidecar)).startsWith('0 '))
  const numbers = (await broker.events('events')).map(({ data }) => data.number)
  assert.deepEqual([...new Set(numbers)].sort(), [1, 2, 3, 4])
  // What the broker took late comes again, with the same id.
  const ids = new Map((await broker.events('events')).map(({ id, data }) => [data.number, id]))
  for (const { id, data } of await broker.events('events')) assert.equal(id, ids.get(data.number))
})
