import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLAG, FRAME, h2Frame, hpack, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { head, reply, serveHttp2, sink, verdict, whole } from './harness.ts'
import { H2 } from './protocol.ts'

// What RFC 9113 forbids, one by one on real sockets: who breaks a rule loses the stream or the connection, with the right code.

const PRIORITY = 2
const PADDED = 8
const data = (id: number, size: number, flags = 0) => h2Frame(FRAME.DATA, flags, id, Buffer.alloc(size))
const priority = (on: number) => Buffer.concat([uint32(on), Buffer.from([16])])
const setting = (id: number, value: number) => {
  const out = Buffer.alloc(6)
  out.writeUInt16BE(id)
  out.writeUInt32BE(value, 2)
  return h2Frame(FRAME.SETTINGS, 0, 0, out)
}
const fields = (...list: (readonly [string, string])[]) => h2Frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, hpack(list))
const block = (hex: string) => h2Frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, Buffer.from(hex, 'hex'))
const POST = [':method', 'POST'] as const
const HTTP = [':scheme', 'http'] as const
const PATH = [':path', '/x'] as const

const CONNECTION_ERRORS: [string, number, Buffer[]][] = [
  ['DATA of no stream', H2.PROTOCOL, [data(0, 1)]],
  ['DATA of an idle stream', H2.PROTOCOL, [data(5, 1)]],
  ['DATA of a stream of the server', H2.PROTOCOL, [whole(5), data(2, 1)]],
  ['HEADERS of a stream of the server', H2.PROTOCOL, [head(2)]],
  ['HEADERS of no stream', H2.PROTOCOL, [head(0)]],
  ['HEADERS of a stream that was left out', H2.PROTOCOL, [head(5), head(3)]],
  ['RST_STREAM of an idle stream', H2.PROTOCOL, [h2Frame(FRAME.RST_STREAM, 0, 7, uint32(8))]],
  ['RST_STREAM of a wrong size', H2.FRAME_SIZE, [head(1), h2Frame(FRAME.RST_STREAM, 0, 1, Buffer.alloc(3))]],
  ['WINDOW_UPDATE of an idle stream', H2.PROTOCOL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 9, uint32(1))]],
  ['WINDOW_UPDATE of nothing', H2.PROTOCOL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0))]],
  ['WINDOW_UPDATE past 2^31-1', H2.FLOW_CONTROL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fffffff))]],
  ['SETTINGS of a stream', H2.PROTOCOL, [h2Frame(FRAME.SETTINGS, 0, 1)]],
  ['SETTINGS of a wrong size', H2.FRAME_SIZE, [h2Frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))]],
  ['SETTINGS acknowledged with content', H2.FRAME_SIZE, [h2Frame(FRAME.SETTINGS, FLAG.ACK, 0, Buffer.alloc(6))]],
  ['a window past 2^31-1', H2.FLOW_CONTROL, [setting(4, 0x80000000)]],
  [
    'a window that grows past 2^31-1 by SETTINGS',
    H2.FLOW_CONTROL,
    [head(1), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fff0000)), setting(4, 0x7fffffff)],
  ],
  ['a frame size below the least', H2.PROTOCOL, [setting(5, 100)]],
  ['ENABLE_PUSH of 2', H2.PROTOCOL, [setting(2, 2)]],
  ['PING of a stream', H2.PROTOCOL, [h2Frame(FRAME.PING, 0, 1, Buffer.alloc(8))]],
  ['PING of a wrong size', H2.FRAME_SIZE, [h2Frame(FRAME.PING, 0, 0, Buffer.alloc(7))]],
  ['PUSH_PROMISE', H2.PROTOCOL, [h2Frame(5, FLAG.END_HEADERS, 1, uint32(2))]],
  ['PRIORITY of no stream', H2.PROTOCOL, [h2Frame(PRIORITY, 0, 0, priority(1))]],
  ['PRIORITY of a wrong size', H2.FRAME_SIZE, [h2Frame(PRIORITY, 0, 1, Buffer.alloc(4))]],
  ['a stream that depends on itself', H2.PROTOCOL, [h2Frame(PRIORITY, 0, 1, priority(1))]],
  ['HEADERS too short for their priority', H2.FRAME_SIZE, [h2Frame(FRAME.HEADERS, FLAG.END_HEADERS | 0x20, 1, Buffer.alloc(4))]],
  ['more padding than frame', H2.PROTOCOL, [head(1), h2Frame(FRAME.DATA, PADDED, 1, Buffer.from([3, 0, 0]))]],
  ['padding without its length', H2.FRAME_SIZE, [head(1), h2Frame(FRAME.DATA, PADDED, 1)]],
  ['a continuation of nothing', H2.PROTOCOL, [h2Frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1)]],
  ['a header block that another frame breaks', H2.PROTOCOL, [head(1, [], 0), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8))]],
  ['a continuation of another stream', H2.PROTOCOL, [head(1, [], 0), h2Frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 3)]],
  ['a frame larger than we take', H2.FRAME_SIZE, [head(1), data(1, 16_385)]],
  ['HEADERS of a stream that has ended', H2.STREAM_CLOSED, [whole(1), h2Frame(FRAME.RST_STREAM, 0, 1, uint32(8)), whole(1)]],
  ['GOAWAY that is too short', H2.FRAME_SIZE, [h2Frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(7))]],
  ['HPACK: entry 0', H2.COMPRESSION, [block('80')]],
  ['HPACK: an entry that is not there', H2.COMPRESSION, [block('be')]],
  ['HPACK: a name that is not there', H2.COMPRESSION, [block('7f00')]],
  ['HPACK: an integer without an end', H2.COMPRESSION, [block('ffffffffffff7f')]],
  ['HPACK: a string longer than the block', H2.COMPRESSION, [block('0003616263ff80')]],
  ['HPACK: a table larger than allowed', H2.COMPRESSION, [block('3fe21f')]],
  ['HPACK: a table size after a field', H2.COMPRESSION, [block('8220')]],
  ['HPACK: the end of strings inside one', H2.COMPRESSION, [block('00016184ffffffff')]],
  ['HPACK: padding of eight bits', H2.COMPRESSION, [block('000161821fff')]],
  ['HPACK: padding of zeros', H2.COMPRESSION, [block('0001618118')]],
]

