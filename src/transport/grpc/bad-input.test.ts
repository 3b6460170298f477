import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectHttp2, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { FLAG, FRAME, grpcHead, h2Frame, hpack, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { Code } from '../../errors.ts'
import { createGrpcClient } from './client.ts'
import { frame } from './frames.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServerOptions, unary } from './server.ts'
import { decodeGrpcMessage } from './status.ts'
import { ProtoReader } from './wire.ts'

// Bad input on real sockets: the right status, memory bounded, other clients untouched.

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes in use, on the heap and outside. */
function memory(): number {
  collect()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + Math.max(external, arrayBuffers)
}

const MIB = 1 << 20

function readText(message: Buffer): string {
  const reader = new ProtoReader(message)
  let text = ''
  while (reader.next()) {
    if (reader.field === 1) text = reader.string()
    else reader.skip()
  }
  return text
}

const METHODS: Record<string, GrpcMethod> = {
  '/s.T/echo': { kind: 'unary', handle: (request) => request },
  '/s.T/text': unary(
    readText,
    (text: string) => Buffer.from(text),
    (text) => text,
  ),
  '/s.T/big': { kind: 'unary', handle: () => Buffer.alloc(MIB, 1) },
}

async function serve(options: Partial<GrpcServerOptions> = {}, methods: Record<string, GrpcMethod> = {}) {
  const server = createGrpcServer({ methods: new Map(Object.entries({ ...METHODS, ...methods })), ...options })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const client = createGrpcClient()
  return {
    server,
    port,
    /** What another client gets: it must never notice. */
    async other(): Promise<void> {
      const reply = await client.unary(`127.0.0.1:${port}`, '/s.T/echo', Buffer.from('hello'))
      assert.equal(reply.toString(), 'hello')
    },
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      await server.close(0)
    },
  }
}

interface Answer {
  http: number
  code: number
  message: string
}

/** One call as node:http2's own client makes it, so that nothing of ours looks away. */
async function send(port: number, headers: OutgoingHttpHeaders, body: Buffer | undefined): Promise<Answer> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  const stream = session.request(
    { ':method': 'POST', ':path': '/s.T/text', 'content-type': 'application/grpc', te: 'trailers', ...headers },
    { endStream: body === undefined },
  )
  let head: IncomingHttpHeaders = {}
  let trailers: IncomingHttpHeaders | undefined
  stream.on('response', (got) => {
    head = got
  })
  stream.on('trailers', (got) => {
    trailers = got
  })
  stream.on('error', () => {})
  stream.resume()
  if (body !== undefined) stream.end(body)
  await once(stream, 'close')
  session.destroy()
  const from = trailers ?? head
  return {
    http: Number(head[':status']),
    code: Number(from['grpc-status']),
    message: decodeGrpcMessage(String(from['grpc-message'] ?? '')),
  }
}

/** A prefix that may lie. */
function prefixed(flag: number, length: number, bytes: Buffer = Buffer.alloc(0)): Buffer {
  const out = Buffer.alloc(5 + bytes.length)
  out[0] = flag
  out.writeUInt32BE(length, 1)
  bytes.copy(out, 5)
  return out
}

