import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { FLAG, FRAME, grpcHead, h2Frame, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { Code } from '../../errors.ts'
import { createGrpcClient, type GrpcClientOptions } from './client.ts'
import { frame } from './frames.ts'
import { binaryValues, decodeBinary, encodeBinary } from './metadata.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServerOptions, type GrpcStream } from './server.ts'
import { GrpcStatus } from './status.ts'
import { ProtoWriter } from './wire.ts'

const echo: GrpcMethod = { kind: 'unary', handle: (request) => request }

async function serve(methods: Record<string, GrpcMethod>, options: Partial<GrpcServerOptions> = {}, clientOptions: GrpcClientOptions = {}) {
  const server = createGrpcServer({ methods: new Map(Object.entries(methods)), ...options })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const client = createGrpcClient(clientOptions)
  return {
    server,
    client,
    port,
    address: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      await server.close(0)
    },
  }
}

const refused = (call: Promise<unknown>): Promise<GrpcStatus> =>
  call.then(
    () => assert.fail('must not succeed'),
    (error: GrpcStatus) => error,
  )

test('gzip: requests are unpacked, replies packed for those who pack, and our client reads them', async () => {
  await using peer = await serve({ '/s.T/echo': echo })
  const session = connectHttp2(`http://${peer.address}`)
  const message = Buffer.alloc(5000, 'abc')
  const packed = gzipSync(message)
  const body = frame(packed)
  body[0] = 1
  const stream = session.request({
    ':method': 'POST',
    ':path': '/s.T/echo',
    'content-type': 'application/grpc',
    'grpc-encoding': 'gzip',
    'grpc-accept-encoding': 'gzip',
  })
  stream.end(body)
  const [head] = await once(stream, 'response')
  assert.equal(head['grpc-encoding'], 'gzip')
  assert.equal(head['grpc-accept-encoding'], 'identity,gzip')
  const reply = Buffer.concat(await stream.toArray())
  assert.equal(reply[0], 1)
  assert.ok(reply.length < 500)
  assert.ok(gunzipSync(reply.subarray(5)).equals(message))
  session.close()
  const own = await peer.client.unary(peer.address, '/s.T/echo', message, { headers: { 'grpc-encoding': 'gzip' } })
  assert.ok(own.equals(message))
})

test('metadata: binary values come and go as bytes, and one name may come several times', async () => {
  const seen: { bytes: string[]; raw: string[] }[] = []
  await using peer = await serve({
    '/s.T/meta': {
      kind: 'unary',
      handle(_, call) {
        const raw: string[] = []
        for (let index = 0; index < call.rawHeaders.length; index += 2)
          if (call.rawHeaders[index] === 'x') raw.push(call.rawHeaders[index + 1] as string)
        seen.push({ bytes: binaryValues(call.headers, 'k-bin').map(String), raw })
        call.setHeader('reply-bin', encodeBinary(Buffer.from([0, 255, 1])))
        call.addHeader('twice', 'a')
        call.addHeader('twice', 'b')
        return Buffer.alloc(0)
      },
    },
  })
  const session = connectHttp2(`http://${peer.address}`)
  const stream = session.request({
    ':method': 'POST',
    ':path': '/s.T/meta',
    'content-type': 'application/grpc',
    'k-bin': ['b25l', 'dHdvISE=', 'dHdvISE'],
    x: ['1', '2, 3'],
  })
  stream.end(frame(Buffer.alloc(0)))
  const [head] = await once(stream, 'response')
  stream.resume()
  await once(stream, 'close')
  session.close()
  assert.deepEqual(seen, [{ bytes: ['one', 'two!!', 'two!!'], raw: ['1', '2, 3'] }])
  assert.deepEqual([...(decodeBinary(head['reply-bin']) as Buffer)], [0, 255, 1])
  assert.equal(head.twice, 'a, b')
  assert.equal(decodeBinary('@'), undefined)
})

