import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLAG, FRAME, type Http2Frame, h2Frame, hpack, uint32 } from '../../../test/http2-frames.ts'
import { data, fields, handServer, replyHead, settings, wholeReply } from './client-harness.ts'
import { H2 } from './protocol.ts'

const END = FLAG.END_HEADERS | FLAG.END_STREAM
const PADDED = 8
const PUSH_PROMISE = 5
const { PROTOCOL, FLOW_CONTROL, FRAME_SIZE, COMPRESSION, CALM } = H2

/** What the client says first to frames that answer its request: an error of the connection or of the stream, or nothing and it is served. */
async function verdict(frames: readonly Buffer[], hello?: Buffer): Promise<unknown> {
  await using server = await handServer(hello ? { hello } : {})
  const { outcome } = server.ask()
  const end = await server.end(0)
  if (!hello) await end.until(({ type }) => type === FRAME.HEADERS)
  end.send(...frames)
  const said = end.until(({ type }: Http2Frame) => type === FRAME.GOAWAY || type === FRAME.RST_STREAM)
  const served = outcome.then(async ({ status, stream }) => (stream.failure || stream.remoteCode ? await said : status))
  const first = await Promise.race([said, served])
  if (typeof first === 'number') return first
  if (!first) return 'closed'
  return first.type === FRAME.GOAWAY ? ['goaway', first.payload.readUInt32BE(4)] : ['reset', first.payload.readUInt32BE()]
}

const CONNECTION_ERRORS: [string, number, Buffer[]][] = [
  ['a push', PROTOCOL, [h2Frame(PUSH_PROMISE, FLAG.END_HEADERS, 1, Buffer.concat([uint32(2), hpack([[':path', '/']])]))]],
  ['HEADERS of an idle stream', PROTOCOL, [replyHead(3)]],
  ['HEADERS of a stream of its own', PROTOCOL, [replyHead(2)]],
  ['HEADERS of no stream', PROTOCOL, [replyHead(0)]],
  ['DATA of an idle stream', PROTOCOL, [data(3, 1)]],
  ['RST_STREAM of an idle stream', PROTOCOL, [h2Frame(FRAME.RST_STREAM, 0, 5, uint32(8))]],
  ['WINDOW_UPDATE of an idle stream', PROTOCOL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 5, uint32(1))]],
  ['WINDOW_UPDATE of 0', PROTOCOL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0))]],
  ['a window too large', FLOW_CONTROL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fffffff))]],
  ['a first window too large', FLOW_CONTROL, [settings([4, 0x80000000])]],
  [
    'a first window that makes a stream too large',
    FLOW_CONTROL,
    [h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fff0000)), settings([4, 0x7fffffff])],
  ],
  ['pushes that are allowed by the server', PROTOCOL, [settings([2, 1])]],
  ['frames that are too small', PROTOCOL, [settings([5, 100])]],
  ['SETTINGS of five bytes', FRAME_SIZE, [h2Frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))]],
  ['SETTINGS of a stream', PROTOCOL, [h2Frame(FRAME.SETTINGS, 0, 1)]],
  ['PING of seven bytes', FRAME_SIZE, [h2Frame(FRAME.PING, 0, 0, Buffer.alloc(7))]],
  ['PING of a stream', PROTOCOL, [h2Frame(FRAME.PING, 0, 1, Buffer.alloc(8))]],
  ['GOAWAY of a stream', PROTOCOL, [h2Frame(FRAME.GOAWAY, 0, 1, Buffer.alloc(8))]],
  ['a frame larger than allowed', FRAME_SIZE, [data(1, 16_385)]],
  ['a block that cannot be read', COMPRESSION, [h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, Buffer.from([0xff, 0xff, 0xff, 0xff]))]],
  ['something between the parts of a block', PROTOCOL, [replyHead(1, [], 0), data(1, 1)]],
  ['a continuation of nothing', PROTOCOL, [h2Frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1)]],
  [
    'a block without an end',
    CALM,
    [replyHead(1, [], 0), ...Array.from({ length: 20 }, () => h2Frame(FRAME.CONTINUATION, 0, 1, Buffer.alloc(16_000)))],
  ],
  ['more padding than frame', PROTOCOL, [replyHead(1), h2Frame(FRAME.DATA, PADDED, 1, Buffer.from([9, 0]))]],
  ['heads before the answer without end', CALM, [Buffer.concat(Array.from({ length: 20_000 }, () => fields(1, [[':status', '100']])))]],
  ['empty DATA without end', CALM, [replyHead(1), Buffer.concat(Array.from({ length: 20_000 }, () => data(1, 0)))]],
]