// As the real daprd 1.18.3 (grpc-go 1.82.1) answered when it was sent the same.
const ANSWERS: [name: string, headers: OutgoingHttpHeaders, body: Buffer | undefined, http: number, code: Code, message: string][] = [
  ['no message', {}, Buffer.alloc(0), 200, Code.Unknown, 'EOF'],
  ['a cut prefix', {}, Buffer.from([0, 0, 0]), 200, Code.Unknown, 'EOF'],
  ['a cut message', {}, prefixed(0, 10, Buffer.from('abc')), 200, Code.Unknown, 'unexpected EOF'],
  [
    'a message of 4 GiB announced',
    {},
    prefixed(0, 0xffffffff),
    200,
    Code.ResourceExhausted,
    'grpc: received message larger than max (4294967295 vs. 4194304)',
  ],
  [
    'a message past the limit',
    {},
    frame(Buffer.alloc(5 * MIB)),
    200,
    Code.ResourceExhausted,
    'grpc: received message larger than max (5242880 vs. 4194304)',
  ],
  ['an unknown payload format', {}, prefixed(2, 0), 200, Code.Internal, 'grpc: received unexpected payload format 2'],
  ['compressed without an encoding', {}, prefixed(1, 0), 200, Code.Internal, 'grpc: compressed flag set with identity or empty encoding'],
  [
    'an encoding nobody has',
    { 'grpc-encoding': 'snappy' },
    prefixed(1, 0),
    200,
    Code.Unimplemented,
    'grpc: Decompressor is not installed for grpc-encoding "snappy"',
  ],
  [
    'no gzip in gzip',
    { 'grpc-encoding': 'gzip' },
    prefixed(1, 5, Buffer.from('hello')),
    200,
    Code.Internal,
    'grpc: failed to decompress the message: unexpected EOF',
  ],
  [
    'cut gzip',
    { 'grpc-encoding': 'gzip' },
    prefixed(1, 15, gzipSync(Buffer.alloc(100)).subarray(0, 15)),
    200,
    Code.Internal,
    'grpc: failed to read decompressed data: unexpected EOF',
  ],
  [
    'cut protobuf',
    {},
    frame(Buffer.from([0x0a, 0x50, 1])),
    200,
    Code.Internal,
    'grpc: error unmarshalling request: proto:\u00a0cannot parse invalid wire-format data',
  ],
  [
    'field number 0',
    {},
    frame(Buffer.from([0, 1])),
    200,
    Code.Internal,
    'grpc: error unmarshalling request: proto:\u00a0cannot parse invalid wire-format data',
  ],
  [
    'bytes that are no UTF-8',
    {},
    frame(Buffer.from([0x0a, 2, 0xc3, 0x28])),
    200,
    Code.Internal,
    'grpc: error unmarshalling request: string field contains invalid UTF-8',
  ],
  [
    'a text',
    { 'content-type': 'text/plain' },
    frame(Buffer.alloc(0)),
    415,
    Code.InvalidArgument,
    'invalid gRPC request content-type "text/plain"',
  ],
  [
    'gRPC-Web',
    { 'content-type': 'application/grpc-web' },
    frame(Buffer.alloc(0)),
    415,
    Code.InvalidArgument,
    'invalid gRPC request content-type "application/grpc-web"',
  ],
  ['GET', { ':method': 'GET' }, undefined, 405, Code.Internal, 'Received a HEADERS frame with :method "GET" which should be POST'],
  [
    'PUT',
    { ':method': 'PUT' },
    frame(Buffer.alloc(0)),
    405,
    Code.Internal,
    'Received a HEADERS frame with :method "PUT" which should be POST',
  ],
  ['a path of one segment', { ':path': '/foo' }, frame(Buffer.alloc(0)), 200, Code.Unimplemented, 'malformed method name: "/foo"'],
  ['an unknown service', { ':path': '/x.Y/Z' }, frame(Buffer.alloc(0)), 200, Code.Unimplemented, 'unknown service x.Y'],
  ['an unknown method', { ':path': '/s.T/Z' }, frame(Buffer.alloc(0)), 200, Code.Unimplemented, 'unknown method Z for service s.T'],
  ['a deadline in the past', { 'grpc-timeout': '0m' }, frame(Buffer.alloc(0)), 200, Code.DeadlineExceeded, 'context deadline exceeded'],
  [
    'a timeout without a unit',
    { 'grpc-timeout': '5x' },
    frame(Buffer.alloc(0)),
    400,
    Code.Internal,
    'malformed grpc-timeout: transport: timeout unit is not recognized: "5x"',
  ],
  [
    'a timeout that is too long',
    { 'grpc-timeout': '123456789m' },
    frame(Buffer.alloc(0)),
    400,
    Code.Internal,
    'malformed grpc-timeout: transport: timeout string is too long: "123456789m"',
  ],
  [
    'a timeout that is no number',
    { 'grpc-timeout': 'x5S' },
    frame(Buffer.alloc(0)),
    400,
    Code.Internal,
    'malformed grpc-timeout: strconv.ParseUint: parsing "x5": invalid syntax',
  ],
  [
    'binary metadata that is no base64',
    { 'a-bin': '@@@' },
    frame(Buffer.alloc(0)),
    400,
    Code.Internal,
    'malformed binary metadata "@@@" in header "a-bin": illegal base64 data at input byte 0',
  ],
]

test('every kind of bad request gets the status and the words of grpc-go', async () => {
  await using peer = await serve()
  for (const [name, headers, body, http, code, message] of ANSWERS) {
    assert.deepEqual(await send(peer.port, headers, body), { http, code, message }, name)
  }
  await peer.other()
})