test('rich status details of every kind pass through a proxy unchanged', async () => {
  const kinds = ['RetryInfo', 'QuotaFailure', 'PreconditionFailure', 'Help', 'DebugInfo', 'LocalizedMessage', 'RequestInfo', 'SomethingNew']
  const details = kinds.map((kind, index) => {
    const writer = new ProtoWriter()
    const mark = writer.begin(1)
    writer.string(1, `${kind} ü ${index}`)
    writer.end(mark)
    return { typeUrl: `type.googleapis.com/google.rpc.${kind}`, value: writer.take() }
  })
  await using behind = await serve({
    '/s.T/fail': {
      kind: 'unary',
      handle() {
        throw new GrpcStatus(Code.FailedPrecondition, 'not 100 % yet: ü', { details })
      },
    },
  })
  await using front = await serve(
    {},
    {
      unknown: (path) => ({
        kind: 'stream',
        handle(stream) {
          const call = behind.client.stream(
            behind.address,
            path,
            {},
            {
              onMessage: (message) => void stream.write(frame(message)),
              onClose: (status) => (status ? stream.fail(status) : stream.end()),
            },
          )
          stream.onMessage = (message) => void call.write(frame(message))
          stream.onEnd = () => call.end()
        },
      }),
    },
  )
  const status = await refused(front.client.unary(front.address, '/s.T/fail', Buffer.alloc(0)))
  assert.equal(status.code, Code.FailedPrecondition)
  assert.equal(status.message, 'not 100 % yet: ü')
  assert.deepEqual(
    status.details.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value) })),
    details,
  )
})

test('sizes: what is too large is refused in the words of grpc-go, on both sides and both ways', async () => {
  const send = (stream: GrpcStream) => {
    stream.onMessage = () => {
      stream.write(frame(Buffer.alloc(1001)))
    }
  }
  await using peer = await serve(
    { '/s.T/echo': echo, '/s.T/big': { kind: 'unary', handle: () => Buffer.alloc(1001) }, '/s.T/stream': { kind: 'stream', handle: send } },
    { maxMessageSize: 1000 },
  )
  const message = async (path: string, size: number, client = peer.client) => {
    const { code, message: text } = await refused(client.unary(peer.address, path, Buffer.alloc(size)))
    assert.equal(code, Code.ResourceExhausted)
    return text
  }
  assert.equal(await message('/s.T/echo', 1001), 'grpc: received message larger than max (1001 vs. 1000)')
  assert.equal(await message('/s.T/big', 0), 'grpc: trying to send message larger than max (1001 vs. 1000)')
  assert.equal(await message('/s.T/stream', 0), 'trying to send message larger than max (1001 vs. 1000)')
  await using small = createGrpcClient({ maxMessageSize: 10 })
  assert.equal(await message('/s.T/echo', 11, small), 'trying to send message larger than max (11 vs. 10)')
})

test('unix sockets and TLS carry calls as ports do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'grpc-'))
  const server = createGrpcServer({ methods: new Map([['/s.T/echo', echo]]) })
  await using client = createGrpcClient()
  try {
    const path = join(folder, 'api.sock')
    await server.listen({ path })
    assert.equal(String(await client.unary(`unix:${path}`, '/s.T/echo', Buffer.from('by socket'))), 'by socket')
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=localhost']
    execFileSync('openssl', [...args, '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    const port = await server.listen({ host: '127.0.0.1', port: 0, tls: { key: readFileSync(key), cert: readFileSync(cert) } })
    await using secure = createGrpcClient({ tls: { ca: readFileSync(cert), servername: 'localhost' } })
    assert.equal(String(await secure.unary(`127.0.0.1:${port}`, '/s.T/echo', Buffer.from('encrypted'))), 'encrypted')
    await using distrusting = createGrpcClient({ tls: { servername: 'localhost' } })
    const status = await refused(distrusting.unary(`127.0.0.1:${port}`, '/s.T/echo', Buffer.alloc(0)))
    assert.equal(status.code, Code.Unavailable)
    assert.equal(status.sent, false)
  } finally {
    await server.close(0)
    rmSync(folder, { recursive: true })
  }
})

test('keepalive: a silent connection is pinged, kept while it answers and cut when it does not', async () => {
  await using peer = await serve({ '/s.T/echo': echo }, { keepalive: { ping: 20, pingTimeout: 40 } })
  using answering = await RawHttp2.connect(peer.port)
  using silent = await RawHttp2.connect(peer.port)
  for (let round = 0; round < 3; round++) {
    const ping = await answering.until(({ type, flags }) => type === FRAME.PING && flags === 0)
    assert.ok(ping)
    answering.frames.length = 0
    answering.send(h2Frame(FRAME.PING, FLAG.ACK, 0, ping.payload))
  }
  assert.equal(await silent.until(() => false), undefined)
  assert.equal(answering.closed, false)
})

test('keepalive: a connection without calls gets a GOAWAY and ends', async () => {
  await using peer = await serve({ '/s.T/echo': echo }, { keepalive: { idle: 20 } })
  using raw = await RawHttp2.connect(peer.port)
  const goaway = await raw.until(({ type }) => type === FRAME.GOAWAY)
  assert.equal(goaway?.payload.readUInt32BE(4), 0)
  assert.equal(await raw.until(() => false), undefined)
})

test('keepalive: pings of a client that is answered in between are no offence', async () => {
  await using peer = await serve({ '/s.T/echo': echo })
  using raw = await RawHttp2.connect(peer.port)
  for (let id = 1; id < 21; id += 2) {
    raw.send(
      h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, id, grpcHead('/s.T/echo')),
      h2Frame(FRAME.DATA, FLAG.END_STREAM, id, frame(Buffer.from('x'))),
    )
    assert.ok(await raw.until(({ type, stream, flags }) => type === FRAME.HEADERS && stream === id && (flags & FLAG.END_STREAM) > 0))
    raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, id)))
    assert.ok(await raw.until(({ type, flags, payload }) => type === FRAME.PING && flags === FLAG.ACK && payload[0] === id))
  }
})

