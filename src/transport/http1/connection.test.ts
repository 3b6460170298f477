import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { issueCertificate } from '../identity/certificate.ts'
import { answering, bareServer, onRequest, TestExchange } from './harness.ts'
import { HttpPool, type PoolOptions } from './pool.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

/** What arrives of a request, up to these many bytes after its head. */
function taking(body: number, done: (text: string, pieces: number) => void): (socket: Socket) => void {
  return (socket) => {
    let text = ''
    let pieces = 0
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      pieces++
      const head = text.indexOf('\r\n\r\n')
      if (head < 0 || text.length < head + 4 + body) return
      done(text, pieces)
      socket.write(OK)
    })
  }
}

test('a small request goes out in one piece, fields as they were given, nothing said of the connection', async () => {
  const came = Promise.withResolvers<[string, number]>()
  await using server = await bareServer(
    taking(5, (...all) => came.resolve(all)),
    { extra: [['Dapr-Api-Token', 't']] },
  )
  await server.ask({
    method: 'POST',
    path: '/a%20b?q=1',
    headers: ['X-MiXed', 'v', 'x-two', '1', 'x-two', '2', 'X-Utf8', '日本', 'X-Latin', '\xfc', 'TE', 'trailers', 'Connection', 'close'],
    body: Buffer.from('hello'),
  })
  const [text, pieces] = await came.promise
  assert.equal(pieces, 1)
  assert.equal(
    text,
    `POST /a%20b?q=1 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nContent-Length: 5\r\nX-MiXed: v\r\nx-two: 1\r\nx-two: 2\r\n` +
      `X-Utf8: ${Buffer.from('日本').toString('latin1')}\r\nX-Latin: \xfc\r\nDapr-Api-Token: t\r\n\r\nhello`,
  )
})

test('the framing is the client’s own, whatever the caller’s fields say', async () => {
  const texts: string[] = []
  await using server = await bareServer(
    taking(0, (text) => texts.push(text)),
    { maxSockets: 1 },
  )
  const headers = { 'content-length': '77', 'Transfer-Encoding': 'chunked', Expect: '100-continue', Host: 'other' }
  await server.ask({ headers })
  assert.equal(texts[0], 'GET / HTTP/1.1\r\nHost: other\r\n\r\n')
  await using again = await bareServer(taking(0, (text) => texts.push(text)))
  await again.ask({ method: 'POST', headers })
  assert.equal(texts[1], 'POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n')
  await using last = await bareServer(taking(2, (text) => texts.push(text)))
  await last.ask({ method: 'DELETE', headers, body: Buffer.from('ab') })
  assert.equal(texts[2], 'DELETE / HTTP/1.1\r\nHost: other\r\nContent-Length: 2\r\n\r\nab')
})

test('what would end a line early, or be none, is not sent', async () => {
  await using server = await bareServer(answering(OK))
  const bad = [
    { headers: ['X-A', 'b\r\nX-C: d'] },
    { headers: ['X-A', 'b\nc'] },
    { headers: ['X-A', 'b\0'] },
    { headers: ['X A', 'b'] },
    { headers: ['X-A:', 'b'] },
    { headers: ['', 'b'] },
    { headers: { 'X-A': ['ok', '日\r'] } },
    { path: '/a b' },
    { path: '/a\r\nX: y' },
    { path: '/日' },
    { path: '' },
    { method: 'GET /x HTTP/1.1\r\nX: y\r\n\r\nGET' },
    { method: '' },
  ]
  for (const request of bad) await assert.rejects(server.ask(request), { code: 'EINVAL' }, JSON.stringify(request))
  assert.equal(server.connections, 0)
  // U+010D and U+010A end in the bytes of CR and LF.
  const came = Promise.withResolvers<string>()
  await using other = await bareServer(taking(0, (text) => came.resolve(text)))
  await other.ask({ headers: ['X-A', '\u010d\u010aX: y'] })
  assert.ok((await came.promise).endsWith(`X-A: ${Buffer.from('\u010d\u010aX: y').toString('latin1')}\r\n\r\n`))
})