const STREAM_ERRORS: [string, number, Buffer[]][] = [
  ['no status', PROTOCOL, [fields(1, [['x', 'y']])]],
  ['a status that is none', PROTOCOL, [fields(1, [[':status', 'abc']])]],
  ['a status below 100', PROTOCOL, [fields(1, [[':status', '099']])]],
  [
    'two statuses',
    PROTOCOL,
    [
      fields(1, [
        [':status', '200'],
        [':status', '200'],
      ]),
    ],
  ],
  [
    'a pseudo header of requests',
    PROTOCOL,
    [
      fields(1, [
        [':status', '200'],
        [':path', '/'],
      ]),
    ],
  ],
  [
    'a pseudo header after the others',
    PROTOCOL,
    [
      fields(1, [
        ['x', 'y'],
        [':status', '200'],
      ]),
    ],
  ],
  ['a name in upper case', PROTOCOL, [replyHead(1, [['X-Name', 'a']])]],
  ['a line break in a value', PROTOCOL, [replyHead(1, [['x', 'a\r\nb: c']])]],
  ['a field of a connection', PROTOCOL, [replyHead(1, [['connection', 'close']])]],
  ['DATA before the head', PROTOCOL, [data(1, 1)]],
  ['a head before the answer that ends it', PROTOCOL, [fields(1, [[':status', '103']], END)]],
  ['101', PROTOCOL, [fields(1, [[':status', '101']])]],
  ['trailers that do not end it', PROTOCOL, [replyHead(1), fields(1, [['x', 'y']])]],
  ['a pseudo header in trailers', PROTOCOL, [replyHead(1), fields(1, [[':status', '200']], END)]],
  ['less than its length', PROTOCOL, [replyHead(1, [['content-length', '5']]), data(1, 4, FLAG.END_STREAM)]],
  ['more than its length', PROTOCOL, [replyHead(1, [['content-length', '5']]), data(1, 6)]],
  ['a huge list of headers', CALM, [replyHead(1, [], 0), ...hugeList()]],
  ['WINDOW_UPDATE of 0', PROTOCOL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0))]],
  ['a window too large', FLOW_CONTROL, [h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fffffff))]],
]

/** Few bytes that name one long entry of the table many times. */
function hugeList(): Buffer[] {
  const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 127, 0xa1, 0x1e]), Buffer.alloc(4000, 0x61)])
  return [h2Frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, Buffer.concat([entry, Buffer.alloc(100, 0x80 | 62)]))]
}

test('a server that breaks the rules of a connection loses it, and is told the right code', async () => {
  for (const [what, code, frames] of CONNECTION_ERRORS) assert.deepEqual(await verdict(frames), ['goaway', code], what)
})

test('a reply that breaks the rules of a stream is reset with the right code', async () => {
  for (const [what, code, frames] of STREAM_ERRORS) assert.deepEqual(await verdict(frames), ['reset', code], what)
})

test('what does not begin with SETTINGS is no server', async () => {
  for (const hello of [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8))])
    assert.deepEqual(await verdict([], hello), ['goaway', hello.length > 20 ? FRAME_SIZE : PROTOCOL])
})

test('what looks odd and is allowed is served', async () => {
  const allowed: [string, Buffer[]][] = [
    [
      'heads before the answer',
      [
        fields(1, [[':status', '100']]),
        fields(1, [
          [':status', '103'],
          ['link', '</a>'],
        ]),
        wholeReply(1),
      ],
    ],
    ['padding', [replyHead(1), h2Frame(FRAME.DATA, PADDED | FLAG.END_STREAM, 1, Buffer.from([2, 7, 0, 0]))]],
    [
      'a head in three parts',
      [
        replyHead(1, [], 0),
        h2Frame(FRAME.CONTINUATION, 0, 1, hpack([['a', 'b']])),
        h2Frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, hpack([['c', 'd']])),
        data(1, 1, FLAG.END_STREAM),
      ],
    ],
    [
      'a head with a priority',
      [h2Frame(FRAME.HEADERS, END | 32, 1, Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), hpack([[':status', '200']])]))],
    ],
    ['a head that is all', [replyHead(1, [['grpc-status', '0']], END)]],
    ['frames of unknown types and settings', [h2Frame(99, 255, 1, Buffer.alloc(9)), settings([77, 1]), wholeReply(1)]],
    [
      'ALTSVC, PRIORITY and a ping',
      [h2Frame(2, 0, 7, Buffer.from([0, 0, 0, 1, 1])), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)), wholeReply(1)],
    ],
    ['an end that the server does not want the rest after', [wholeReply(1), h2Frame(FRAME.RST_STREAM, 0, 1, uint32(0))]],
    ['the length that was announced', [replyHead(1, [['content-length', '4']]), data(1, 4, FLAG.END_STREAM)]],
  ]
  for (const [what, frames] of allowed) assert.equal(await verdict(frames), 200, what)
})

