import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { splitDocuments } from '../../resources/documents.ts'
import { checkProxy, type ProxySpec, proxySpec } from '../../resources/proxy-schema.ts'
import { createLogger } from '../../telemetry/log.ts'
import { readBootstrap } from '../envoy/bootstrap.ts'
import { readEndpoints } from '../envoy/clusters.ts'
import { bootstrap, call, cluster, startBackend } from '../harness.ts'
import { ProxyServer } from '../server.ts'
import { compileProxy, PRANA } from './compile.ts'
import { convert } from './convert.ts'
import { pranaApi } from './prana.ts'

async function start(yaml: string) {
  const { value, problems } = (splitDocuments(yaml)[0] as ReturnType<typeof splitDocuments>[number]).read(proxySpec)
  assert.deepEqual(problems, [])
  const spec = value as ProxySpec
  assert.equal(checkProxy(value as Record<string, unknown>), undefined)
  const log = createLogger({ level: 'error', json: false, appId: 'test', version: '0', write: () => {} })
  const proxy = new ProxyServer(compileProxy(spec), {
    log,
    original: undefined,
    readFile: readEndpoints,
    ...(spec.prana && { intercept: { [PRANA]: pranaApi(spec.prana) } }),
  })
  await proxy.open()
  return {
    proxy,
    port: (name: string) => proxy.listeners.find(({ model }) => model.name === name)?.port ?? 0,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
    },
  }
}

