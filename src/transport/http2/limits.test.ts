import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:http2'
import { test } from 'node:test'
import { FLAG, FRAME, h2Frame, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { head, reply, serveHttp2, sink, verdict, whole } from './harness.ts'
import { H2 } from './protocol.ts'
import type { Http2Stream } from './stream.ts'

// What a client may cost: each flood that HTTP/2 servers have fallen for has its bound here.

const MIB = 1 << 20
const data = (id: number, size: number, flags = 0) => h2Frame(FRAME.DATA, flags, id, Buffer.alloc(size))
const settings = (id: number, value: number) => {
  const out = Buffer.alloc(6)
  out.writeUInt16BE(id)
  out.writeUInt32BE(value, 2)
  return h2Frame(FRAME.SETTINGS, 0, 0, out)
}
const many = (count: number, frame: (index: number) => Buffer) => Buffer.concat(Array.from({ length: count }, (_, index) => frame(index)))
const calm = { type: 'goaway', code: H2.CALM }

test('floods end their connection: continuations, settings, priorities, empty data, resets', async () => {
  await using server = await serveHttp2(() => {})
  const empty = h2Frame(FRAME.CONTINUATION, 0, 1)
  assert.deepEqual(
    await verdict(
      server.port,
      head(1, [], 0),
      many(1000, () => empty),
    ),
    calm,
    'continuations of nothing',
  )
  const junk = h2Frame(FRAME.CONTINUATION, 0, 1, Buffer.alloc(16_000))
  assert.deepEqual(
    await verdict(
      server.port,
      head(1, [], 0),
      many(20, () => junk),
    ),
    calm,
    'continuations without an end',
  )
  assert.deepEqual(
    await verdict(
      server.port,
      many(1000, (index) => settings(4, 70_000 + index)),
    ),
    calm,
    'SETTINGS',
  )
  const other = h2Frame(2, 0, 1, Buffer.from([0, 0, 0, 9, 1]))
  assert.deepEqual(
    await verdict(
      server.port,
      many(20_000, () => other),
    ),
    calm,
    'PRIORITY',
  )
  assert.deepEqual(
    await verdict(
      server.port,
      many(20_000, () => h2Frame(99, 0, 0)),
    ),
    calm,
    'unknown frames',
  )
  assert.deepEqual(
    await verdict(
      server.port,
      head(1),
      many(20_000, () => data(1, 0)),
    ),
    calm,
    'DATA without content',
  )
  const padding = h2Frame(FRAME.DATA, 8, 1, Buffer.from([1, 0]))
  assert.deepEqual(
    await verdict(
      server.port,
      head(1),
      many(20_000, () => padding),
    ),
    calm,
    'DATA of padding only',
  )
})

test('rapid reset: streams that are opened and reset are counted, whoever is made to reset them', async () => {
  let opened = 0
  let open = 0
  await using server = await serveHttp2((stream) => {
    opened++
    open++
    sink(stream, { streamClosed: () => void open-- })
  })
  const ways: Record<string, (id: number) => Buffer> = {
    'the client resets': (id) => h2Frame(FRAME.RST_STREAM, 0, id, uint32(8)),
    'we reset for a window of 0': (id) => h2Frame(FRAME.WINDOW_UPDATE, 0, id, uint32(0)),
    'we reset for a window too large': (id) => h2Frame(FRAME.WINDOW_UPDATE, 0, id, uint32(0x7fffffff)),
    'we reset for a second head': (id) => head(id),
  }
  for (const [what, reset] of Object.entries(ways)) {
    opened = 0
    using raw = await RawHttp2.connect(server.port)
    raw.send(many(1000, (index) => Buffer.concat([head(index * 2 + 1), reset(index * 2 + 1)])))
    const goaway = await raw.until(({ type }) => type === FRAME.GOAWAY)
    assert.equal(goaway?.payload.readUInt32BE(4), H2.CALM, what)
    assert.ok(opened > 190 && opened < 220, `${what}: ${opened} streams ran`)
    assert.equal(open, 0, what)
  }
})

test('streams past the limit are refused, and nothing of them is kept', async () => {
  let opened = 0
  await using server = await serveHttp2(() => void opened++)
  using raw = await RawHttp2.connect(server.port)
  raw.send(
    many(150, (index) => head(index * 2 + 1)),
    h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
  )
  await raw.until(({ type }) => type === FRAME.PING)
  const refused = raw.frames.filter(({ type, payload }) => type === FRAME.RST_STREAM && payload.readUInt32BE() === H2.REFUSED)
  assert.deepEqual([opened, refused.length, server.connections[0]?.streams.size], [100, 50, 100])
})

test('a client that asks and never reads is not read any more; when it reads again it has every answer', async () => {
  let served = 0
  const name = 'x'.repeat(2000)
  await using server = await serveHttp2((stream) => {
    served++
    // A reply in its head alone, which no window holds back.
    stream.respond([':status', '200', 'x-name', name], true)
  })
  using raw = await RawHttp2.connect(server.port)
  raw.socket.pause()
  const count = 10_000
  let sent = 0
  const paused = new Promise<void>((resolve) => {
    const next = () => {
      for (; sent < count; sent++) {
        if (raw.socket.write(whole(sent * 2 + 1))) continue
        sent++
        raw.socket.once('drain', next)
        break
      }
    }
    next()
    // The server has stopped reading when its own end of the socket says so.
    const watch = () => {
      const [connection] = server.connections
      if (connection?.output.stalled) resolve()
      else setImmediate(watch)
    }
    watch()
  })
  await paused
  const unsent = server.connections[0]?.output.unsent ?? 0
  assert.ok(unsent < 1.2 * MIB, `${unsent} bytes of answers wait`)
  assert.ok(served < count)
  raw.socket.resume()
  const end = await raw.until(({ type, stream }) => type === FRAME.HEADERS && stream === count * 2 - 1)
  assert.ok(end)
  assert.equal(served, count)
})

test('pings and settings that nobody reads the answers of take a bounded amount of memory', async () => {
  await using server = await serveHttp2()
  using raw = await RawHttp2.connect(server.port)
  raw.socket.pause()
  const ping = many(1000, () => h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  const stalled = Promise.withResolvers<void>()
  const push = () => {
    if (server.connections[0]?.output.stalled) stalled.resolve()
    else raw.socket.write(ping, () => setImmediate(push))
  }
  push()
  await stalled.promise
  assert.ok((server.connections[0]?.output.unsent ?? 0) < 1.2 * MIB)
})

test('what slow handlers leave unread is bounded for the whole connection, and goes on when they read', async () => {
  const streams: Http2Stream[] = []
  let got = 0
  await using server = await serveHttp2(
    (stream) => {
      stream.pause()
      sink(stream, {
        data(chunk) {
          got += chunk.length
        },
        requestEnd: () => reply(stream),
      })
      streams.push(stream)
    },
    { maxStreams: 1000 },
  )
  const session = connect(`http://127.0.0.1:${server.port}`, { maxSessionMemory: 1000 })
  const count = 200
  const size = 250 << 10
  const ends = Array.from({ length: count }, async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/x' })
    stream.end(Buffer.alloc(size))
    stream.resume()
    await once(stream, 'close')
  })
  // 200 streams of 250 KiB are 49 MiB: the connection holds 32 MiB and a window of 4.
  const held = () => (server.connections[0]?.bytesRead ?? 0) / MIB
  await once(session, 'connect')
  const turn = () => new Promise<void>((resolve) => session.ping(() => setImmediate(resolve)))
  for (let last = 0, quiet = 0; quiet < 20; last = held()) {
    await turn()
    // A ping is no data.
    quiet = held() - last < 0.001 && held() > 30 ? quiet + 1 : 0
  }
  assert.ok(held() < 37, `${held()} MiB were read`)
  // Streams that are let go make room for the rest.
  for (let next = 0; next < count; next++) {
    while (!streams[next]) await turn()
    streams[next]?.resume()
  }
  await Promise.all(ends)
  assert.equal(got, count * size)
  session.close()
})

test('a body in pieces of one byte waits in memory of its size, not of its pieces', async () => {
  const opened = Promise.withResolvers<Http2Stream>()
  await using server = await serveHttp2((stream) => {
    stream.pause()
    opened.resolve(stream)
  })
  using raw = await RawHttp2.connect(server.port)
  const before = process.memoryUsage()
  raw.send(
    head(1),
    many(200_000, () => data(1, 1)),
    h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
  )
  await raw.until(({ type }) => type === FRAME.PING)
  const stream = await opened.promise
  const chunks: number[] = []
  sink(stream, { data: (chunk) => void chunks.push(chunk.length) })
  stream.resume()
  assert.equal(
    chunks.reduce((sum, length) => sum + length, 0),
    200_000,
  )
  // In pieces that a reader may pause between, and not much smaller.
  assert.ok(chunks.length >= 13 && chunks.length < 30, `${chunks.length} pieces`)
  assert.ok(process.memoryUsage().arrayBuffers - before.arrayBuffers < 16 * MIB)
})

test('what comes past the window of the connection ends it', async () => {
  await using server = await serveHttp2((stream) => stream.pause(), { maxStreams: 1000 })
  // 240 KiB a stream: past the bound of 32 MiB nothing is given back, and this client sends on.
  const body = (id: number) => many(15, () => data(id, 16_384))
  const frames = many(200, (index) => Buffer.concat([head(index * 2 + 1), body(index * 2 + 1)]))
  assert.deepEqual(await verdict(server.port, frames), { type: 'goaway', code: H2.FLOW_CONTROL })
})

test('heads and trailers larger than a frame go out in several, and their values break no lines', async () => {
  const large = 'v'.repeat(40_000)
  await using server = await serveHttp2((stream) =>
    sink(stream, {
      requestEnd() {
        stream.respond([':status', '200', 'X-Large', large, 'x-lines', ' a\r\nb: c\0', 'connection', 'close', 'x-wide', '\u010a日'])
        stream.end(Buffer.from('body'), ['x-trailer', large])
      },
    }),
  )
  const session = connect(`http://127.0.0.1:${server.port}`, { settings: { maxHeaderListSize: 200_000 } })
  const stream = session.request({ ':method': 'POST', ':path': '/x' })
  stream.end()
  stream.resume()
  const trailers = once(stream, 'trailers')
  const [headers] = await once(stream, 'response')
  assert.equal(headers['x-large'], large)
  assert.equal(headers['x-lines'], 'a  b: c')
  assert.equal(headers.connection, undefined)
  assert.equal(Buffer.from(headers['x-wide'], 'latin1').toString(), '\u010a日')
  assert.equal((await trailers)[0]['x-trailer'], large)
  session.close()
})

test('nothing is sent after the end of a reply, whatever its handler does', async () => {
  await using server = await serveHttp2((stream) => {
    stream.respond([':status', '200'])
    stream.respond([':status', '500'])
    stream.end(Buffer.from('once'), ['x-end', 'first'])
    stream.write(Buffer.from('twice'))
    stream.end(undefined, ['x-end', 'second'])
  })
  using raw = await RawHttp2.connect(server.port)
  raw.send(head(1))
  await raw.until(({ type }) => type === FRAME.RST_STREAM)
  const sent = raw.frames.filter(({ stream }) => stream === 1)
  assert.deepEqual(
    sent.map(({ type }) => type),
    [FRAME.HEADERS, FRAME.DATA, FRAME.HEADERS, FRAME.RST_STREAM],
  )
  assert.match(String(sent[2]?.payload), /first/)
})

test('windows hold both ways: a client gets no byte more than it asked for, whatever it asks', async () => {
  await using server = await serveHttp2((stream) => sink(stream, { requestEnd: () => reply(stream, 'x'.repeat(1000)) }))
  using raw = await RawHttp2.connect(server.port, [[4, 0]])
  const bytes = () => raw.frames.reduce((sum, { type, payload }) => sum + (type === FRAME.DATA ? payload.length : 0), 0)
  const settle = async (mark: number) => {
    raw.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, mark)))
    await raw.until(({ type, payload }) => type === FRAME.PING && payload[0] === mark)
  }
  raw.send(whole(1))
  await settle(1)
  assert.equal(bytes(), 0)
  raw.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(10)))
  await settle(2)
  assert.equal(bytes(), 10)
  raw.send(settings(4, 100))
  await settle(3)
  assert.equal(bytes(), 110)
  // Smaller than what is used already: the window is negative until it grows again.
  raw.send(settings(4, 50), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(50)))
  await settle(4)
  assert.equal(bytes(), 110)
  raw.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(900)))
  await raw.until(({ type, flags }) => type === FRAME.HEADERS && (flags & FLAG.END_STREAM) > 0)
  assert.equal(bytes(), 1000)
})

