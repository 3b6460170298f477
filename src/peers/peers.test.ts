import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { invokeHandler } from '../api/http/routes/invoke.ts'
import { HttpApi } from '../api/http/server.ts'
import { createHttpChannel } from '../app/http-channel.ts'
import { createInvokeBlock } from '../blocks/invoke/block.ts'
import { parseRetry } from '../policy/retry.ts'
import { openSqlite } from '../storage/sqlite.ts'
import { createPeerClient } from './client.ts'
import { createPeerServer } from './server.ts'
import { createSqliteRegistry } from './sqlite-registry.ts'

const LIMIT = 100 * 1024 * 1024

/** An app `callee` with its sidecar, and the sidecar of `caller`, which has no app; both real, in this process. */
async function pair(listener: RequestListener) {
  const folder = mkdtempSync(join(tmpdir(), 'peers-'))
  const app = createServer(listener).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const channel = createHttpChannel({ port: (app.address() as AddressInfo).port, token: 'app-token' })
  const path = join(folder, 'shared.db')
  const calleeRegistry = createSqliteRegistry({ path })
  const callerRegistry = createSqliteRegistry({ path })
  const callee = await createPeerServer({
    host: '127.0.0.1',
    port: 0,
    app: { wire: 'http', channel },
    appId: 'callee',
    namespace: 'default',
  })
  const registration = await calleeRegistry.register({ appId: 'callee', namespace: 'default', host: '127.0.0.1', port: callee.port })
  const peers = createPeerClient({ appId: 'caller', namespace: 'default', hostAddress: '127.0.0.1' })
  const edge = async (appId: string, own: typeof channel | undefined) => {
    const handler = invokeHandler(
      createInvokeBlock({
        appId,
        namespace: 'default',
        app: own && { wire: 'http', channel: own },
        peers,
        resolver: callerRegistry,
        retry: parseRetry('test', { duration: '10ms', maxRetries: 3 }),
      }),
      { maxBodySize: LIMIT },
    )
    const api = new HttpApi({ routes: [], fallback: handler, maxBodySize: LIMIT, readBufferSize: 8192, h2c: true })
    return { api, port: await api.listen({ host: '127.0.0.1', port: 0 }) }
  }
  const caller = await edge('caller', undefined)
  const local = await edge('callee', channel)
  return {
    caller: caller.port,
    local: local.port,
    callee,
    registration,
    path,
    app,
    async [Symbol.asyncDispose]() {
      app.closeAllConnections()
      app.close()
      await Promise.all([caller.api.close(0), local.api.close(0), callee.close(0)])
      await peers[Symbol.asyncDispose]()
      await calleeRegistry[Symbol.asyncDispose]()
      await callerRegistry[Symbol.asyncDispose]()
      await channel[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true })
    },
  }
}

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  text: string
}

function send(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string | Buffer | Readable,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response
        .on('data', (chunk) => chunks.push(chunk))
        .on('end', () =>
          resolve({ status: response.statusCode as number, headers: response.headers, text: Buffer.concat(chunks).toString() }),
        )
        .on('error', reject)
    })
    request.on('error', reject)
    if (body instanceof Readable) body.pipe(request)
    else request.end(body)
  })
}

const mirror: RequestListener = (request, response) => {
  const chunks: Buffer[] = []
  request
    .on('data', (chunk) => chunks.push(chunk))
    .on('end', () => {
      const status = /\/status\/(\d+)/.exec(request.url as string)?.[1]
      response.writeHead(Number(status ?? 200), { 'content-type': 'application/json', 'x-app': 'yes', 'set-cookie': ['a=1', 'b=2'] })
      response.end(
        request.method === 'HEAD' || status === '204'
          ? undefined
          : JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() }),
      )
    })
}