test('a gzip bomb is ResourceExhausted and never unpacked past the limit', async () => {
  await using peer = await serve()
  const bomb = gzipSync(Buffer.alloc(128 * MIB))
  const before = memory()
  assert.deepEqual(await send(peer.port, { 'grpc-encoding': 'gzip' }, prefixed(1, bomb.length, bomb)), {
    http: 200,
    code: Code.ResourceExhausted,
    message: 'grpc: received message after decompression larger than max 4194304',
  })
  assert.ok(process.memoryUsage().external - before < 64 * MIB)
  await peer.other()
})

test('an HTTP/2 frame cut off by the end of the connection harms nobody', async () => {
  await using peer = await serve()
  for (const bytes of [
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/echo')).subarray(0, 20),
    Buffer.concat([
      h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/echo')),
      h2Frame(FRAME.DATA, 1, 1, frame(Buffer.alloc(90))).subarray(0, 50),
    ]),
  ]) {
    using raw = await RawHttp2.connect(peer.port)
    raw.send(bytes)
    await raw.until(({ type, flags }) => type === FRAME.SETTINGS && flags === FLAG.ACK)
    raw.socket.end()
    assert.equal(await raw.until(() => false), undefined)
  }
  await peer.other()
})

test('frames that are too large or no HTTP/2 at all end their connection only', async () => {
  await using peer = await serve()
  const oversized = h2Frame(FRAME.DATA, 0, 1, Buffer.alloc(20_000))
  for (const bytes of [oversized, Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), Buffer.alloc(64, 255)]) {
    using raw = await RawHttp2.connect(peer.port)
    raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/echo')), bytes)
    assert.equal(await raw.until(() => false), undefined)
    assert.ok(raw.frames.some(({ type }) => type === FRAME.GOAWAY))
  }
  await peer.other()
})

test('a message in pieces of one byte takes no more memory than its bytes', async () => {
  const arrived = Promise.withResolvers<number>()
  await using peer = await serve(
    {},
    {
      '/s.T/count': {
        kind: 'unary',
        handle(request) {
          arrived.resolve(request.length)
          return Buffer.alloc(0)
        },
      },
    },
  )
  using raw = await RawHttp2.connect(peer.port)
  const size = 200_000
  const bytes = prefixed(0, size, Buffer.alloc(size))
  raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/s.T/count')))
  const before = memory()
  for (let at = 0; at < bytes.length - 1; at += 2000)
    raw.send(
      ...Array.from({ length: Math.min(2000, bytes.length - 1 - at) }, (_, index) =>
        h2Frame(FRAME.DATA, 0, 1, bytes.subarray(at + index, at + index + 1)),
      ),
    )
  raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await raw.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  raw.frames.length = 0
  const held = memory() - before
  assert.ok(held < 4 * MIB, `${held} bytes held for a message of ${size}`)
  raw.send(h2Frame(FRAME.DATA, FLAG.END_STREAM, 1, bytes.subarray(-1)))
  assert.equal(await arrived.promise, size)
})

test('thousands of streams at once: those past the limit are refused, the others and other clients are served', async () => {
  const go = Promise.withResolvers<void>()
  let running = 0
  await using peer = await serve(
    { maxStreams: 500 },
    {
      '/s.T/wait': {
        kind: 'unary',
        async handle(request) {
          running++
          await go.promise
          return request
        },
      },
    },
  )
  // Before it has acknowledged the limit a client may not know it.
  using early = await RawHttp2.connect(peer.port)
  const head = grpcHead('/s.T/wait')
  const open = (id: number) => [
    h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, id, head),
    h2Frame(FRAME.DATA, FLAG.END_STREAM, id, frame(Buffer.from('x'))),
  ]
  for (let id = 1; id < 1100; id += 2) early.send(...open(id))
  await early.until(({ type, stream }) => type === FRAME.RST_STREAM && stream === 1099)
  const refused = early.frames.filter(({ type }) => type === FRAME.RST_STREAM)
  assert.equal(refused.length, 50)
  assert.ok(refused.every(({ payload }) => payload.readUInt32BE() === 7))
  assert.equal(running, 500)
  await peer.other()
  go.resolve()
  await early.until(() => early.frames.filter(({ type, flags }) => type === FRAME.HEADERS && flags & FLAG.END_STREAM).length === 500)
  // One that knows the limit and breaks it loses its connection.
  using late = await RawHttp2.connect(peer.port)
  await late.until(({ type }) => type === FRAME.SETTINGS)
  late.send(h2Frame(FRAME.SETTINGS, FLAG.ACK, 0))
  for (let id = 1; id < 1100; id += 2) late.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, id, head))
  assert.equal(await late.until(() => false), undefined)
  await peer.other()
})