const STREAM_ERRORS: [string, number, Buffer[]][] = [
  ['a window past 2^31-1', H2.FLOW_CONTROL, [head(1), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fffffff))]],
  ['WINDOW_UPDATE of nothing', H2.PROTOCOL, [head(1), h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0))]],
  ['a second head', H2.PROTOCOL, [head(1), head(1)]],
  ['pseudo headers in trailers', H2.PROTOCOL, [head(1), whole(1)]],
  ['a name in upper case', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['X-Name', 'a'])]],
  ['a name with a space', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['x name', 'a'])]],
  ['a name of nothing', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['', 'a'])]],
  ['a line break in a value', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['x-name', 'a\r\nb: c'])]],
  ['a zero byte in a path', H2.PROTOCOL, [fields(POST, HTTP, [':path', '/\0'])]],
  ['a pseudo header after the others', H2.PROTOCOL, [fields(POST, HTTP, ['x', 'a'], PATH)]],
  ['a pseudo header twice', H2.PROTOCOL, [fields(POST, HTTP, PATH, [':path', '/y'])]],
  ['a pseudo header of replies', H2.PROTOCOL, [fields(POST, HTTP, PATH, [':status', '200'])]],
  ['a pseudo header that nobody knows', H2.PROTOCOL, [fields(POST, HTTP, PATH, [':protocol', 'websocket'])]],
  ['no method', H2.PROTOCOL, [fields(HTTP, PATH)]],
  ['no scheme', H2.PROTOCOL, [fields(POST, PATH)]],
  ['no path', H2.PROTOCOL, [fields(POST, HTTP)]],
  ['an empty path', H2.PROTOCOL, [fields(POST, HTTP, [':path', ''])]],
  ['connection', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['connection', 'close'])]],
  ['transfer-encoding', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['transfer-encoding', 'chunked'])]],
  ['upgrade', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['upgrade', 'h2c'])]],
  ['te that is not trailers', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['te', 'gzip'])]],
  ['two lengths', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['content-length', '0'], ['content-length', '1'])]],
  ['a length that is none', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['content-length', '-1'])]],
  ['less than its length', H2.PROTOCOL, [fields(POST, HTTP, PATH, ['content-length', '5'])]],
  ['more than its length', H2.PROTOCOL, [head(1, [['content-length', '5']]), data(1, 6)]],
  ['DATA past the window of its stream', H2.FLOW_CONTROL, [head(1), ...Array.from({ length: 17 }, () => data(1, 16_384))]],
]