for (const way of ['caller', 'local'] as const) {
  test(`${way}: method, path, query, headers, body and reply pass`, async () => {
    await using both = await pair(mirror)
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const reply = await send(
        both[way],
        method,
        '/v1.0/invoke/callee/method/echo/some%20path?a=1&b=%2F',
        {
          'content-type': 'text/x',
          'x-own': 'v',
          te: 'trailers',
          'x-hop': '1',
          connection: 'x-hop',
          'dapr-caller-app-id': 'forged',
          'dapr-api-token': 'mine',
          ...(method === 'GET' || method === 'OPTIONS' ? {} : { 'content-length': '5' }),
        },
        method === 'GET' || method === 'OPTIONS' ? undefined : 'hello',
      )
      assert.equal(reply.status, 200)
      assert.equal(reply.headers['x-app'], 'yes')
      assert.deepEqual(reply.headers['set-cookie'], ['a=1', 'b=2'])
      assert.equal(reply.headers['content-type'], 'application/json')
      const seen = JSON.parse(reply.text)
      assert.equal(seen.method, method)
      assert.equal(seen.url, '/echo/some%20path?a=1&b=%2F')
      assert.equal(seen.body, method === 'GET' || method === 'OPTIONS' ? '' : 'hello')
      assert.equal(seen.headers['content-type'], 'text/x')
      assert.equal(seen.headers['x-own'], 'v')
      assert.equal(seen.headers['x-hop'], undefined)
      assert.equal(seen.headers.te, undefined)
      assert.equal(seen.headers['dapr-api-token'], 'app-token')
      assert.equal(seen.headers['destination-app-id'], undefined)
      assert.equal(seen.headers['dapr-caller-app-id'], way === 'caller' ? 'caller' : undefined)
      assert.match(seen.headers.traceparent, /^00-/)
      if (way === 'caller') {
        assert.equal(seen.headers['dapr-caller-namespace'], 'default')
        assert.equal(seen.headers['dapr-callee-app-id'], 'callee')
        assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1')
        assert.equal(seen.headers['x-forwarded-host'], hostname())
        assert.equal(seen.headers.forwarded, `for=127.0.0.1;by=127.0.0.1;host=${hostname()}`)
      }
    }
    assert.equal((await send(both[way], 'HEAD', '/v1.0/invoke/callee/method/x')).headers['x-app'], 'yes')
  })

  test(`${way}: every status of the app passes unchanged`, async () => {
    await using both = await pair(mirror)
    for (const status of [201, 204, 301, 400, 404, 409, 418, 500, 503])
      assert.equal((await send(both[way], 'GET', `/v1.0/invoke/callee/method/status/${status}`)).status, status)
  })

  test(`${way}: interim replies, trailers and upgrades end where they are; a switch of protocols is a broken reply`, async () => {
    const asked: IncomingHttpHeaders[] = []
    await using both = await pair((request, response) => {
      asked.push(request.headers)
      if (request.url === '/switch') return void response.socket?.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\nraw')
      response.writeProcessing()
      response.writeEarlyHints({ link: '</a>; rel=preload' })
      response.writeHead(200, { trailer: 'x-sum' })
      response.write('o')
      response.addTrailers({ 'x-sum': '7' })
      response.end('k')
    })
    const plain = await send(both[way], 'GET', '/v1.0/invoke/callee/method/x')
    assert.deepEqual([plain.status, plain.text], [200, 'ok'])
    const upgrade = {
      connection: 'upgrade, x-mine',
      upgrade: 'websocket',
      'x-mine': '1',
      'proxy-authorization': 'y',
      'keep-alive': '5',
      te: 'trailers',
      'x-kept': '2',
    }
    const answered = await send(both[way], 'GET', '/v1.0/invoke/callee/method/ws', upgrade)
    assert.deepEqual([answered.status, answered.text], [200, 'ok'])
    const got = asked.at(-1) as IncomingHttpHeaders
    assert.deepEqual(
      [got.upgrade, got['x-mine'], got['proxy-authorization'], got['keep-alive'], got.te, got['x-kept']],
      [undefined, undefined, undefined, undefined, undefined, '2'],
    )
    const switched = await send(both[way], 'GET', '/v1.0/invoke/callee/method/switch')
    assert.equal(switched.status, 500)
    assert.match(switched.text, /another protocol, which nobody asked for/)
  })

  test(`${way}: paths are normalised once`, async () => {
    await using both = await pair(mirror)
    const url = async (path: string, headers?: Record<string, string>) => JSON.parse((await send(both[way], 'GET', path, headers)).text).url
    assert.equal(await url('/v1.0/invoke/callee/method/echo/../secret'), '/secret')
    assert.equal(await url('/v1.0/invoke/callee/method/echo%2F%2e%2e%2Fsecret'), '/secret')
    assert.equal(await url('/v1.0/invoke/callee/method/%2e%2e%2f%2e%2e%2fetc'), '/etc')
    assert.equal(await url('/v1.0/invoke/callee/method//echo//z'), '/echo/z')
    assert.equal(await url('/v1.0/invoke/callee/method/'), '/')
    assert.equal(await url('/v1.0/invoke/callee.default/method/echo/ns'), '/echo/ns')
    assert.equal(await url('/v1.0/invoke/callee/method/%252e%252e/x'), '/%2e%2e/x')
    assert.equal(await url('/v1.0/invoke/callee/method/%C3%BC'), '/%C3%BC')
    assert.equal(await url('/echo/x?q=1', { 'dapr-app-id': 'callee' }), '/echo/x?q=1')
    assert.equal(await url('/echo/y', { authorization: `Basic ${Buffer.from('dapr-app-id:callee').toString('base64')}` }), '/echo/y')
    const refused = await send(both[way], 'GET', '/v1.0/invoke/callee/method/a%0d%0ab')
    assert.equal(refused.status, 500)
    assert.equal(JSON.parse(refused.text).errorCode, 'ERR_DIRECT_INVOKE')
  })

  test(`${way}: 50 MiB stream both ways in bounded memory`, async () => {
    const size = 50 * 1024 * 1024
    const chunk = Buffer.alloc(65_536, 'x')
    await using both = await pair((request, response) => {
      // Byte for byte back, as fast as it is taken.
      request.pipe(response)
    })
    for (const length of [{ 'content-length': String(size) }, {}]) {
      const source = createHash('sha256')
      let sent = 0
      const body = new Readable({
        read() {
          if (sent >= size) return void this.push(null)
          chunk.writeUInt32BE(sent)
          sent += chunk.length
          const copy = Buffer.from(chunk)
          source.update(copy)
          this.push(copy)
        },
      })
      const before = process.memoryUsage()
      let most = 0
      const sink = createHash('sha256')
      let got = 0
      await new Promise<void>((resolve, reject) => {
        const request = httpRequest(
          {
            host: '127.0.0.1',
            port: both[way],
            method: 'POST',
            path: '/v1.0/invoke/callee/method/x',
            headers: length as Record<string, string>,
            agent: false,
          },
          (response) => {
            response
              .on('data', (data: Buffer) => {
                got += data.length
                sink.update(data)
                most = Math.max(most, sent - got)
              })
              .on('end', resolve)
              .on('error', reject)
          },
        )
        request.on('error', reject)
        body.pipe(request)
      })
      assert.equal(got, size)
      assert.equal(sink.digest('hex'), source.digest('hex'))
      // Six TCP connections in a row, each with kernel buffers of some MiB, and two HTTP/2 windows.
      assert.ok(most < 30 * 1024 * 1024, `${most} bytes were inside at once`)
      assert.ok(process.memoryUsage().rss - before.rss < 120 * 1024 * 1024)
    }
  })
}