test('keepalive: a client may measure with a ping each frame of a long reply', async () => {
  await using peer = await serve({ '/s.T/long': { kind: 'unary', handle: () => Buffer.alloc(200_000) } })
  using raw = await RawHttp2.connect(peer.port)
  raw.send(
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/long')),
    h2Frame(FRAME.DATA, FLAG.END_STREAM, 1, frame(Buffer.from('x'))),
  )
  const data = () => raw.frames.filter(({ type }) => type === FRAME.DATA).reduce((sum, { payload }) => sum + payload.length, 0)
  for (let id = 1; id < 10; id++) {
    // The windows are spent but for this: one more frame.
    const room = 65_535 + (id - 1) * 1024
    assert.ok(await raw.until(() => data() === room), `${room} bytes`)
    raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, id)))
    assert.ok(await raw.until(({ type, flags, payload }) => type === FRAME.PING && flags === FLAG.ACK && payload[0] === id))
    raw.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1024)), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(1024)))
  }
})

test('keepalive: a client may measure a long reply that is passed on byte by byte', async () => {
  let more: (() => void) | undefined
  await using peer = await serve({
    '/s.T/raw': {
      kind: 'raw',
      handle(stream) {
        stream.sink = { data() {}, requestEnd() {}, streamClosed() {}, drained() {} }
        stream.respond([':status', '200', 'content-type', 'application/grpc'])
        more = () => void stream.write(Buffer.alloc(100))
      },
    },
  })
  using raw = await RawHttp2.connect(peer.port)
  raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/raw')))
  assert.ok(await raw.until(({ type }) => type === FRAME.HEADERS))
  for (let round = 1; round < 10; round++) {
    more?.()
    assert.ok(await raw.until(() => raw.frames.filter(({ type }) => type === FRAME.DATA).length === round))
    raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, round)))
    assert.ok(await raw.until(({ type, flags, payload }) => type === FRAME.PING && flags === FLAG.ACK && payload[0] === round))
  }
  assert.equal(
    raw.frames.find(({ type }) => type === FRAME.GOAWAY),
    undefined,
  )
})

test('drain: calls under way finish, the GOAWAY says that later ones were not looked at, then the connection ends', async () => {
  const arrived = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  const peer = await serve({
    '/s.T/echo': echo,
    '/s.T/slow': {
      kind: 'unary',
      async handle(request) {
        arrived.resolve()
        await go.promise
        return request
      },
    },
  })
  using raw = await RawHttp2.connect(peer.port)
  const call = (id: number, path: string) => [
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, id, grpcHead(path)),
    h2Frame(FRAME.DATA, FLAG.END_STREAM, id, frame(Buffer.from('x'))),
  ]
  const ended = (id: number) =>
    raw.until(({ type, stream, flags }) => type === FRAME.HEADERS && stream === id && (flags & FLAG.END_STREAM) > 0)
  raw.send(...call(1, '/s.T/slow'))
  await arrived.promise
  const closed = peer.server.close(10_000)
  const goaway = await raw.until(({ type }) => type === FRAME.GOAWAY)
  assert.deepEqual([goaway?.payload.readUInt32BE(), goaway?.payload.readUInt32BE(4)], [1, 0])
  raw.send(...call(3, '/s.T/echo'))
  go.resolve()
  assert.ok(await ended(1))
  await closed
  assert.equal(await raw.until(() => false), undefined)
  assert.ok(raw.frames.every(({ stream }) => stream !== 3))
  await peer.client[Symbol.asyncDispose]()
})

