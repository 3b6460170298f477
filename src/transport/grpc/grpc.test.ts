import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { test } from 'node:test'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import { createGrpcClient } from './client.ts'
import { formatTimeout, parseTimeout } from './deadline.ts'
import { FrameReader, frame } from './frames.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServerOptions } from './server.ts'
import { decodeGrpcMessage, encodeGrpcMessage, GrpcStatus } from './status.ts'
import { ProtoReader, ProtoWriter } from './wire.ts'

async function serve(methods: Record<string, GrpcMethod>, options: Partial<GrpcServerOptions> = {}) {
  const server = createGrpcServer({ methods: new Map(Object.entries(methods)), ...options })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const client = createGrpcClient()
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

const echo: GrpcMethod = { kind: 'unary', handle: (request) => request }

test('wire: fields written are read back, at every length that changes the number of length bytes', () => {
  const writer = new ProtoWriter()
  for (const size of [0, 1, 42, 43, 63, 64, 127, 128, 16_383, 16_384, 2_100_000]) {
    const text = 'ü'.repeat(size)
    const outer = writer.reset().begin(1)
    const inner = writer.begin(2)
    writer.string(3, text, true)
    writer.end(inner)
    writer.uint(4, 2 ** 53 - 1)
    writer.int64(5, -7)
    writer.end(outer)
    const reader = new ProtoReader(writer.take())
    assert.ok(reader.next())
    const first = reader.message()
    assert.ok(first.next())
    const second = first.message()
    assert.ok(second.next())
    assert.equal(second.string(), text)
    assert.ok(first.next())
    assert.equal(first.uint(), 2 ** 53 - 1)
    assert.ok(first.next())
    assert.equal(first.int32(), -7)
    assert.ok(!first.next() && !reader.next())
  }
})

test('wire: no cut or changed message makes the reader loop, read outside or throw anything but WireError', () => {
  const writer = new ProtoWriter()
  const mark = writer.begin(1)
  writer.map(2, { key: 'value', other: 'x'.repeat(200) })
  writer.end(mark)
  writer.uint(3, 300)
  const message = writer.take()
  const walk = (reader: ProtoReader, depth: number) => {
    while (reader.next()) {
      if (reader.type === 2 && depth < 3) walk(reader.message(), depth + 1)
      else reader.skip()
    }
  }
  for (let cut = 0; cut < message.length; cut++) {
    for (const bytes of [
      message.subarray(0, cut),
      Buffer.concat([message.subarray(0, cut), Buffer.from([255]), message.subarray(cut + 1)]),
    ]) {
      try {
        walk(new ProtoReader(bytes), 0)
      } catch (error) {
        assert.equal((error as Error).name, 'WireError')
      }
    }
  }
})

test('frames: messages come out whole however the bytes are cut', () => {
  const messages = [Buffer.from('a'), Buffer.alloc(0), Buffer.from('longer message')]
  const bytes = Buffer.concat(messages.map(frame))
  for (let step = 1; step <= bytes.length; step++) {
    const found: string[] = []
    const reader = new FrameReader(100, (message) => found.push(message.toString()))
    for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step))
    assert.deepEqual(found, messages.map(String))
    assert.equal(reader.partial, false)
  }
})

test('grpc-timeout and grpc-message survive the way there and back', () => {
  assert.equal(parseTimeout('5S'), 5000)
  assert.equal(parseTimeout('100m'), 100)
  assert.equal(parseTimeout('1H'), 3_600_000)
  assert.equal(parseTimeout('123456789m'), undefined)
  assert.equal(parseTimeout(formatTimeout(1234)), 1234)
  for (const text of ['plain', 'ümlaut % 100', 'line\nbreak', '日本']) assert.equal(decodeGrpcMessage(encodeGrpcMessage(text)), text)
  assert.match(encodeGrpcMessage('ü\n'), /^[\x20-\x7e]+$/)
})

