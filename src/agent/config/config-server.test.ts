import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { etcd as etcdKind } from '../../../test/servers/etcd.ts'
import { redis as redisKind } from '../../../test/servers/redis.ts'
import { serverOf } from '../../../test/servers/server.ts'
import type { ConfigurationItem, ConfigurationStore } from '../../blocks/configuration/driver.ts'
import { EtcdClient } from '../../components/etcd/client.ts'
import { RedisConnection } from '../../components/redis/connection.ts'
import { configServerKind } from '../../resources/config-server-schema.ts'
import { FLAGS, folderOf, open } from './harness.ts'

const json = async (url: string, init?: RequestInit) => (await fetch(url, init)).json() as Promise<unknown>

test('a service gets what all share, and its own over it; flags apart; paths, tags and what nobody knows', async (t) => {
  const folder = folderOf(t, {
    'application.yaml': 'log: { level: info, json: true }\nregion: eu\n',
    'shop.yaml': `log: { level: debug }\ndb: { host: db1, password: hunter2 }\n${FLAGS}`,
    'other.json': '{"a": [1, 2]}',
  })
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }], redact: ['password'] })
  const own = { log: { level: 'debug', json: true }, region: 'eu', db: { host: 'db1', password: '…' } }
  assert.deepEqual(await json(`${opened.url}/config`), own)
  assert.deepEqual(await json(`${opened.url}/config/other`), { log: { level: 'info', json: true }, region: 'eu', a: [1, 2] })
  assert.equal(await json(`${opened.url}/config/shop/db/host`), 'db1')
  assert.equal((await fetch(`${opened.url}/config/shop/db/nope`)).status, 404)
  assert.deepEqual(await json(`${opened.url}/features/shop?plan=pro&targetingKey=ann`), {
    banner: 'HELLO',
    broken: null,
    colors: { primary: 'blue' },
    limit: 20,
    'new-checkout': true,
    split: 'B',
  })
  const reply = await fetch(`${opened.url}/config`)
  const etag = String(reply.headers.get('etag'))
  assert.equal((await fetch(`${opened.url}/config`, { headers: { 'if-none-match': etag } })).status, 304)
  assert.equal((await fetch(`${opened.url}/config?version=${etag.slice(1, -1)}`)).status, 304)
})

test('with a service of its own a source has no shared part, and an unknown service is 404', async (t) => {
  const folder = folderOf(t, { 'orders.yaml': 'a: 1\n' })
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }] })
  const reply = await fetch(`${opened.url}/config/nope`)
  assert.equal(reply.status, 404)
  assert.match(await reply.text(), /no source says anything of nope; there is orders/)
})

test('below a prefix there is the same, and nothing without it', async (t) => {
  const folder = folderOf(t, { 'shop.yaml': FLAGS })
  await using opened = await open({ prefix: '/second', sources: [{ name: 'files', files: { folder } }] })
  assert.equal(((await json(`${opened.url}/second/features`)) as { limit: number }).limit, 20)
  assert.equal((await fetch(`${opened.url}/second/config/shop`)).status, 200)
  const flag = await fetch(`${opened.url}/second/ofrep/v1/evaluate/flags/limit`, { method: 'POST', body: '{}' })
  assert.equal(((await flag.json()) as { value: number }).value, 20)
  assert.equal((await fetch(`${opened.url}/config`)).status, 404)
})

test('a long poll answers when the configuration changes, and a stream tells each change', async (t) => {
  const folder = folderOf(t, { 'shop.yaml': 'a: 1\n' })
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }] })
  const first = await fetch(`${opened.url}/config`)
  const etag = String(first.headers.get('etag'))
  const stop = new AbortController()
  const stream = await fetch(`${opened.url}/config`, { headers: { accept: 'text/event-stream' }, signal: stop.signal })
  assert.equal(stream.headers.get('content-type'), 'text/event-stream')
  let heard = ''
  void (async () => {
    for await (const part of stream.body as AsyncIterable<Uint8Array>) heard += Buffer.from(part).toString()
  })().catch(() => {})
  await opened.until(() => (heard.includes('"config":{"a":1}') ? true : undefined))
  const began = performance.now()
  assert.equal((await fetch(`${opened.url}/config?wait=100ms`, { headers: { 'if-none-match': etag } })).status, 304)
  assert.ok(performance.now() - began >= 95)
  const waiting = fetch(`${opened.url}/config?wait=30s`, { headers: { 'if-none-match': etag } })
  await opened.until(() => (opened.role.status?.().waiting === 2 ? true : undefined))
  writeFileSync(join(folder, 'shop.new'), 'a: 2\n')
  renameSync(join(folder, 'shop.new'), join(folder, 'shop.yaml'))
  const changed = await waiting
  assert.deepEqual([changed.status, await changed.json()], [200, { a: 2 }])
  await opened.until(() => (heard.includes('"config":{"a":2}') ? true : undefined))
  stop.abort()
  await opened.until(() => (opened.role.status?.().waiting === 0 ? true : undefined))
})

