import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { Call } from '../../api/http/route.ts'
import { HttpApi } from '../../api/http/server.ts'
import type { Middleware } from '../../blocks/middleware/driver.ts'
import { middlewareDrivers } from '../../components/middleware/registry.ts'
import type { Named } from '../../components/sets.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createHttpChannel } from '../http-channel.ts'
import { createPipeline, type Pipeline } from './pipeline.ts'

const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })

async function made(name: string, kind: string, properties: Record<string, string>): Promise<[string, Named<Middleware>]> {
  const type = `middleware.http.${kind}`
  const driver = await middlewareDrivers.find((row) => row.type === type)?.load()
  const component = driver?.create({ name, type, version: 'v1', properties, appId: 'a', namespace: '', log }) as Middleware
  await component.init(AbortSignal.timeout(5000))
  return [name, { name, type, version: 'v1', component, properties }]
}

const step = (name: string, kind: string) => ({ name, type: `middleware.http.${kind}` })

/** An app that tells what it was asked, the channel to it, and an API that does the same; both behind the pipeline. */
async function both(pipeline: Pipeline | undefined) {
  const seen: { url: string; body: string; headers: IncomingHttpHeaders }[] = []
  const app = createServer(async (request, response) => {
    const body: Buffer[] = []
    for await (const chunk of request) body.push(chunk as Buffer)
    const text = Buffer.concat(body).toString()
    seen.push({ url: request.url as string, body: text, headers: request.headers })
    response.end(`app ${text}`)
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const channel = createHttpChannel({ port: (app.address() as AddressInfo).port, pipeline })
  const answer = async (call: Call) => ({
    status: 200,
    headers: { 'content-type': 'text/x' },
    body: `${call.path}?${call.rawQuery} ${call.headers['x-token'] ?? ''} ${await call.body()}`,
  })
  const api = new HttpApi({ routes: [], fallback: answer, maxBodySize: 1 << 20, readBufferSize: 8192, h2c: true, pipeline })
  const port = await api.listen({ host: '127.0.0.1', port: 0 })
  return {
    seen,
    channel,
    port,
    async ask(path: string, body = '', headers: Record<string, string> = {}) {
      const request = httpRequest({ port, path, method: 'POST', headers: { 'content-length': Buffer.byteLength(body), ...headers } })
      request.end(body)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk as Buffer)
      return { status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }
    },
    async [Symbol.asyncDispose]() {
      await api.close(0)
      await channel[Symbol.asyncDispose]()
      app.closeAllConnections()
      app.close()
    },
  }
}

const call = (path: string, body = '') => ({ method: 'POST', path, headers: { 'x-a': '1' }, body: Buffer.from(body) })

test('nothing configured is no pipeline', () => {
  assert.equal(createPipeline([], new Map()), undefined)
})

test('steps run in their order, those that are not there are passed over and join when they come', async () => {
  const components = new Map([await made('one', 'routeralias', { routes: '{"/hello": "/foo", "/x": "/wrong"}' })])
  const pipeline = createPipeline([step('one', 'routeralias'), step('gone', 'uppercase'), step('two', 'routeralias')], components)
  await using ends = await both(pipeline)
  assert.match((await ends.ask('/hello?a=1')).text, /^\/foo\?a=1 /)
  components.set(...(await made('two', 'routeralias', { routes: '/hello: /x\n/foo: /bar' })))
  assert.match((await ends.ask('/hello')).text, /^\/bar\? /)
  await ends.channel.call(call('/hello?b=2'))
  assert.equal(ends.seen[0]?.url, '/bar?b=2')
  await ends.channel.call({ ...call('/hello'), direct: true })
  assert.equal(ends.seen[1]?.url, '/hello', 'health probes go past the middleware')
})

test('routeralias turns parts of the path into parameters of the query', async () => {
  const routes = '{"/a/{id}/b/{n:[0-9]+}": "/v1.0/invoke/x/method/y z"}'
  const pipeline = createPipeline([step('one', 'routeralias')], new Map([await made('one', 'routeralias', { routes })]))
  await using ends = await both(pipeline)
  assert.match((await ends.ask('/a/x%20y/b/7?q=1')).text, /^\/v1\.0\/invoke\/x\/method\/y%20z\?id=x\+y&n=7&q=1 /)
  assert.match((await ends.ask('/a/x/b/seven')).text, /^\/a\/x\/b\/seven\? /)
  const legacy = await made('one', 'routeralias', { '/old': '/new', '/older': '/newer' })
  await using old = await both(createPipeline([step('one', 'routeralias')], new Map([legacy])))
  assert.match((await old.ask('/older')).text, /^\/newer\? /)
})

test('uppercase changes the request, the reply or both, whatever way they travel', async () => {
  for (const [direction, api, app] of [
    ['request', '/p?  HÄLLO', 'app HÄLLO'],
    ['response', '/P?  HÄLLO', 'APP HÄLLO'],
    ['both', '/P?  HÄLLO', 'APP HÄLLO'],
  ] as const) {
    const given = direction === 'request' ? 'hällo' : 'hÄllo'
    const pipeline = createPipeline([step('u', 'uppercase')], new Map([await made('u', 'uppercase', { direction })]))
    await using ends = await both(pipeline)
    assert.equal((await ends.ask('/p', given)).text, api)
    assert.equal((await ends.channel.call(call('/p', given))).body.toString(), app)
    assert.equal(ends.seen[0]?.body, direction === 'response' ? given : 'HÄLLO')
  }
})

test('a body over HTTP/2 passes the middleware too', async () => {
  const pipeline = createPipeline([step('u', 'uppercase')], new Map([await made('u', 'uppercase', { direction: 'both' })]))
  await using ends = await both(pipeline)
  const session = connect(`http://127.0.0.1:${ends.port}`)
  const stream = session.request({ ':method': 'POST', ':path': '/p' })
  stream.end('hello')
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  session.close()
  assert.equal(Buffer.concat(chunks).toString(), '/P?  HELLO')
})

test('routerchecker refuses what its rule does not match', async () => {
  const pipeline = createPipeline(
    [step('r', 'routerchecker')],
    new Map([await made('r', 'routerchecker', { rule: '(?i)^/GOOD(\\?.*)?$' })]),
  )
  await using ends = await both(pipeline)
  assert.equal((await ends.ask('/good?x=1')).status, 200)
  const { status, text, headers } = await ends.ask('/bad')
  assert.deepEqual([status, text, headers['content-type']], [400, 'invalid router', 'text/plain; charset=utf-8'])
  const reply = await ends.channel.call(call('/bad'))
  assert.deepEqual([reply.status, reply.body.toString(), ends.seen.length], [400, 'invalid router', 0])
  await assert.rejects(made('r', 'routerchecker', { rule: '(' }), /metadata field rule/)
})

test('ratelimit counts by client and path', async () => {
  const pipeline = createPipeline([step('l', 'ratelimit')], new Map([await made('l', 'ratelimit', { maxRequestsPerSecond: '0.001' })]))
  await using ends = await both(pipeline)
  assert.equal((await ends.ask('/a')).status, 200)
  const { status, text, headers } = await ends.ask('/a')
  assert.deepEqual([status, text, headers['x-rate-limit-limit']], [429, 'You have reached maximum request limit.', '0.00'])
  assert.equal((await ends.ask('/b')).status, 200)
  assert.equal((await ends.ask('/a', '', { 'x-forwarded-for': '1.1.1.1, 2.2.2.2' })).status, 200)
  assert.equal((await ends.ask('/a', '', { 'x-forwarded-for': '9.9.9.9, 2.2.2.2' })).status, 429)
  assert.equal((await ends.channel.call(call('/a'))).status, 200)
  assert.equal((await ends.channel.call(call('/a'))).status, 429)
  await assert.rejects(made('l', 'ratelimit', { maxRequestsPerSecond: '0' }), /must be a positive value/)
})

test('what cannot be served says so, with the name of its component', async () => {
  await assert.rejects(made('mine', 'wasm', {}), /^MetadataError: not supported: component mine is of type middleware.http.wasm/)
})

test('sentinel counts what is under way until the reply is over, in both pipelines', async () => {
  const isolationRules = '[{"resource": "POST:/hold", "threshold": 1}]'
  const held: (() => void)[] = []
  const asked = Promise.withResolvers<void>()
  const app = createServer((request, response) => {
    request.resume()
    held.push(() => response.end('well'))
    asked.resolve()
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const pipeline = createPipeline([step('s', 'sentinel')], new Map([await made('s', 'sentinel', { isolationRules })]))
  const channel = createHttpChannel({ port: (app.address() as AddressInfo).port, pipeline })
  const first = channel.call(call('/hold'))
  await asked.promise
  assert.equal((await channel.call(call('/hold'))).status, 429)
  const given = channel.call({ ...call('/hold'), path: '/other' })
  while (held.length < 2) await once(app, 'request')
  for (const end of held) end()
  assert.deepEqual([(await first).status, (await given).status], [200, 200])
  const again = channel.call(call('/hold'))
  while (held.length < 3) await once(app, 'request')
  held[2]?.()
  assert.equal((await again).status, 200)
  await channel[Symbol.asyncDispose]()
  app.closeAllConnections()
  app.close()

  await using ends = await both(createPipeline([step('s', 'sentinel')], new Map([await made('s', 'sentinel', { isolationRules })])))
  for (let i = 0; i < 3; i++) assert.equal((await ends.ask('/hold')).status, 200)
})

test('a policy that reads the body sees what the steps before it made of it, and the receiver gets it whole', async () => {
  const shown: string[] = []
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    if (request.method === 'POST')
      shown.push((JSON.parse(Buffer.concat(parts).toString()) as { input: { request: { body: string } } }).input.request.body)
    response.end(JSON.stringify({ result: !shown.at(-1)?.includes('BAD') }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const opaServer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const components = new Map([
    await made('first', 'uppercase', { direction: 'request' }),
    await made('opa', 'opa', { opaServer, readBody: 'true' }),
  ])
  await using ends = await both(createPipeline([step('first', 'uppercase'), step('opa', 'opa')], components))
  const chunked = { 'transfer-encoding': 'chunked' }
  assert.equal((await ends.ask('/p', 'hi', { 'content-length': '2' })).text, '/p?  HI')
  const streamed = httpRequest({ port: ends.port, path: '/p', method: 'POST', headers: chunked })
  streamed.write('in ')
  streamed.end('parts')
  const [response] = (await once(streamed, 'response')) as [IncomingMessage]
  assert.equal(Buffer.concat(await response.toArray()).toString(), '/p?  IN PARTS')
  assert.equal((await ends.ask('/p', '')).text, '/p?  ')
  assert.equal((await ends.ask('/p', 'bad')).status, 403)
  assert.equal((await ends.channel.call(call('/p', 'to the app'))).body.toString(), 'app TO THE APP')
  assert.equal(
    (await ends.channel.call({ ...call('/p'), body: Readable.from([Buffer.from('st'), Buffer.from('ream')]) })).body.toString(),
    'app STREAM',
  )
  assert.equal((await ends.channel.call(call('/p', 'bad'))).status, 403)
  assert.deepEqual(shown, ['HI', 'IN PARTS', '', 'BAD', 'TO THE APP', 'STREAM', 'BAD'])
  const long = 'x'.repeat(4 * 1024 * 1024 + 1)
  assert.equal((await ends.ask('/p', long)).status, 413)
  assert.equal((await ends.channel.call(call('/p', long))).status, 413)
  assert.equal((await ends.ask('/p', 'after')).text, '/p?  AFTER')
  assert.equal(ends.seen.length, 2)
  server.closeAllConnections()
  server.close()
})

test('a body that a policy has read reaches the receiver byte for byte', async () => {
  const server = createServer((request, response) => void request.resume().on('end', () => response.end('{"result": true}'))).listen(
    0,
    '127.0.0.1',
  )
  await once(server, 'listening')
  const opaServer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const pipeline = createPipeline([step('opa', 'opa')], new Map([await made('opa', 'opa', { opaServer, readBody: 'true' })]))
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) & 255))
  const api = new HttpApi({
    routes: [],
    fallback: async (call) => ({ status: 200, headers: {}, body: (await call.body()).equals(bytes) ? 'same' : 'other' }),
    maxBodySize: 1 << 20,
    readBufferSize: 8192,
    h2c: false,
    pipeline,
  })
  const port = await api.listen({ host: '127.0.0.1', port: 0 })
  const reply = await fetch(`http://127.0.0.1:${port}/p`, { method: 'POST', body: bytes })
  assert.equal(await reply.text(), 'same')
  await api.close(0)
  server.closeAllConnections()
  server.close()
})
