import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createSecureServer, createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createServer as createTls } from 'node:tls'
import { Code } from '../../errors.ts'
import { createGrpcClient, type GrpcClientOptions, type GrpcListener } from './client.ts'
import { frame } from './frames.ts'
import type { GrpcStatus } from './status.ts'

// The client against node:http2, which is nghttp2 and none of ours.

type Serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void

async function served(serve: Serve, options: GrpcClientOptions = {}, server: Http2Server = createServer()) {
  const sessions = new Set<{ close(): void; destroy(): void }>()
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => {})
    serve(stream, headers)
  })
  server.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = createGrpcClient(options)
  return {
    client,
    sessions,
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      for (const session of sessions) session.destroy()
      server.close()
    },
  }
}

/** Answers with what was sent, message by message. */
const echo: Serve = (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-said': headers['x-say'] ?? 'nothing' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-last': 'yes' }))
  stream.pipe(stream)
}

function refused(call: Promise<unknown>): Promise<GrpcStatus> {
  return call.then(
    () => assert.fail('must not succeed'),
    (error: GrpcStatus) => error,
  )
}

test('every size of message comes back, many at once, over one connection', async () => {
  await using server = await served(echo)
  const sizes = [0, 1, 100, 16_379, 16_380, 65_530, 65_536, 300_000, 3_000_000]
  const calls = Array.from({ length: 90 }, (_, index) => {
    const message = Buffer.alloc(sizes[index % sizes.length] as number, index)
    return server.client.unary(server.address, '/s.T/echo', message).then((reply) => assert.ok(reply.equals(message)))
  })
  await Promise.all(calls)
  assert.equal(server.sessions.size, 1)
})

test('metadata, headers and trailers arrive both ways; heads before the answer are passed over', async () => {
  await using server = await served((stream, headers) => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' })
    assert.equal(headers[':authority'], server.address)
    assert.equal(headers.te, 'trailers')
    echo(stream, headers)
  })
  const long = 'v'.repeat(30_000)
  const heard: unknown[] = []
  await new Promise<void>((resolve) => {
    const listener: GrpcListener = {
      onHeaders: (headers, raw) => heard.push(headers[':status'], headers['x-said'], raw.includes('x-said')),
      onMessage: (message) => heard.push(String(message)),
      onClose(status, trailers, raw) {
        heard.push(status, trailers['x-last'], raw?.includes('x-last'))
        resolve()
      },
    }
    server.client.stream(server.address, '/s.T/echo', { headers: { 'x-say': long } }, listener).end(frame(Buffer.from('a')))
  })
  assert.deepEqual(heard, [200, long, true, 'a', undefined, 'yes', true])
})

test('a name that no header can have is refused before anything is sent', async () => {
  await using server = await served(echo)
  const status = await refused(server.client.unary(server.address, '/s.T/echo', Buffer.alloc(0), { headers: { 'x y': '1' } }))
  assert.deepEqual([status.code, status.sent, status.message], [Code.Internal, false, 'metadata cannot have the name "x y"'])
  assert.equal(server.sessions.size, 0)
})

test('a hundred megabytes each way move at the pace of the reader, in bounded memory', async () => {
  await using server = await served(echo, { maxMessageSize: 1 << 20 })
  const CHUNK = 256 << 10
  const TOTAL = 100 << 20
  const message = frame(Buffer.alloc(CHUNK - 5, 1))
  let sent = 0
  let received = 0
  let most = 0
  const before = process.memoryUsage().arrayBuffers
  const status = await new Promise<GrpcStatus | undefined>((resolve) => {
    const more = () => {
      while (sent < TOTAL) {
        sent += CHUNK
        if (!stream.write(message)) return
      }
      stream.end()
    }
    const stream = server.client.stream(
      server.address,
      '/s.T/echo',
      {},
      {
        onMessage(bytes) {
          received += bytes.length + 5
          most = Math.max(most, sent - received)
          if (received % (64 * CHUNK) !== 0) return
          // A reader that stops now and then.
          stream.pause()
          setImmediate(() => stream.resume())
        },
        onDrain: more,
        onClose: resolve,
      },
    )
    more()
  })
  assert.equal(status, undefined)
  assert.equal(received, TOTAL)
  // What is under way lies in the windows of both sides and in the server's own queue.
  assert.ok(most < 16 << 20, `${most} bytes under way`)
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 << 20)
})

test('a server that closes finishes what it has; the next call takes a new connection', async () => {
  const held: ServerHttp2Stream[] = []
  const first = Promise.withResolvers<void>()
  await using server = await served((stream, headers) => {
    if (headers[':path'] !== '/s.T/hold') return echo(stream, headers)
    held.push(stream)
    first.resolve()
  })
  const lasting = server.client.unary(server.address, '/s.T/hold', Buffer.from('later'))
  await first.promise
  const [session] = server.sessions
  session?.close()
  // Sent while the GOAWAY is on its way, or after it: either way it is served.
  assert.equal(String(await server.client.unary(server.address, '/s.T/echo', Buffer.from('now'))), 'now')
  echo(held[0] as ServerHttp2Stream, {})
  assert.equal(String(await lasting), 'later')
})