test('a reply begins before the app has finished it', async () => {
  const finish = Promise.withResolvers<void>()
  await using both = await pair(async (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: one\n\n')
    await finish.promise
    response.end('data: two\n\n')
  })
  const request = httpRequest({
    host: '127.0.0.1',
    port: both.caller,
    path: '/v1.0/invoke/callee/method/events',
    headers: { accept: 'text/event-stream' },
    agent: false,
  }).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const [first] = (await once(response, 'data')) as [Buffer]
  assert.equal(first.toString(), 'data: one\n\n')
  finish.resolve()
  const [second] = (await once(response, 'data')) as [Buffer]
  assert.equal(second.toString(), 'data: two\n\n')
})

test('who asks for events and gets an error status hears of it as daprd says it; keep-alive is not the app’s to say', async () => {
  await using both = await pair(mirror)
  const refused = await send(both.caller, 'GET', '/v1.0/invoke/callee/method/status/404', { accept: 'text/event-stream' })
  assert.equal(refused.status, 500)
  assert.match(refused.text, /error invoking app channel: no response received from stream/)
  const reply = await send(both.caller, 'GET', '/v1.0/invoke/callee/method/status/404')
  assert.deepEqual([reply.status, reply.headers.connection, reply.headers['keep-alive']], [404, undefined, undefined])
})

test('a client that leaves ends the call at the app', async () => {
  const left = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  await using both = await pair((_, response) => {
    response.on('close', () => left.resolve())
    arrived.resolve()
  })
  const request = httpRequest({ host: '127.0.0.1', port: both.caller, path: '/v1.0/invoke/callee/method/hang', agent: false }).end()
  request.on('error', () => {})
  await arrived.promise
  request.destroy()
  await left.promise
})

test('an app that breaks off its reply breaks ours off', async () => {
  await using both = await pair((request, response) => {
    const declared = request.url === '/declared'
    if (declared) response.writeHead(200, { 'content-length': '1000000' })
    response.write(declared ? Buffer.alloc(100_000) : 'part', () => response.destroy())
  })
  await assert.rejects(send(both.caller, 'GET', '/v1.0/invoke/callee/method/chunks'))
  await assert.rejects(send(both.caller, 'GET', '/v1.0/invoke/callee/method/declared'))
})

test('an app that declares more than it says is taken at what it says', async () => {
  await using both = await pair((_, response) => {
    response.writeHead(200, { 'content-length': '999' })
    response.write('"ok"', () => response.destroy())
  })
  const reply = await send(both.caller, 'GET', '/v1.0/invoke/callee/method/x')
  assert.deepEqual([reply.status, reply.headers['content-length'], reply.text], [200, undefined, '"ok"'])
})