test('a client that never half-closes gets its reply, and its stream is closed', async () => {
  await using peer = await serve({ '/s.T/echo': echo })
  for (const path of ['/s.T/echo', '/s.T/none']) {
    using raw = await RawHttp2.connect(peer.port)
    raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead(path)), h2Frame(FRAME.DATA, 0, 1, frame(Buffer.from('x'))))
    assert.ok(await raw.until(({ type, flags }) => type === FRAME.HEADERS && (flags & FLAG.END_STREAM) > 0))
    const reset = await raw.until(({ type }) => type === FRAME.RST_STREAM)
    assert.equal(reset?.payload.readUInt32BE(), 0)
  }
})

test('flow control: a handler that does not read holds its client back', async () => {
  const opened = Promise.withResolvers<GrpcStream>()
  let read = 0
  await using peer = await serve({
    '/s.T/up': {
      kind: 'stream',
      handle(stream) {
        stream.pause()
        stream.onMessage = () => {
          read++
        }
        stream.onEnd = () => stream.end(frame(Buffer.from(String(read))))
        opened.resolve(stream)
      },
    },
  })
  const message = frame(Buffer.alloc(64 << 10))
  const total = 200
  let sent = 0
  let stalled = Promise.withResolvers<void>()
  const reply = Promise.withResolvers<string>()
  const call = peer.client.stream(
    peer.address,
    '/s.T/up',
    {},
    {
      onMessage: (bytes) => reply.resolve(String(bytes)),
      onClose: (status) => status && reply.reject(status),
      onDrain: () => pump(),
    },
  )
  function pump(): void {
    while (sent < total) {
      sent++
      if (!call.write(message)) return stalled.resolve()
    }
    call.end()
  }
  pump()
  const stream = await opened.promise
  // The client goes on until nothing drains any more: a whole call there and back passes in between.
  for (let before = -1; before !== sent; ) {
    before = sent
    await stalled.promise
    stalled = Promise.withResolvers()
    stalled.resolve()
    await peer.client.unary(peer.address, '/s.T/none', Buffer.alloc(0)).catch(() => {})
  }
  assert.equal(read, 0)
  assert.ok(sent < 40, `${sent} messages of 64 KiB were taken from the client`)
  stream.resume()
  assert.equal(await reply.promise, String(total))
})

test('flow control: a client that does not read holds the handler back', async () => {
  let written = 0
  const stalled = Promise.withResolvers<void>()
  await using peer = await serve({
    '/s.T/down': {
      kind: 'stream',
      handle(stream) {
        const message = frame(Buffer.alloc(64 << 10))
        const pump = () => {
          while (written < 400) {
            written++
            if (!stream.write(message)) return stalled.resolve()
          }
          stream.end()
        }
        stream.onMessage = pump
        stream.onDrain = pump
      },
    },
  })
  using raw = await RawHttp2.connect(peer.port)
  raw.send(
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/down')),
    h2Frame(FRAME.DATA, FLAG.END_STREAM, 1, frame(Buffer.alloc(0))),
  )
  await stalled.promise
  raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await raw.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  assert.ok(written <= 4, `${written} messages of 64 KiB were taken from the handler into a window of 64 KiB`)
  raw.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1 << 30)), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(1 << 30)))
  assert.ok(await raw.until(({ type, flags }) => type === FRAME.HEADERS && (flags & FLAG.END_STREAM) > 0))
  assert.equal(written, 400)
})

test('flow control: a handler that writes as long as it may is stopped even by a client without limits', async () => {
  let written = 0
  const stopped = Promise.withResolvers<void>()
  await using peer = await serve({
    '/s.T/flood': {
      kind: 'stream',
      handle(stream) {
        const message = frame(Buffer.alloc(64 << 10))
        stream.onMessage = () => {
          while (written < 10_000 && stream.write(message)) written++
          stopped.resolve()
        }
      },
    },
  })
  using raw = await RawHttp2.connect(peer.port, [[4, 0x7fffffff]])
  raw.send(
    h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fff0000)),
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/flood')),
    h2Frame(FRAME.DATA, 0, 1, frame(Buffer.alloc(0))),
  )
  await stopped.promise
  assert.ok(written < 20, `${written} messages of 64 KiB were taken in one turn`)
})