test('unary calls carry messages of all sizes both ways', async () => {
  await using peer = await serve({ '/s/echo': echo })
  for (const size of [0, 1, 16_384, 1_000_000]) {
    const message = Buffer.alloc(size, 7)
    assert.ok(message.equals(await peer.client.unary(peer.address, '/s/echo', message)))
  }
})

test('an OutriderError arrives as its status, message and details', async () => {
  await using peer = await serve({
    '/s/fail': {
      kind: 'unary',
      handle() {
        throw new OutriderError({
          code: 'ERR_X',
          http: 400,
          grpc: Code.InvalidArgument,
          message: 'schlecht: ü',
          details: [errorInfo('ERR_X', { a: 'b' })],
        })
      },
    },
  })
  const status = await peer.client.unary(peer.address, '/s/fail', Buffer.alloc(0)).then(
    () => assert.fail('must not succeed'),
    (error: GrpcStatus) => error,
  )
  assert.equal(status.code, Code.InvalidArgument)
  assert.equal(status.message, 'schlecht: ü')
  assert.equal(status.details[0]?.typeUrl, 'type.googleapis.com/google.rpc.ErrorInfo')
  assert.ok(status.details[0]?.value.includes('ERR_X') && status.details[0]?.value.includes('dapr.io'))
})

test('unknown methods are UNIMPLEMENTED', async () => {
  await using peer = await serve({})
  await assert.rejects(peer.client.unary(peer.address, '/a.B/C', Buffer.alloc(0)), {
    code: Code.Unimplemented,
    message: 'unknown service a.B',
  })
})

test('a message past the limit is RESOURCE_EXHAUSTED at the server and at the client', async () => {
  await using peer = await serve(
    { '/s/echo': echo, '/s/big': { kind: 'unary', handle: () => Buffer.alloc(5 << 20) } },
    { maxMessageSize: 1000 },
  )
  await assert.rejects(peer.client.unary(peer.address, '/s/echo', Buffer.alloc(1001)), { code: Code.ResourceExhausted })
  await assert.rejects(peer.client.unary(peer.address, '/s/big', Buffer.alloc(1)), { code: Code.ResourceExhausted })
  assert.equal((await peer.client.unary(peer.address, '/s/echo', Buffer.alloc(1000))).length, 1000)
})

test('a deadline ends the call on both sides', async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  await using peer = await serve({
    '/s/hang': {
      kind: 'unary',
      handle: (_, call) => {
        call.signal.addEventListener('abort', () => resolve(call.signal.reason))
        return new Promise<Buffer>(() => {})
      },
    },
  })
  await assert.rejects(peer.client.unary(peer.address, '/s/hang', Buffer.alloc(0), { timeout: 30 }), { code: Code.DeadlineExceeded })
  assert.ok((await promise) instanceof GrpcStatus)
})

test('an abort reaches the server', async () => {
  const arrived = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  await using peer = await serve({
    '/s/hang': {
      kind: 'unary',
      handle: (_, call) => {
        call.signal.addEventListener('abort', () => ended.resolve())
        arrived.resolve()
        return new Promise<Buffer>(() => {})
      },
    },
  })
  const stop = new AbortController()
  const call = peer.client.unary(peer.address, '/s/hang', Buffer.alloc(0), { signal: stop.signal })
  call.catch(() => {})
  await arrived.promise
  stop.abort()
  await assert.rejects(call, { code: Code.Canceled })
  await ended.promise
})

test('streams carry messages both ways and end with a status', async () => {
  await using peer = await serve({
    '/s/stream': {
      kind: 'stream',
      handle(stream) {
        stream.onMessage = (message) => void stream.write(frame(Buffer.concat([Buffer.from('>'), message])))
        stream.onEnd = () => stream.fail(new GrpcStatus(Code.Aborted, 'enough'))
      },
    },
  })
  const got: string[] = []
  const status = await new Promise<GrpcStatus | undefined>((resolve) => {
    const stream = peer.client.stream(
      peer.address,
      '/s/stream',
      {},
      {
        onMessage(message) {
          got.push(message.toString())
          if (got.length === 3) stream.end()
        },
        onClose: resolve,
      },
    )
    for (const text of ['a', 'b', 'c']) stream.write(frame(Buffer.from(text)))
  })
  assert.deepEqual(got, ['>a', '>b', '>c'])
  assert.equal(status?.code, Code.Aborted)
})