test('a client that reads slowly has the whole reply although the connection is told to end', async () => {
  const size = 8 * MIB
  const opened = Promise.withResolvers<Http2Stream>()
  await using server = await serveHttp2((stream) => {
    sink(stream, {})
    opened.resolve(stream)
  })
  using raw = await RawHttp2.connect(server.port, [[4, 0x7fffffff]])
  raw.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fff0000)), whole(1))
  reply(await opened.promise, 'x'.repeat(size))
  raw.socket.pause()
  server.connections[0]?.close()
  raw.socket.resume()
  assert.equal(await raw.until(() => false), undefined)
  assert.equal(
    raw.frames.reduce((sum, { type, payload }) => sum + (type === FRAME.DATA ? payload.length : 0), 0),
    size,
  )
})

test('a mistake in a handler ends its connection and is told, the others go on', async () => {
  const mistake = new Error('a mistake in the test')
  await using server = await serveHttp2((stream) => {
    if (stream.headers['x-bad']) throw mistake
    sink(stream, { requestEnd: () => reply(stream) })
  })
  const warned = once(process, 'warning')
  assert.deepEqual(await verdict(server.port, head(1, [['x-bad', '1']])), { type: 'goaway', code: H2.INTERNAL })
  assert.equal((await warned)[0], mistake)
  assert.deepEqual(await verdict(server.port, whole(1)), { type: 'served', code: 0 })
})