test('unknown apps are answered at once, with what to do', async () => {
  await using both = await pair(mirror)
  const begun = performance.now()
  const reply = await send(both.caller, 'GET', '/v1.0/invoke/nobody/method/x')
  assert.ok(performance.now() - begun < 400)
  assert.equal(reply.status, 500)
  const body = JSON.parse(reply.text)
  assert.equal(body.errorCode, 'ERR_DIRECT_INVOKE')
  assert.equal(body.message, "failed to invoke, id: nobody, err: couldn't find service: nobody")
  assert.match(String(reply.headers['outrider-hint']), /nobody/)
  for (const path of ['/', '/v1.0/nothing/here', '/v1.0/invoke/callee', '/v1.0/invoke//method/x']) {
    const missing = await send(both.caller, 'GET', path)
    assert.equal(missing.status, 404)
    assert.equal(JSON.parse(missing.text).message, 'failed getting app id either from the URL path or the header dapr-app-id')
  }
})

test('an app that left is unknown at once; one that came back elsewhere is found', async () => {
  await using both = await pair(mirror)
  assert.equal((await send(both.caller, 'GET', '/v1.0/invoke/callee/method/x')).status, 200)
  await both.registration[Symbol.asyncDispose]()
  await both.callee.close(0)
  const reply = await send(both.caller, 'GET', '/v1.0/invoke/callee/method/x')
  assert.match(JSON.parse(reply.text).message, /couldn't find service: callee/)
})

test('a call is repeated at the address an app has moved to', async () => {
  await using both = await pair(mirror)
  assert.equal((await send(both.caller, 'POST', '/v1.0/invoke/callee/method/x', {}, 'one')).status, 200)
  await both.registration[Symbol.asyncDispose]()
  await both.callee.close(0)
  const registry = createSqliteRegistry({ path: both.path })
  const channel = createHttpChannel({ port: (both.app.address() as AddressInfo).port })
  const moved = await createPeerServer({
    host: '127.0.0.1',
    port: 0,
    app: { wire: 'http', channel },
    appId: 'callee',
    namespace: 'default',
  })
  await registry.register({ appId: 'callee', namespace: 'default', host: '127.0.0.1', port: moved.port })
  const reply = await send(both.caller, 'POST', '/v1.0/invoke/callee/method/x', {}, 'two')
  assert.equal(JSON.parse(reply.text).body, 'two')
  await moved.close(0)
  await registry[Symbol.asyncDispose]()
  await channel[Symbol.asyncDispose]()
})

test('an app that is down behind its sidecar is an error that names the channel', async () => {
  await using both = await pair(mirror)
  both.app.closeAllConnections()
  both.app.close()
  const reply = await send(both.caller, 'GET', '/v1.0/invoke/callee/method/x')
  assert.equal(reply.status, 500)
  assert.match(
    JSON.parse(reply.text).message,
    /^failed to invoke, id: callee, err: rpc error: code = Internal desc = error invoking app channel: .*ECONNREFUSED/,
  )
})

test('registry: a sidecar killed without a word is skipped and forgotten', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'registry-'))
  const path = join(folder, 'shared.db')
  const registry = createSqliteRegistry({ path, watch: 0 })
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  const database = openSqlite(path)
  database
    .prepare('INSERT INTO outrider_peers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run('dead', 'a', 'default', '127.0.0.1', 1, child.pid as number, hostname(), Date.now(), Date.now() + 60_000)
  database
    .prepare('INSERT INTO outrider_peers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run('stale', 'a', 'default', '127.0.0.1', 2, process.pid, hostname(), 0, 1)
  assert.deepEqual(await registry.resolve('a', 'default'), [])
  assert.deepEqual(database.prepare("SELECT id FROM outrider_peers WHERE id = 'dead'").all(), [])
  await using _ = await registry.register({ appId: 'a', namespace: 'default', host: '127.0.0.1', port: 3 })
  assert.deepEqual(await registry.resolve('a', 'default'), [{ host: '127.0.0.1', port: 3 }])
  // As Dapr outside Kubernetes: an app of another namespace is found too, one of the asked namespace rather.
  assert.deepEqual(await registry.resolve('a', 'other'), [{ host: '127.0.0.1', port: 3 }])
  await using __ = await registry.register({ appId: 'a', namespace: 'other', host: '127.0.0.1', port: 4 })
  registry.invalidate('a', 'other')
  assert.deepEqual(await registry.resolve('a', 'other'), [{ host: '127.0.0.1', port: 4 }])
  assert.deepEqual(await registry.resolve('a', 'default'), [{ host: '127.0.0.1', port: 3 }])
  database.close()
  await registry[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})