test('what breaks the rules of a connection ends it with the right code', async () => {
  // Nobody reads, so that no window grows, and nobody answers.
  await using server = await serveHttp2((stream) => stream.pause())
  for (const [what, code, frames] of CONNECTION_ERRORS)
    assert.deepEqual(await verdict(server.port, ...frames), { type: 'goaway', code }, what)
})

test('what breaks the rules of a stream resets it with the right code', async () => {
  await using server = await serveHttp2((stream) => stream.pause())
  for (const [what, code, frames] of STREAM_ERRORS) assert.deepEqual(await verdict(server.port, ...frames), { type: 'reset', code }, what)
})

test('what looks odd and is allowed is served', async () => {
  await using server = await serveHttp2()
  const served = { type: 'served', code: 0 }
  const allowed: [string, Buffer[]][] = [
    ['a PRIORITY frame of an idle stream', [h2Frame(PRIORITY, 0, 9, priority(1)), whole(1)]],
    ['a frame of an unknown type', [h2Frame(200, 255, 3, Buffer.alloc(10)), whole(1)]],
    ['an unknown setting', [setting(0xabc, 1), whole(1)]],
    ['the largest window', [setting(4, 0x7fffffff), whole(1)]],
    ['numbers that are left out', [whole(77)]],
    ['trailers', [head(1), h2Frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, hpack([['x-last', 'a']]))]],
    ['a padded body', [head(1), h2Frame(FRAME.DATA, PADDED | FLAG.END_STREAM, 1, Buffer.from([2, 7, 0, 0]))]],
    ['the body that was announced', [head(1, [['content-length', '5']]), data(1, 5, FLAG.END_STREAM)]],
  ]
  for (const [what, frames] of allowed) assert.deepEqual(await verdict(server.port, ...frames), served, what)
})

test('a client must begin with the preface and SETTINGS', async () => {
  await using server = await serveHttp2()
  for (const first of [Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), Buffer.alloc(50, 0xff)]) {
    using bare = await RawHttp2.bare(server.port)
    bare.send(first)
    assert.equal((await bare.until(({ type }) => type === FRAME.GOAWAY))?.payload.readUInt32BE(4), H2.PROTOCOL)
    assert.equal(await bare.until(() => false), undefined)
  }
  using early = await RawHttp2.bare(server.port)
  early.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), whole(1))
  assert.equal((await early.until(({ type }) => type === FRAME.GOAWAY))?.payload.readUInt32BE(4), H2.PROTOCOL)
})

test('DATA on a stream that the client has ended is STREAM_CLOSED, on one that we have reset it is not looked at', async () => {
  await using server = await serveHttp2((stream) => sink(stream, { data: () => stream.reset(H2.CANCEL), requestEnd() {} }))
  assert.deepEqual(await verdict(server.port, whole(1), data(1, 1)), { type: 'reset', code: H2.STREAM_CLOSED })
  using raw = await RawHttp2.connect(server.port)
  raw.send(head(1), data(1, 10), data(1, 10), data(1, 10, FLAG.END_STREAM), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8, 1)))
  await raw.until(({ type, payload }) => type === FRAME.PING && payload[0] === 1)
  const resets = raw.frames.filter(({ type }) => type === FRAME.RST_STREAM)
  assert.deepEqual(
    resets.map(({ payload }) => payload.readUInt32BE()),
    [H2.CANCEL],
  )
})

test('after a GOAWAY what still comes on new streams harms none of the calls under way', async () => {
  const first = Promise.withResolvers<import('./stream.ts').Http2Stream>()
  await using server = await serveHttp2((stream) => first.resolve(stream))
  using raw = await RawHttp2.connect(server.port)
  raw.send(head(1))
  const stream = await first.promise
  server.connections[0]?.close()
  raw.send(head(3), data(3, 100), h2Frame(FRAME.WINDOW_UPDATE, 0, 3, uint32(5)), data(3, 0, FLAG.END_STREAM), data(1, 1, FLAG.END_STREAM))
  sink(stream, { requestEnd: () => reply(stream) })
  const end = await raw.until(({ type, flags, stream: id }) => id === 1 && type === FRAME.HEADERS && (flags & FLAG.END_STREAM) > 0)
  assert.ok(end, 'the call under way was lost')
  const goaway = raw.frames.filter(({ type }) => type === FRAME.GOAWAY)
  assert.deepEqual(
    goaway.map(({ payload }) => [payload.readUInt32BE(0), payload.readUInt32BE(4)]),
    [[1, 0]],
  )
  assert.equal(await raw.until(() => false), undefined)
})