describe('a Proxy of our own', () => {
  test('routes by host, path, method, header and share', async () => {
    await using a = await startBackend('a')
    await using b = await startBackend('b')
    await using proxy = await start(`
listeners:
  - name: main
    port: 0
    to: a
    routes:
      - { host: b.example, to: b }
      - { prefix: /b/, to: b, rewrite: /, requestHeaders: { set: { x-via: proxy } } }
      - { methods: [DELETE], to: b }
      - { headers: { x-to: b }, to: b }
      - { path: /moved, redirect: { path: /here, status: 308 } }
      - { path: /answer, answer: { status: 202, body: short } }
      - { prefix: /none, split: { a: 0, b: 1 } }
services:
  a: { endpoints: ["127.0.0.1:${a.port}"] }
  b: { endpoints: ["127.0.0.1:${b.port}"] }
`)
    const port = proxy.port('main')
    const to = async (path: string, headers = {}, method = 'GET') => JSON.parse((await call(port, path, { method, headers })).text)
    assert.equal((await to('/')).name, 'a')
    assert.equal((await to('/', { host: 'b.example' })).name, 'b')
    const rewritten = await to('/b/x')
    assert.deepEqual([rewritten.name, rewritten.url, rewritten.headers['x-via']], ['b', '/x', 'proxy'])
    assert.equal((await to('/', {}, 'DELETE')).name, 'b')
    assert.equal((await to('/', { 'x-to': 'b' })).name, 'b')
    assert.equal((await to('/none')).name, 'b')
    // Those of every host are there for the host, too.
    const moved = await call(port, '/moved', { headers: { host: 'c.example' } })
    assert.deepEqual([moved.status, moved.headers.location], [308, 'http://c.example/here'])
    assert.deepEqual([(await call(port, '/answer')).status, (await call(port, '/answer')).text], [202, 'short'])
  })

  test('explicit: the service is named in the path', async () => {
    await using a = await startBackend('a')
    await using proxy = await start(`{ explicit: 0, services: { a: { endpoints: ["127.0.0.1:${a.port}"] } } }`)
    const port = proxy.port('explicit')
    const url = async (path: string) => JSON.parse((await call(port, path)).text).url
    assert.equal(await url('/proxy/a/x/y?z=1'), '/x/y?z=1')
    assert.equal(await url('/proxy/a'), '/')
    assert.equal(await url('/proxy/a?z'), '/?z')
    assert.equal((await call(port, '/proxy/ab/x')).status, 404)
    assert.equal((await call(port, '/proxy/a/../b')).status, 404)
  })

  test('ambassador: one service for everything, others by prefix, bytes by port', async () => {
    await using a = await startBackend('a')
    await using b = await startBackend('b')
    await using proxy = await start(`
ambassador: { port: 0, rootUri: a, routes: { /users: b }, tcp: { 0: b } }
services: { a: { endpoints: ["127.0.0.1:${a.port}"] }, b: { endpoints: ["127.0.0.1:1", "127.0.0.1:${b.port}"], balance: round-robin } }`)
    const seen = async (path: string) => {
      const { name, url } = JSON.parse((await call(proxy.port('ambassador'), path)).text)
      return `${name} ${url}`
    }
    assert.equal(await seen('/x'), 'a /x')
    // Its first endpoint refuses: the request is made again at the other one.
    for (let i = 0; i < 4; i++) assert.equal(await seen('/users/1'), 'b /1')
    assert.equal(await seen('/usersx'), 'a /usersx')
    for (let i = 0; i < 4; i++) assert.equal(JSON.parse((await call(proxy.port('ambassador-0'), '/tcp')).text).name, 'b')
  })

  test("Prana's local API", async () => {
    await using a = await startBackend('a')
    await using proxy = await start(`
prana: { port: 0, properties: { a.b: "1", c: "2" }, healthUrl: "http://127.0.0.1:${a.port}/health" }
services: { a: { endpoints: ["127.0.0.1:${a.port}"] } }`)
    const get = (path: string) => call(proxy.port('prana'), path)
    assert.equal((await get('/ping')).text, 'pong')
    assert.equal(JSON.parse((await get('/proxy?vip=a&path=/x/y%3Fz=1')).text).url, '/x/y?z=1')
    assert.equal((await get('/proxy?path=/x')).status, 400)
    assert.equal((await get('/proxy?vip=b&path=/x')).status, 404)
    assert.deepEqual(JSON.parse((await get('/eureka/hosts?appName=a')).text), [`127.0.0.1:${a.port}`])
    assert.deepEqual(JSON.parse((await get('/eureka/hosts/a')).text), [`127.0.0.1:${a.port}`])
    assert.equal((await get('/eureka/hosts/b')).status, 404)
    assert.deepEqual(JSON.parse((await get('/dynamicproperties?id=a.b&id=x')).text), { 'a.b': '1' })
    assert.equal((await get('/healthcheck')).status, 200)
    await a[Symbol.asyncDispose]()
    assert.equal((await get('/healthcheck')).status, 503)
    assert.equal(JSON.parse((await get('/status')).text).services.a.endpoints, 1)
  })

  test('what Envoy is told is said again in our words, and what they cannot say is named', () => {
    const routes = `
- match: { path: /exact }
  route: { cluster: b, timeout: 3s, retry_policy: { retry_on: "5xx,reset", num_retries: 4, per_try_timeout: 1s }, prefix_rewrite: /other }
- match: { prefix: /split }
  route: { weighted_clusters: { clusters: [{ name: a, weight: 90 }, { name: b, weight: 10 }] } }
  request_headers_to_add: [{ header: { key: x-a, value: "1" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }]
- match: { prefix: / }
  route: { cluster: a }`
    const clusters =
      cluster(
        'a',
        [1, 2],
        'lb_policy: RANDOM\nhealth_checks: [{ timeout: 2s, interval: 3s, unhealthy_threshold: 3, healthy_threshold: 1, http_health_check: { path: /up } }]',
      ) + cluster('b', [3])
    const { model } = readBootstrap(bootstrap({ routes, clusters }), 'f')
    const { spec, lost } = convert(model)
    assert.deepEqual(lost, [])
    assert.equal(checkProxy(spec as Record<string, unknown>), undefined)
    assert.deepEqual(spec.listeners?.[0]?.routes?.[1], {
      prefix: '/split',
      split: { a: 90, b: 10 },
      retries: { attempts: 0 },
      requestHeaders: { set: { 'x-a': '1' } },
    })
    // And it stays what it is.
    assert.deepEqual(convert(compileProxy(spec)).spec, spec)
    const cookie = readBootstrap(
      bootstrap({ routes: routes.replace('{ cluster: a }', '{ cluster: a, hash_policy: [{ cookie: { name: x } }] }'), clusters }),
      'f',
    )
    assert.match(convert(cookie.model).lost[0] as string, /routes\[2\]\.action\.hashBy\[0\]/)
  })

  for (const [yaml, wanted] of [
    ['{}', /asks for nothing/],
    ['{ envoy: f, explicit: 1 }', /spec\.explicit stands beside/],
    ['{ listeners: [{ port: 1, to: a }] }', /names the service "a"/],
    ['{ listeners: [{ port: 1 }] }', /neither routes nor to/],
    ['{ explicit: 1, services: { a: {} } }', /one of endpoints, app, file/],
    ['{ explicit: 1, services: { a: { endpoints: [b] } } }', /write host:port/],
    ['{ listeners: [{ port: 1, protocol: tcp, to: a }], services: { a: { app: a } } }', /the app "a" is called over HTTP/],
    ['{ ambassador: { tcp: { 1: a } }, services: { a: { app: a } } }', /the app "a", which is called over HTTP/],
    ['{ listeners: [{ port: 1, routes: [{ to: b, mirror: a }] }], services: { a: { app: a }, b: { file: f } } }', /mirrors to the app "a"/],
    ['{ explicit: 1, services: { a: { app: a, tls: {} } } }', /services.a.tls means nothing beside app/],
    ['{ listeners: [{ port: 1, routes: [{ to: a, answer: {} }] }], services: { a: { app: a } } }', /one of to, split, redirect, answer/],
  ] as const)
    test(`${yaml} is refused`, () => {
      const { value } = (splitDocuments(yaml)[0] as ReturnType<typeof splitDocuments>[number]).read(proxySpec)
      assert.match(checkProxy(value as Record<string, unknown>)?.message ?? '', wanted)
    })
})