test('nobody there: UNAVAILABLE and surely not sent; the next call connects anew', async () => {
  const first = await serve({ '/s/echo': echo })
  await using client = createGrpcClient()
  await client.unary(first.address, '/s/echo', Buffer.from('x'))
  await first[Symbol.asyncDispose]()
  const status = await client.unary(first.address, '/s/echo', Buffer.from('x')).then(
    () => assert.fail('must not succeed'),
    (error: GrpcStatus) => error,
  )
  assert.equal(status.code, Code.Unavailable)
  assert.equal(status.sent, false)
  const again = createGrpcServer({ methods: new Map([['/s/echo', echo]]) })
  await again.listen({ host: '127.0.0.1', port: first.port })
  assert.equal((await client.unary(first.address, '/s/echo', Buffer.from('y'))).toString(), 'y')
  await again.close(0)
})

test('a connection cut while calls are under way fails them all as UNAVAILABLE, sent', async () => {
  const sockets: import('node:net').Socket[] = []
  const arrived = Promise.withResolvers<void>()
  const server = createHttp2()
  server.on('sessionError', () => {})
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    arrived.resolve()
  })
  const front = createTcp((socket) => {
    sockets.push(socket)
    server.emit('connection', socket)
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  await using client = createGrpcClient()
  const call = client.unary(`127.0.0.1:${(front.address() as AddressInfo).port}`, '/s/x', Buffer.from('x'))
  call.catch(() => {})
  await arrived.promise
  for (const socket of sockets) socket.destroy()
  await assert.rejects(call, { code: Code.Unavailable, sent: true })
  front.close()
})

test('closing lets calls under way finish and refuses new ones', async () => {
  const arrived = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  await using peer = await serve({
    '/s/slow': {
      kind: 'unary',
      async handle(request) {
        arrived.resolve()
        await go.promise
        return request
      },
    },
  })
  const call = peer.client.unary(peer.address, '/s/slow', Buffer.from('kept'))
  await arrived.promise
  const closed = peer.server.close(10_000)
  await using other = createGrpcClient()
  await assert.rejects(other.unary(peer.address, '/s/slow', Buffer.alloc(0)), { code: Code.Unavailable, sent: false })
  go.resolve()
  assert.equal((await call).toString(), 'kept')
  await closed
})

test('what is no gRPC gets an HTTP status', async () => {
  await using peer = await serve({})
  const session = connectHttp2(`http://${peer.address}`)
  for (const [method, type, status] of [
    ['GET', 'application/grpc', 405],
    ['POST', 'text/plain', 415],
  ] as const) {
    const stream = session.request({ ':method': method, ':path': '/', 'content-type': type })
    const [headers] = await once(stream, 'response')
    assert.equal(headers[':status'], status)
    stream.close()
  }
  session.close()
})

test('a connection that nobody uses is closed, and the next call opens another', async () => {
  const server = createGrpcServer({ methods: new Map([['/s/echo', echo]]) })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  await using client = createGrpcClient({ idleTimeout: 30 })
  const [[session]] = (await Promise.all([
    once(server.http2, 'session'),
    client.unary(`127.0.0.1:${port}`, '/s/echo', Buffer.from('x')),
  ])) as [[import('node:http2').ServerHttp2Session], Buffer]
  await once(session, 'close')
  assert.equal((await client.unary(`127.0.0.1:${port}`, '/s/echo', Buffer.from('again'))).toString(), 'again')
  await server.close(0)
})
