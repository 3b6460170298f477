import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttp2 } from 'node:http2'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { createHttpChannel } from './http-channel.ts'

async function app(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

test('call sends method, path, headers, body and the app token, and reads the reply whole', async () => {
  await using server = await app((request, response) => {
    const chunks: Buffer[] = []
    request
      .on('data', (chunk) => chunks.push(chunk))
      .on('end', () => {
        response.writeHead(418, { 'x-app': 'yes', 'set-cookie': ['a=1', 'b=2'] })
        response.end(
          JSON.stringify({
            method: request.method,
            url: request.url,
            token: request.headers['dapr-api-token'],
            own: request.headers['x-own'],
            body: Buffer.concat(chunks).toString(),
          }),
        )
      })
  })
  await using channel = createHttpChannel({ port: server.port, token: 's3cret' })
  const reply = await channel.call({ method: 'PUT', path: '/a%20b?q=1', headers: { 'x-own': 'v' }, body: Buffer.from('hello') })
  assert.equal(reply.status, 418)
  assert.deepEqual(reply.headers['set-cookie'], ['a=1', 'b=2'])
  assert.deepEqual(JSON.parse(reply.body.toString()), { method: 'PUT', url: '/a%20b?q=1', token: 's3cret', own: 'v', body: 'hello' })
})

test('an app that is not there rejects with ECONNREFUSED', async () => {
  const server = await app(() => {})
  await server[Symbol.asyncDispose]()
  await using channel = createHttpChannel({ port: server.port })
  await assert.rejects(channel.call({ method: 'GET', path: '/', headers: {} }), { code: 'ECONNREFUSED' })
  await assert.rejects(channel.request({ method: 'GET', path: '/', headers: {} }), { code: 'ECONNREFUSED' })
})

test('a slow reader holds the app back instead of filling memory', async () => {
  let written = 0
  await using server = await app((_, response) => {
    const chunk = Buffer.alloc(65_536)
    const pump = () => {
      while (written < 400 && response.write(chunk)) written++
      if (written >= 400) response.end()
      else
        response.once('drain', () => {
          written++
          pump()
        })
    }
    pump()
  })
  await using channel = createHttpChannel({ port: server.port })
  const reply = await channel.request({ method: 'GET', path: '/', headers: {} })
  await once(reply.body, 'readable')
  assert.ok(reply.body.readableLength <= 256 * 1024, `${reply.body.readableLength} bytes buffered`)
  let size = 0
  for await (const chunk of reply.body) size += (chunk as Buffer).length
  assert.ok(size >= 400 * 65_536)
})

test('no more than maxConcurrency calls reach the app at once, and all are answered', async () => {
  let now = 0
  let most = 0
  const open: (() => void)[] = []
  let arrived = () => {}
  await using server = await app((_, response) => {
    most = Math.max(most, ++now)
    open.push(() => {
      now--
      response.end('x')
    })
    arrived()
  })
  await using channel = createHttpChannel({ port: server.port, maxConcurrency: 2 })
  const calls = Array.from({ length: 7 }, () => channel.call({ method: 'GET', path: '/', headers: {} }))
  for (let answered = 0; answered < 7; answered++) {
    while (open.length < Math.min(2, 7 - answered)) await new Promise<void>((resolve) => (arrived = resolve))
    open.shift()?.()
  }
  assert.deepEqual(
    (await Promise.all(calls)).map((reply) => reply.status),
    Array(7).fill(200),
  )
  assert.equal(most, 2)
})

test('an aborted call frees its place for the next one', async () => {
  let arrived = () => {}
  let hang = true
  await using server = await app((_, response) => {
    if (!hang) response.end()
    arrived()
  })
  await using channel = createHttpChannel({ port: server.port, maxConcurrency: 1 })
  const came = new Promise<void>((resolve) => (arrived = resolve))
  const stop = new AbortController()
  const first = channel.call({ method: 'GET', path: '/', headers: {}, signal: stop.signal })
  const waitingStop = new AbortController()
  const waiting = channel.call({ method: 'GET', path: '/never', headers: {}, signal: waitingStop.signal })
  await came
  waitingStop.abort(new Error('left the queue'))
  await assert.rejects(waiting, /left the queue/)
  hang = false
  stop.abort(new Error('enough'))
  await assert.rejects(first, /enough/)
  assert.equal((await channel.call({ method: 'GET', path: '/', headers: {} })).status, 200)
})

test('a streamed request body goes through chunk by chunk', async () => {
  await using server = await app((request, response) => {
    let size = 0
    request
      .on('data', (chunk: Buffer) => (size += chunk.length))
      .on('end', () => response.end(`${size} ${request.headers['content-length']} ${request.headers['transfer-encoding']}`))
  })
  await using channel = createHttpChannel({ port: server.port })
  const chunk = Buffer.alloc(1000)
  const body = () =>
    Readable.from(
      (function* () {
        for (let i = 0; i < 50; i++) yield chunk
      })(),
    )
  assert.equal((await channel.call({ method: 'POST', path: '/', headers: {}, body: body() })).body.toString(), '50000 undefined chunked')
  assert.equal(
    (await channel.call({ method: 'POST', path: '/', headers: { 'content-length': '50000' }, body: body() })).body.toString(),
    '50000 50000 undefined',
  )
})

test('call refuses a reply past maxBodySize', async () => {
  await using server = await app((_, response) => response.end(Buffer.alloc(3000)))
  await using channel = createHttpChannel({ port: server.port, maxBodySize: 2000 })
  await assert.rejects(channel.call({ method: 'GET', path: '/big', headers: {} }), /GET \/big is larger than 2000 bytes/)
})

test('h2c apps are spoken to over HTTP/2', async () => {
  const server = createHttp2((request, response) => response.end(request.httpVersion)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const channel = createHttpChannel({ port: (server.address() as AddressInfo).port, protocol: 'h2c' })
  const replies = await Promise.all([1, 2, 3].map(() => channel.call({ method: 'GET', path: '/', headers: {} })))
  assert.deepEqual(
    replies.map((reply) => reply.body.toString()),
    ['2.0', '2.0', '2.0'],
  )
  await channel[Symbol.asyncDispose]()
  server.close()
})

test('an h2c app gets bodies of both kinds and the token; one that is gone or breaks off is an error, and a new one is found', async () => {
  const server = createHttp2((request, response) => {
    if (request.url === '/cut') return void request.stream.close(2)
    const chunks: Buffer[] = []
    request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', () => {
        response.setHeader('x-token', request.headers['dapr-api-token'] ?? '')
        response.end(Buffer.concat(chunks))
      })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await using channel = createHttpChannel({ port, protocol: 'h2c', token: 's3cret' })
  for (const body of [Buffer.from('hello'), Readable.from([Buffer.from('hel'), Buffer.from('lo')])]) {
    const reply = await channel.call({ method: 'POST', path: '/', headers: { Connection: 'close', 'X-Own': 'v' }, body })
    assert.deepEqual([reply.status, reply.headers['x-token'], reply.body.toString()], [200, 's3cret', 'hello'])
  }
  await assert.rejects(channel.call({ method: 'GET', path: '/cut', headers: {} }))
  assert.equal((await channel.call({ method: 'GET', path: '/', headers: {} })).status, 200)
  await using gone = createHttpChannel({ port: 1, protocol: 'h2c' })
  await assert.rejects(gone.call({ method: 'GET', path: '/', headers: {} }), { code: 'ECONNREFUSED' })
  server.close()
})

test('ready waits for the port and gives up when aborted', async () => {
  const gone = await app(() => {})
  await gone[Symbol.asyncDispose]()
  await using channel = createHttpChannel({ port: gone.port })
  const stop = new AbortController()
  const given = channel.ready(stop.signal)
  stop.abort(new Error('stopping'))
  await assert.rejects(given, /stopping/)
  const waits = channel.ready(new AbortController().signal)
  const server = createServer().listen(gone.port, '127.0.0.1')
  await waits
  server.close()
})

test('a HEAD leaves its connection open for the next request, and nothing is said of the connection', async () => {
  await using server = await app((request, response) => {
    response.setHeader('x-from', `${request.socket.remotePort} ${request.headers.connection ?? 'unsaid'}`).end()
  })
  await using channel = createHttpChannel({ port: server.port })
  const first = await channel.call({ method: 'HEAD', path: '/', headers: {} })
  assert.match(String(first.headers['x-from']), /^\d+ unsaid$/)
  assert.equal((await channel.call({ method: 'GET', path: '/', headers: {} })).headers['x-from'], first.headers['x-from'])
})

test('what an app answers to a HEAD beyond its head is no answer to the next request', async () => {
  let asked = 0
  const server = createTcp((socket) => {
    socket.on('error', () => {})
    socket.on('data', () =>
      socket.write(
        `HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n${asked++ === 0 ? 'HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nwrong' : 'x'.repeat(45)}`,
      ),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using channel = createHttpChannel({ port: (server.address() as AddressInfo).port })
  await channel.call({ method: 'HEAD', path: '/', headers: {} })
  assert.equal((await channel.call({ method: 'GET', path: '/', headers: {} })).status, 200)
  server.close()
})