test('pings are answered, SETTINGS confirmed', async () => {
  await using server = await handServer()
  server.ask()
  const end = await server.end(0)
  end.send(h2Frame(FRAME.PING, 0, 0, Buffer.from('12345678')), settings([4, 10]))
  const pong = await end.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  assert.equal(String(pong?.payload), '12345678')
  const confirmed = () => end.frames.filter(({ type, flags }) => type === FRAME.SETTINGS && flags === FLAG.ACK).length
  await end.until(() => confirmed() === 2)
  assert.equal(confirmed(), 2)
})

test('what still comes on a stream that was given up harms nobody, and its windows are given back', async () => {
  await using server = await handServer()
  const given = server.ask()
  const end = await server.end(0)
  await end.until(({ type }) => type === FRAME.HEADERS)
  given.stream.reset(H2.CANCEL)
  const reset = await end.until(({ type }) => type === FRAME.RST_STREAM)
  assert.equal(reset?.payload.readUInt32BE(), H2.CANCEL)
  const other = server.ask()
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 3)
  // More than the window of the connection, were it not given back.
  end.send(replyHead(1))
  for (let index = 0; index < 300; index++) end.send(data(1, 16_384))
  end.send(fields(1, [['x', 'y']], END), wholeReply(3))
  const { status, body } = await other.outcome
  assert.deepEqual([status, String(body)], [200, 'done'])
  assert.ok(
    end.frames.some(({ type, stream, payload }) => type === FRAME.WINDOW_UPDATE && stream === 0 && payload.readUInt32BE() === 2 << 20),
  )
})

test('a reply that is complete is read to its end although its server wants the rest of the request no more', async () => {
  await using server = await handServer()
  const { stream, outcome } = server.ask(null)
  const end = await server.end(0)
  await end.until(({ type }) => type === FRAME.HEADERS)
  stream.pause()
  stream.write(Buffer.from('some'))
  end.send(wholeReply(1), h2Frame(FRAME.RST_STREAM, 0, 1, uint32(H2.NO_ERROR)), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await end.until(({ type }) => type === FRAME.PING)
  assert.equal(stream.closed, false)
  stream.resume()
  const { body, trailers } = await outcome
  assert.deepEqual([String(body), trailers], ['done', ['x-end', 'yes']])
})

test('a request that is answered before its end is reset without an error', async () => {
  await using server = await handServer()
  const { outcome } = server.ask(null)
  const end = await server.end(0)
  await end.until(({ type }) => type === FRAME.HEADERS)
  end.send(wholeReply(1))
  assert.equal(String((await outcome).body), 'done')
  assert.equal((await end.until(({ type }) => type === FRAME.RST_STREAM))?.payload.readUInt32BE(), H2.NO_ERROR)
})

test('a reader that pauses and goes on in the middle of a piece has the pieces one after another', async () => {
  await using server = await handServer()
  let inside = 0
  let most = 0
  let size = 0
  const { stream, outcome } = server.ask(Buffer.from('x'), {
    data(chunk) {
      most = Math.max(most, ++inside)
      size += chunk.length
      stream.pause()
      stream.resume()
      inside--
    },
  })
  const end = await server.end(0)
  await end.until(({ type }) => type === FRAME.HEADERS)
  stream.pause()
  end.send(replyHead(1), ...Array.from({ length: 10 }, () => data(1, 16_384)), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await end.until(({ type }) => type === FRAME.PING)
  stream.resume()
  assert.deepEqual([size, most], [163_840, 1])
  end.send(data(1, 5, FLAG.END_STREAM))
  assert.equal((await outcome).status, 200)
})