test('a streamed body goes in chunks or by its length, and no faster than the server takes it', async () => {
  const server = createServer((request, response) => {
    let size = 0
    request.on('data', (chunk: Buffer) => (size += chunk.length))
    request.on('end', () => response.end(`${size} ${request.headers['content-length']} ${request.headers['transfer-encoding']}`))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using pool = new HttpPool({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  const body = () => Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(1000)))
  const ask = async (headers: string[], stream: Readable) => {
    const exchange = new TestExchange({ method: 'PUT', headers, body: stream })
    pool.dispatch(exchange)
    return (await exchange.reply).body.toString()
  }
  assert.equal(await ask([], body()), '50000 undefined chunked')
  assert.equal(await ask(['Content-Length', '50000'], body()), '50000 50000 undefined')
  assert.equal(await ask([], Readable.from([])), '0 undefined chunked')
  assert.equal(pool.size, 1)
  server.close()

  let read = 0
  const stalled = Promise.withResolvers<void>()
  await using deaf = await bareServer((socket) => socket.pause())
  const endless = new Readable({
    read() {
      read += 65_536
      this.push(Buffer.alloc(65_536))
    },
  })
  const pause = endless.pause.bind(endless)
  endless.pause = () => {
    stalled.resolve()
    return pause()
  }
  const exchange = deaf.send({ method: 'POST', body: endless })
  await stalled.promise
  assert.ok(read < 16 * 1024 * 1024, `${read} bytes read`)
  exchange.abort()
  endless.destroy()
})

test('a body that breaks its word or breaks off ends the exchange with that reason, and the server gets no whole request', async () => {
  let whole = 0
  const server = createServer((request, response) => {
    request.on('error', () => {})
    request.resume().on('end', () => {
      whole++
      response.end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using pool = new HttpPool({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  const ask = (headers: string[], body: Readable) => {
    const exchange = new TestExchange({ method: 'POST', headers, body })
    pool.dispatch(exchange)
    return exchange.reply
  }
  const five = () => Readable.from([Buffer.from('12345')])
  await assert.rejects(ask(['content-length', '4'], five()), /longer than its Content-Length/)
  await assert.rejects(ask(['content-length', '6'], five()), /1 bytes shorter than its Content-Length/)
  const broken = new PassThrough()
  broken.write('x')
  const call = ask([], broken)
  setImmediate(() => broken.destroy(new Error('the sender left')))
  await assert.rejects(call, /the sender left/)
  const closed = new PassThrough()
  closed.destroy()
  await assert.rejects(ask([], closed), { code: 'EINVAL' })
  assert.equal(whole, 0)
  server.closeAllConnections()
  server.close()
})

test('a reply that comes before the request is whole is passed on, the rest of the request dropped', async () => {
  await using server = await bareServer((socket) => onRequest(socket, () => socket.write('HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno')))
  const body = new PassThrough()
  body.write('x')
  const reply = await server.ask({ method: 'POST', body })
  assert.deepEqual([reply.status, reply.body.toString()], [413, 'no'])
  body.end(Buffer.alloc(1_000_000))
  await once(body, 'end')
  assert.equal(server.pool.size, 0)
})

test('a paused reply holds the server back; resumed, it comes whole, and the connection is used again', async () => {
  let written = 0
  const server = createServer((_, response) => {
    const pump = () => {
      while (written < 300) {
        written++
        if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', pump)
      }
      response.end()
    }
    pump()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using pool = new HttpPool({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  const exchange = new TestExchange()
  const first = Promise.withResolvers<void>()
  exchange.onChunk = () => {
    exchange.onChunk = undefined
    exchange.pause()
    first.resolve()
  }
  pool.dispatch(exchange)
  await first.promise
  const heard = exchange.chunks.length
  // Another exchange, to its end: the loop has turned, and nothing came meanwhile.
  await using other = await bareServer(answering(OK))
  for (let i = 0; i < 20; i++) await other.ask()
  assert.ok(exchange.chunks.length <= heard + 8, `${exchange.chunks.length} chunks`)
  assert.ok(written < 300)
  exchange.resume()
  assert.equal((await exchange.reply).body.length, 300 * 65_536)
  written = 300
  const again = new TestExchange()
  pool.dispatch(again)
  await again.reply
  assert.equal(pool.size, 1)
  server.close()
})

test('silence of the server and a connection that does not come up have their limits', async () => {
  await using silent = await bareServer(() => {}, { silenceTimeout: 30 })
  await assert.rejects(silent.ask(), { code: 'ETIMEDOUT', message: /nothing for 30 ms/ })
  await using halting = await bareServer(answering('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'), { silenceTimeout: 30 })
  await assert.rejects(halting.ask(), { code: 'ETIMEDOUT' })
  await using mute = await bareServer(() => {}, { tls: {}, connectTimeout: 30 })
  await assert.rejects(mute.ask(), { code: 'ETIMEDOUT', message: /connect ETIMEDOUT 127\.0\.0\.1:/ })
})

test('a reply against the rules ends its exchange and its connection', async () => {
  await using server = await bareServer(answering('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy'))
  await assert.rejects(server.ask(), { code: 'EPROTO', message: 'malformed HTTP response: several lengths' })
  assert.equal(server.pool.size, 0)
})

test('a listener that throws harms its own exchange only', async () => {
  await using server = await bareServer(answering('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx'))
  const faulty = new TestExchange()
  faulty.onChunk = () => assert.fail('a fault of the listener')
  server.pool.dispatch(faulty)
  await assert.rejects(faulty.reply, /a fault of the listener/)
  assert.equal((await server.ask()).status, 200)
})

test('a listener that throws at the end does not take the next exchange of its connection with it', async () => {
  await using server = await bareServer(answering('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx'), { maxSockets: 1 })
  class Faulty extends TestExchange {
    protected override end(): void {
      throw new Error('a fault at the end')
    }
  }
  const warned = once(process, 'warning')
  server.pool.dispatch(new Faulty({ method: 'POST' }))
  assert.equal((await server.ask({ method: 'POST' })).status, 200)
  assert.match(String((await warned)[0]), /a fault at the end/)
  assert.equal(server.connections, 1)
})

test('servers are reached through sockets of the file system', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'outrider-http1-'))
  const server = createServer((request, response) => response.end(request.headers.host)).listen(join(folder, 'app.sock'))
  await once(server, 'listening')
  {
    await using pool = new HttpPool({ host: 'app', port: 80, socketPath: join(folder, 'app.sock') })
    const exchange = new TestExchange()
    pool.dispatch(exchange)
    assert.equal((await exchange.reply).body.toString(), 'app')
  }
  server.close()
  await rm(folder, { recursive: true })
})

/** A root, and what shows a certificate of it. */
function identity() {
  const root = generateKeyPairSync('ed25519')
  const own = generateKeyPairSync('ed25519')
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
  const issuer = { name: 'root', ...root }
  return {
    ca: issueCertificate({ ...span, publicKey: root.publicKey, subject: 'root', issuer, authority: true }),
    cert: issueCertificate({ ...span, publicKey: own.publicKey, subject: '', issuer, uri: 'spiffe://test' }),
    key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}

test('over TLS: authorities, a certificate of our own, the name asked for, and no check where that is wanted', async () => {
  const { ca, cert, key } = identity()
  const server = createHttps({ ca, cert, key, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    const { authorized, servername } = request.socket as TLSSocket
    response.end(`${authorized} ${servername} `.padEnd(100_000, 'x'))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const ask = async (host: string, tls: PoolOptions['tls']) => {
    await using pool = new HttpPool({ host, port, tls })
    const replies = [new TestExchange(), new TestExchange()]
    for (const exchange of replies) {
      pool.dispatch(exchange)
      const { body } = await exchange.reply
      assert.equal(body.length, 100_000)
    }
    assert.equal(pool.size, 1)
    return Buffer.concat(replies[0]?.chunks ?? [])
      .toString()
      .replace(/ x+$/, '')
  }
  await assert.rejects(ask('127.0.0.1', {}), { code: 'SELF_SIGNED_CERT_IN_CHAIN' })
  await assert.rejects(ask('localhost', { ca }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  assert.equal(await ask('localhost', { rejectUnauthorized: false }), 'false localhost')
  const checkServerIdentity = () => undefined
  assert.equal(await ask('localhost', { ca, cert, key, checkServerIdentity }), 'true localhost')
  assert.equal(await ask('127.0.0.1', { ca, servername: 'other.test', checkServerIdentity }), 'false other.test')
  server.close()
})