test('a call that is refused for want of room is made again, once', async () => {
  let asked = 0
  await using server = await served((stream, headers) => {
    if (++asked === 1 || headers['x-never'] !== undefined) stream.close(7)
    else echo(stream, headers)
  })
  assert.equal(String(await server.client.unary(server.address, '/s.T/echo', Buffer.from('again'))), 'again')
  assert.equal(asked, 2)
  const status = await refused(server.client.unary(server.address, '/s.T/echo', Buffer.alloc(0), { headers: { 'x-never': '1' } }))
  assert.deepEqual([status.code, status.sent, asked], [Code.Unavailable, false, 4])
})

test('streams of messages are made again whole, as long as all of it is still there', async () => {
  let asked = 0
  const got: number[] = []
  await using server = await served((stream, headers) => {
    if (++asked % 2 === 0) return echo(stream, headers)
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes >= Number(headers['x-after'])) stream.close(7)
    })
  })
  const send = (messages: number, size: number, after: number) =>
    new Promise<GrpcStatus | undefined>((resolve) => {
      const framed = frame(Buffer.alloc(size))
      const options = { headers: { 'x-after': String(after) } }
      const stream = server.client.stream(server.address, '/s.T/echo', options, {
        onMessage: (message) => void got.push(message.length),
        onClose: resolve,
      })
      for (let index = 0; index < messages; index++) stream.write(framed)
      stream.end()
    })
  assert.equal(await send(3, 1000, 3015), undefined)
  assert.deepEqual(got, [1000, 1000, 1000])
  const status = await send(3, 40_000, 120_015)
  assert.deepEqual([status?.code, status?.sent, asked], [Code.Unavailable, false, 3])
})

test('a deadline and a signal end the stream at the server', async () => {
  const codes: Promise<number>[] = []
  const came = Promise.withResolvers<void>()
  await using server = await served((stream) => {
    codes.push(once(stream, 'close').then(() => stream.rstCode))
    came.resolve()
  })
  const abort = new AbortController()
  const given = refused(server.client.unary(server.address, '/s.T/x', Buffer.alloc(0), { signal: abort.signal }))
  await came.promise
  abort.abort()
  assert.equal((await given).code, Code.Canceled)
  // The connection stands by now, so that the call is at the server long before its deadline.
  const late = await refused(server.client.unary(server.address, '/s.T/x', Buffer.alloc(0), { timeout: 500 }))
  assert.equal(late.code, Code.DeadlineExceeded)
  assert.deepEqual(await Promise.all(codes), [8, 8])
})

test('replies that are no gRPC, or no end of one', async () => {
  await using server = await served((stream, headers) => {
    if (headers[':path'] === '/503') stream.respond({ ':status': 503 }, { endStream: true })
    else {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
      stream.end(frame(Buffer.from('a')))
    }
  })
  const unavailable = await refused(server.client.unary(server.address, '/503', Buffer.alloc(0)))
  assert.deepEqual([unavailable.code, unavailable.message], [Code.Unavailable, `unexpected HTTP status 503 from ${server.address}`])
  const endless = await refused(server.client.unary(server.address, '/200', Buffer.alloc(0)))
  assert.deepEqual([endless.code, endless.message], [Code.Internal, 'server closed the stream without sending trailers'])
})

test('TLS: each connection asks for its options anew; without ALPN h2 there is none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-h2-'))
  try {
    const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=localhost']
    execFileSync('openssl', [...args, '-addext', 'subjectAltName=DNS:localhost', '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' })
    const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)]
    let asked = 0
    const tls = () => {
      asked++
      return { ca: cert, servername: 'localhost' }
    }
    await using server = await served(echo, { tls }, createSecureServer({ key, cert }))
    const call = () => server.client.unary(server.address, '/s.T/echo', Buffer.alloc(50_000, 'a'))
    assert.equal((await call()).length, 50_000)
    await call()
    assert.equal(asked, 1)
    // As when the identity changes.
    server.client.forget()
    await call()
    assert.equal(asked, 2)

    const other = createTls({ key, cert, ALPNProtocols: ['http/1.1'] }, (socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
    other.on('tlsClientError', () => {})
    await once(other, 'listening')
    const none = createTls({ key, cert }, (socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
    await once(none, 'listening')
    for (const listener of [other, none]) {
      const address = `127.0.0.1:${(listener.address() as AddressInfo).port}`
      const status = await refused(server.client.unary(address, '/s.T/echo', Buffer.alloc(0)))
      assert.deepEqual([status.code, status.sent], [Code.Unavailable, false])
      assert.match(status.message, /ALPN|no application protocol/)
      listener.close()
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('messages are cut as they were framed however the bytes come', async () => {
  await using server = await served((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    const bytes = Buffer.concat([frame(Buffer.from('one')), frame(Buffer.alloc(0)), frame(Buffer.from('three'))])
    const next = (at: number) => {
      if (at === bytes.length) stream.end()
      else stream.write(bytes.subarray(at, at + 1), () => next(at + 1))
    }
    next(0)
  })
  const got: string[] = []
  const status = await new Promise<GrpcStatus | undefined>((resolve) => {
    server.client.stream(server.address, '/s.T/x', {}, { onMessage: (message) => void got.push(String(message)), onClose: resolve }).end()
  })
  assert.equal(status, undefined)
  assert.deepEqual(got, ['one', '', 'three'])
})