test('streams that are opened and never fed hold little, and nothing once their connection is gone', async () => {
  let open = 0
  const none = Promise.withResolvers<void>()
  await using peer = await serve(
    {},
    {
      '/s.T/stream': {
        kind: 'stream',
        handle(stream) {
          open++
          stream.onClose = () => {
            if (--open === 0) none.resolve()
          }
        },
      },
    },
  )
  await peer.other()
  const raw = await RawHttp2.connect(peer.port)
  const head = grpcHead('/s.T/stream')
  const before = memory()
  for (let index = 0; index < 2000; index++) raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, index * 2 + 1, head))
  raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await raw.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  assert.equal(open, 2000)
  const each = (memory() - before) / 2000
  assert.ok(each < 16_384, `${each} bytes a stream`)
  await peer.other()
  raw.socket.destroy()
  await none.promise
})

test('rapid reset: a client that only opens and resets is cut off, the others go on', async () => {
  await using peer = await serve()
  using raw = await RawHttp2.connect(peer.port)
  const head = grpcHead('/s.T/echo')
  for (let id = 1; id < 40_000 && !raw.closed; id += 200) {
    const burst: Buffer[] = []
    for (let next = id; next < id + 200; next += 2)
      burst.push(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, next, head), h2Frame(FRAME.RST_STREAM, 0, next, uint32(8)))
    raw.send(...burst)
    if (id % 4000 === 1) await peer.other()
  }
  assert.equal(await raw.until(() => false), undefined)
  assert.ok(raw.frames.some(({ type }) => type === FRAME.GOAWAY))
  await peer.other()
})

test('a flood of headers is reset or ends its connection, whichever way it comes', async () => {
  await using peer = await serve({ maxHeaderSize: 16_384 })
  const large = { ...Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`x-${index}`, 'y'.repeat(8000)])) }
  const refused = await send(peer.port, large, frame(Buffer.alloc(0)))
  assert.equal(refused.http, 431)
  assert.equal(refused.code, Code.ResourceExhausted)
  // A block that never ends.
  using endless = await RawHttp2.connect(peer.port)
  endless.send(h2Frame(FRAME.HEADERS, 0, 1, grpcHead('/s.T/echo')))
  const before = memory()
  for (let index = 0; index < 2000 && !endless.closed; index++) {
    endless.send(h2Frame(FRAME.CONTINUATION, 0, 1, hpack([[`a-${index}`, 'b'.repeat(10_000)]])))
    if (index % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(await endless.until(() => false), undefined)
  assert.ok(memory() - before < 16 * MIB)
  await peer.other()
})

test('pings in a flood end their connection with ENHANCE_YOUR_CALM', async () => {
  await using peer = await serve()
  using raw = await RawHttp2.connect(peer.port)
  for (let count = 0; count < 4; count++) raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, count)))
  const goaway = await raw.until(({ type }) => type === FRAME.GOAWAY)
  assert.equal(goaway?.payload.readUInt32BE(4), 11)
  assert.equal(goaway?.payload.subarray(8).toString(), 'too_many_pings')
  assert.equal(await raw.until(() => false), undefined)
  await peer.other()
})

test('a client that asks for large replies and reads none holds a bounded amount of memory', async () => {
  let made = 0
  await using peer = await serve(
    {},
    {
      '/s.T/mib': {
        kind: 'unary',
        handle() {
          made++
          return Buffer.alloc(MIB, 1)
        },
      },
    },
  )
  await peer.other()
  using raw = await RawHttp2.connect(peer.port)
  raw.socket.pause()
  const before = memory()
  const head = grpcHead('/s.T/mib')
  // In turns, so that the server sees what it holds already before it takes more.
  for (let index = 0; index < 400 && !raw.closed; index++) {
    const id = index * 2 + 1
    raw.send(h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, id, head), h2Frame(FRAME.DATA, FLAG.END_STREAM, id, frame(Buffer.alloc(0))))
    if (index % 10 === 0) await peer.other()
  }
  await peer.other()
  const held = memory() - before
  assert.ok(made > 10, `only ${made} replies`)
  assert.ok(held < 130 * MIB, `${(held / MIB).toFixed(0)} MiB held, ${made} replies made`)
  await peer.other()
})
