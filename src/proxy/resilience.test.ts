import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { bootstrap, call, cluster, startBackend, startProxy } from './harness.ts'

/** For 30 s at most. */
async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; !(await met()); ) {
    assert.ok(performance.now() < end, 'it has not come to that in 30 s')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

describe('a proxy in front of endpoints that fail', () => {
  test('a failed attempt is made again elsewhere, its body with it', async () => {
    await using bad = await startBackend('bad', (_, response) => void response.writeHead(503).end('no'))
    await using good = await startBackend('good')
    await using proxy = await startProxy(
      bootstrap({
        routes:
          '- match: { prefix: / }\n  route: { cluster: a, retry_policy: { retry_on: 5xx, num_retries: 1, retry_host_predicate: [{ name: envoy.retry_host_predicates.previous_hosts }] } }',
        clusters: cluster('a', [bad.port, good.port]),
      }),
    )
    for (let i = 0; i < 6; i++) {
      const streamed = await call(proxy.port, '/', {
        method: 'POST',
        body: 'body',
        headers: i % 2 === 0 ? { 'transfer-encoding': 'chunked' } : {},
      })
      assert.equal(streamed.status, 200)
      assert.equal(JSON.parse(streamed.text).body, 'body')
    }
    assert.equal(proxy.figure('a', 'upstream_rq_retry'), bad.hits)
    assert.ok(bad.hits > 0)
  })

  test('after the last attempt the client gets what that brought', async () => {
    await using bad = await startBackend('bad', (_, response) => void response.writeHead(503, { 'x-try': '1' }).end('no'))
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a, retry_policy: { retry_on: gateway-error, num_retries: 2 } }',
        clusters: cluster('a', [bad.port]),
      }),
    )
    const reply = await call(proxy.port, '/')
    assert.deepEqual([reply.status, reply.text, bad.hits], [503, 'no', 3])
    assert.equal(proxy.figure('a', 'upstream_rq_retry_limit_exceeded'), 1)
  })

  test('no idempotent request fails while an endpoint is killed and comes back', async () => {
    await using a = await startBackend('a')
    let b = await startBackend('b')
    const { port } = b
    await using proxy = await startProxy(
      bootstrap({
        routes:
          '- match: { prefix: / }\n  route: { cluster: a, retry_policy: { retry_on: "connect-failure,reset,refused-stream", num_retries: 3 } }',
        clusters: cluster(
          'a',
          [a.port, port],
          'outlier_detection: { consecutive_5xx: 3, base_ejection_time: 0.05s, interval: 0.05s, max_ejection_percent: 50 }',
        ),
      }),
    )
    let stop = false
    const statuses: number[] = []
    const load = Array.from({ length: 8 }, async () => {
      while (!stop) statuses.push((await call(proxy.port, '/')).status)
    })
    await until(() => b.hits > 20)
    await b[Symbol.asyncDispose]()
    await until(() => proxy.figure('a', 'outlier_detection_ejections_enforced_total') > 0)
    b = await startBackend('b')
    // The same port again, as a restarted process has it.
    const again = b.server
    again.close()
    again.listen(port, '127.0.0.1')
    await once(again, 'listening')
    const before = b.hits
    await until(() => b.hits > before + 5)
    stop = true
    await Promise.all(load)
    await b[Symbol.asyncDispose]()
    assert.deepEqual([...new Set(statuses)], [200])
  })

  test('a second attempt goes elsewhere, however the first one failed', async () => {
    await using a = await startBackend('a')
    const dead = await deadPort()
    await using proxy = await startProxy(
      bootstrap({
        routes:
          '- match: { prefix: / }\n  route: { cluster: a, retry_policy: { retry_on: connect-failure, num_retries: 1, retry_host_predicate: [{ name: envoy.retry_host_predicates.previous_hosts }] } }',
        clusters: cluster('a', [dead, a.port], 'lb_policy: RANDOM'),
      }),
    )
    for (let i = 0; i < 50; i++) assert.equal((await call(proxy.port, '/')).status, 200)
  })

  test('an endpoint that nobody serves is put aside, and asked again when its time is over', async () => {
    await using a = await startBackend('a')
    const dead = await deadPort()
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster(
          'a',
          [a.port, dead],
          'outlier_detection: { consecutive_5xx: 2, base_ejection_time: 60s, max_ejection_percent: 50 }',
        ),
      }),
    )
    const statuses: number[] = []
    for (let i = 0; i < 20; i++) statuses.push((await call(proxy.port, '/')).status)
    assert.equal(statuses.filter((status) => status === 503).length, 2)
    assert.equal(proxy.figure('a', 'outlier_detection_ejections_active'), 1)
  })

  test('an attempt, and all of them together, have their time', async () => {
    let slow = true
    await using a = await startBackend('a', (_, response) => {
      if (slow) slow = false
      else response.end('fast')
    })
    await using never = await startBackend('never', () => {})
    await using proxy = await startProxy(
      bootstrap({
        routes: `
- match: { prefix: /try }
  route: { cluster: a, retry_policy: { retry_on: 5xx, num_retries: 1, per_try_timeout: 0.05s } }
- match: { prefix: / }
  route: { cluster: never, timeout: 0.05s }`,
        clusters: cluster('a', [a.port]) + cluster('never', [never.port]),
      }),
    )
    assert.equal((await call(proxy.port, '/try')).text, 'fast')
    const late = await call(proxy.port, '/')
    assert.deepEqual([late.status, late.text], [504, 'upstream request timeout'])
  })

  test('more requests than the breaker lets through are refused at once', async () => {
    const held: (() => void)[] = []
    await using a = await startBackend('a', (_, response) => void held.push(() => response.end('done')))
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster('a', [a.port], 'circuit_breakers: { thresholds: [{ max_requests: 2 }] }'),
      }),
    )
    const under = [call(proxy.port, '/'), call(proxy.port, '/')]
    await until(() => held.length === 2)
    const refused = await call(proxy.port, '/')
    assert.deepEqual([refused.status, refused.headers['x-envoy-overloaded']], [503, 'true'])
    for (const go of held) go()
    assert.deepEqual(
      (await Promise.all(under)).map(({ text }) => text),
      ['done', 'done'],
    )
  })

  test('health checks take an endpoint out and in again', async () => {
    let well = false
    await using a = await startBackend('a')
    await using b = await startBackend(
      'b',
      (request, response) => void response.writeHead(request.url === '/up' && !well ? 500 : 200).end('b'),
    )
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a }',
        clusters: cluster(
          'a',
          [a.port, b.port],
          'health_checks: [{ timeout: 1s, interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: { path: /up } }]',
        ),
      }),
    )
    await until(() => proxy.figure('a', 'membership_healthy') === 1)
    for (let i = 0; i < 6; i++) assert.notEqual((await call(proxy.port, '/')).text, 'b')
    well = true
    await until(() => proxy.figure('a', 'membership_healthy') === 2)
    await until(async () => (await call(proxy.port, '/')).text === 'b')
  })

  test('requests of one key stay on one endpoint of a ring', async () => {
    const backends = await Promise.all(['a', 'b', 'c'].map((name) => startBackend(name)))
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a, hash_policy: [{ header: { header_name: x-user } }] }',
        clusters: cluster(
          'a',
          backends.map(({ port }) => port),
          'lb_policy: RING_HASH',
        ),
      }),
    )
    const by = async (user: string) => JSON.parse((await call(proxy.port, '/', { headers: { 'x-user': user } })).text).name as string
    const first = new Map<string, string>()
    for (let i = 0; i < 30; i++) first.set(`u${i}`, await by(`u${i}`))
    for (const [user, name] of first) assert.equal(await by(user), name)
    assert.equal(new Set(first.values()).size, 3)
    for (const backend of backends) await backend[Symbol.asyncDispose]()
  })

  test('a file of endpoints is followed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'outrider-eds-'))
    const file = join(folder, 'eds.yaml')
    await using a = await startBackend('a')
    await using b = await startBackend('b')
    const write = (port: number) =>
      writeFileSync(
        file,
        `resources:\n- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  cluster_name: s\n  endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } } }] }]\n`,
      )
    write(a.port)
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: s }',
        clusters: `- { name: s, type: EDS, eds_cluster_config: { eds_config: { path_config_source: { path: ${file} } } } }`,
      }),
    )
    const name = async () => JSON.parse((await call(proxy.port, '/')).text).name
    assert.equal(await name(), 'a')
    write(b.port)
    await until(async () => (await name()) === 'b')
    writeFileSync(file, 'resources: [')
    await until(() => proxy.figure('s', 'update_failure') > 0)
    assert.equal(await name(), 'b')
    rmSync(folder, { recursive: true })
  })

  test('a reply that breaks off is not taken for whole', async () => {
    await using a = await startBackend('a', (request, response) => {
      response.writeHead(200, { 'content-length': '10' })
      response.write('half')
      setImmediate(() => request.socket.destroy())
    })
    await using proxy = await startProxy(
      bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [a.port]) }),
    )
    await assert.rejects(call(proxy.port, '/'), /aborted|hang up|reset/i)
  })

  test('a client that goes away ends the attempt', async () => {
    const gone = Promise.withResolvers<void>()
    await using a = await startBackend('a', (request) => void request.on('close', () => gone.resolve()))
    await using proxy = await startProxy(
      bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [a.port]) }),
    )
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await until(() => a.hits === 1)
    socket.destroy()
    await gone.promise
    await until(() => proxy.figure('a', 'upstream_rq_active') === 0)
  })

  test('draining lets what is under way finish', async () => {
    const held = Promise.withResolvers<() => void>()
    await using a = await startBackend('a', (_, response) => held.resolve(() => response.end('done')))
    await using proxy = await startProxy(
      bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [a.port]) }),
    )
    const under = call(proxy.port, '/')
    const go = await held.promise
    const drained = proxy.proxy.drain()
    await assert.rejects(call(proxy.port, '/'), /ECONNREFUSED/)
    go()
    const reply = await under
    assert.deepEqual([reply.text, reply.headers.connection], ['done', 'close'])
    await drained
  })
})