/** Consul's KV as its HTTP API is documented: recursive reads, blocking queries by index, tokens. The real one was driven by hand. */
async function consulDouble(t: TestContext) {
  const double = { keys: {} as Record<string, string>, index: 1, token: 's3cret', asked: [] as string[], change: () => {} }
  const waiting = new Set<() => void>()
  double.change = () => {
    double.index++
    for (const one of waiting) one()
  }
  const server = createServer((request, response) => {
    double.asked.push(request.url ?? '')
    if (request.headers['x-consul-token'] !== double.token) return void response.writeHead(403).end('Permission denied')
    const url = new URL(request.url ?? '/', 'http://consul')
    const prefix = decodeURIComponent(url.pathname.slice('/v1/kv/'.length))
    const reply = () => {
      waiting.delete(reply)
      const rows = Object.entries(double.keys).filter(([key]) => key.startsWith(prefix))
      const body = rows.map(([Key, value]) => ({ Key, Value: Buffer.from(value).toString('base64') }))
      response.writeHead(rows.length > 0 ? 200 : 404, { 'x-consul-index': String(double.index) })
      response.end(rows.length > 0 ? JSON.stringify(body) : '')
    }
    if (Number(url.searchParams.get('index') ?? 0) === double.index) waiting.add(reply)
    else reply()
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  t.after(() => void (server as Server).close())
  t.after(stop)
  return { double, url: `http://127.0.0.1:${port}`, stop, start: () => listen(port) }
}

test('Consul is followed; away, what it gave last is given and marked, also after a restart; back, it is fresh', async (t) => {
  const consul = await consulDouble(t)
  const folder = folderOf(t)
  Object.assign(consul.double.keys, { 'config/shop/db/port': '5432', 'config/shop/features/beta': 'true', 'other/x': '1' })
  const spec = { sources: [{ name: 'kv', consul: { address: consul.url, token: { env: 'CONSUL_TOKEN' } } }] }
  const options = { folder, env: { CONSUL_TOKEN: 's3cret' } }
  {
    await using opened = await open(spec, options)
    const { url } = opened
    assert.deepEqual([await json(`${url}/config`), await json(`${url}/features`)], [{ db: { port: 5432 } }, { beta: true }])
    consul.double.keys['config/shop/db/port'] = '5433'
    consul.double.change()
    await opened.until(async () => (JSON.stringify(await json(`${url}/config`)) === '{"db":{"port":5433}}' ? true : undefined))
    await opened.until(() => (/index=2&wait=60s/.test(consul.double.asked.at(-1) as string) ? true : undefined))
    await consul.stop()
    const stale = await opened.until(async () => {
      const reply = await fetch(`${url}/config`)
      return reply.headers.has('outrider-stale-since') ? reply : undefined
    })
    assert.deepEqual(await stale.json(), { db: { port: 5433 } })
    assert.equal(opened.reports.at(-1)?.state, 'retrying')
  }
  assert.equal(statSync(join(folder, 'kv.json')).mode & 0o777, 0o600)
  assert.ok(!readFileSync(join(folder, 'kv.json'), 'utf8').includes('s3cret'))
  await using again = await open(spec, options)
  const reply = await fetch(`${again.url}/config`)
  assert.deepEqual([reply.headers.has('outrider-stale-since'), await reply.json()], [true, { db: { port: 5433 } }])
  await consul.start()
  await again.until(async () => ((await fetch(`${again.url}/config`)).headers.has('outrider-stale-since') ? undefined : true))
  assert.equal(again.reports.at(-1)?.state, 'up')
  assert.ok(!again.log.some((line) => line.includes('s3cret')))
})

test('a source of which nothing is known is told with 503, and nothing half is given', async (t) => {
  const consul = await consulDouble(t)
  const folder = folderOf(t, { 'shop.yaml': 'a: 1\n' })
  const sources = [
    { name: 'files', files: { folder } },
    { name: 'kv', consul: { address: consul.url, token: { env: 'CONSUL_TOKEN' } } },
  ]
  await using opened = await open({ sources }, { env: { CONSUL_TOKEN: 'wrong' } })
  const reply = await fetch(`${opened.url}/config`)
  assert.deepEqual([reply.status, reply.headers.get('retry-after')], [503, '1'])
  assert.match(await reply.text(), /Consul at .* answers 403 Permission denied/)
  consul.double.token = 'wrong'
  await opened.until(async () => ((await fetch(`${opened.url}/config`)).status === 200 ? true : undefined))
})

test('keys of etcd and Redis, and hashes, become configuration, and changes are seen', async (t) => {
  const [etcd, redis] = [await serverOf(etcdKind), await serverOf(redisKind)]
  t.after(() => etcd?.stop())
  t.after(() => redis?.stop())
  if (!etcd || !redis) return t.skip('etcd and redis-server are needed')
  const id = `cs${process.pid}`
  await using client = new EtcdClient({ endpoints: [etcd.address], owner: 'test' })
  const put = (key: string, value: string) => client.put({ key: Buffer.from(`${id}/${key}`), value: Buffer.from(value) })
  await put('shop/db/host', 'db1')
  await put('shop/limits', '{"a":1}')
  const [host = '', port = '6379'] = redis.address.split(':')
  const connection = new RedisConnection({ host, port: Number(port) })
  t.after(() => connection.close())
  await connection.connect()
  await connection.call('SET', `${id}:shop:db:port`, '5432')
  await connection.call('HSET', `${id}:shop:cache`, 'ttl', '5', 'name', '0123')
  await using opened = await open({
    sources: [
      { name: 'etcd', etcd: { endpoints: [etcd.address], prefix: `${id}/` }, interval: '20ms' },
      { name: 'redis', redis: { address: redis.address, prefix: `${id}:` }, interval: '20ms' },
    ],
  })
  const config = { db: { host: 'db1', port: 5432 }, limits: { a: 1 }, cache: { ttl: 5, name: '0123' } }
  assert.deepEqual(await json(`${opened.url}/config`), config)
  await put('shop/db/host', 'db2')
  await opened.until(async () => (((await json(`${opened.url}/config`)) as typeof config).db.host === 'db2' ? true : undefined))
  await connection.call('DEL', `${id}:shop:cache`, `${id}:shop:db:port`)
  await opened.until(async () => (((await json(`${opened.url}/config`)) as typeof config).cache === undefined ? true : undefined))
})

test('any configuration component is a source, its changes by subscription', async () => {
  const items: Record<string, ConfigurationItem> = { 'cfg/a/b': { value: '1', version: '1', metadata: {} } }
  let tell: () => Promise<void> = async () => {}
  const store = {
    get: async () => items,
    subscribe: async (_keys: unknown, _metadata: unknown, onChange: (changed: typeof items) => Promise<void>) => {
      tell = () => onChange(items)
      return { async [Symbol.asyncDispose]() {} }
    },
  } as unknown as ConfigurationStore
  const spec = { sources: [{ name: 'component', component: { name: 'store', prefix: 'cfg/' }, service: 'shop', interval: '1h' }] }
  await using opened = await open(spec, { components: { configurationStore: () => store } })
  assert.deepEqual(await json(`${opened.url}/config`), { a: { b: 1 } })
  items['cfg/c'] = { value: 'x', version: '2', metadata: {} }
  await tell()
  await opened.until(async () => (JSON.stringify(await json(`${opened.url}/config`)) === '{"a":{"b":1},"c":"x"}' ? true : undefined))
})

test('a file that cannot be read leaves what was, and is named', async (t) => {
  const folder = folderOf(t, { 'shop.yaml': 'a: 1\n' })
  mkdirSync(join(folder, 'more'))
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }] })
  writeFileSync(join(folder, 'shop.yaml'), 'a: [\n')
  await opened.until(() => (opened.log.some((line) => line.includes('shop.yaml cannot be read')) ? true : undefined))
  const reply = await fetch(`${opened.url}/config`)
  assert.deepEqual([reply.headers.has('outrider-stale-since'), await reply.json()], [true, { a: 1 }])
  writeFileSync(join(folder, 'shop.yaml'), 'a: 2\n')
  await opened.until(async () => (JSON.stringify(await json(`${opened.url}/config`)) === '{"a":2}' ? true : undefined))
})

test('a source that says two things or nothing of where it is cannot be used', () => {
  const message = (sources: object[]) => configServerKind.check?.({ sources })?.message
  assert.match(String(message([{ name: 'a' }])), /needs one of consul, etcd.*it has none/)
  assert.match(String(message([{ name: 'a', redis: {}, consul: {} }])), /it has consul and redis/)
  assert.match(
    String(
      message([
        { name: 'a', redis: {} },
        { name: 'a', redis: {} },
      ]),
    ),
    /has the name of another one/,
  )
  assert.match(String(message([{ name: 'a', redis: { password: {} } }])), /redis.password needs one of env, file and secretStore/)
})
