import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { HttpCallError } from './errors.ts'
import { type ParserLimits, ReplyParser } from './reply-parser.ts'

// OUTRIDER_FUZZ_SEED=<number> repeats a run, OUTRIDER_FUZZ_SECONDS=<number> makes it longer.
const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 1.5) * 1000

interface Read {
  status?: number
  headers?: IncomingHttpHeaders
  body: string
  clean?: boolean
  error?: string
}

interface Given extends Partial<ParserLimits> {
  bodiless?: boolean
  eof?: boolean
  shared?: boolean
}

/** What a parser makes of one reply that comes in these pieces. */
function read(pieces: readonly Buffer[], given: Given = {}): Read {
  const { bodiless = false, eof = false, shared = false, maxHeaderSize = 65_536, shortBodies = 0 } = given
  const heard: Read = { body: '' }
  const chunks: Buffer[] = []
  const parser = new ReplyParser(
    {
      onHead({ status, headers }) {
        heard.status = status
        heard.headers = headers
      },
      onBody: (chunk) => void chunks.push(chunk),
      onEnd(clean) {
        assert.equal(heard.clean, undefined, 'one end')
        heard.clean = clean
      },
    },
    { maxHeaderSize, shortBodies },
  )
  parser.begin(bodiless)
  const memory = Buffer.alloc(70_000)
  try {
    for (const piece of pieces) {
      if (shared) {
        piece.copy(memory)
        parser.push(memory, piece.length, true)
        memory.fill(0xee)
      } else parser.push(piece, piece.length, false)
    }
    if (eof) parser.eof()
  } catch (error) {
    assert.ok(error instanceof HttpCallError, String(error))
    heard.error = error.message
  }
  return { ...heard, body: Buffer.concat(chunks).toString('latin1') }
}

const bytes = (text: string) => [...Buffer.from(text, 'latin1')].map((byte) => Buffer.from([byte]))
const whole = (text: string) => [Buffer.from(text, 'latin1')]

const OK = 'HTTP/1.1 200 OK\r\n'
const GOOD: readonly [name: string, reply: string, want: Read, given?: Given][] = [
  ['a length', `${OK}Content-Length: 5\r\n\r\nhello`, { status: 200, body: 'hello', clean: true }],
  ['a length of nothing', `${OK}Content-Length: 0\r\n\r\n`, { status: 200, body: '', clean: true }],
  ['the same length twice', `${OK}Content-Length: 2\r\ncontent-length: 2\r\n\r\nhi`, { status: 200, body: 'hi', clean: true }],
  ['chunks', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n`, { status: 200, body: 'hello!', clean: true }],
  [
    'chunk sizes in hex',
    `${OK}Transfer-Encoding: Chunked\r\n\r\n00A\r\n0123456789\r\nb\r\nabcdefghijk\r\n0\r\n\r\n`,
    { status: 200, body: '0123456789abcdefghijk', clean: true },
  ],
  ['trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n`, { status: 200, body: 'x', clean: true }],
  ['a body until the end', `${OK}\r\nall of it`, { status: 200, body: 'all of it', clean: false }, { eof: true }],
  ['no reason', 'HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n', { status: 404, body: '', clean: true }],
  ['close', `${OK}connection: close\r\ncontent-length: 1\r\n\r\nx`, { status: 200, body: 'x', clean: false }],
  ['several words of Connection', `${OK}Connection: x-a, Close\r\ncontent-length: 1\r\n\r\nx`, { status: 200, body: 'x', clean: false }],
  ['1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx', { status: 200, body: 'x', clean: false }],
  [
    '1.0 that stays open',
    'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\ncontent-length: 1\r\n\r\nx',
    { status: 200, body: 'x', clean: true },
  ],
  [
    'interim replies',
    `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n${OK}content-length: 1\r\n\r\nx`,
    { status: 200, body: 'x', clean: true },
  ],
  ['204 with a length', 'HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n', { status: 204, body: '', clean: true }],
  ['304 with a length', 'HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n', { status: 304, body: '', clean: true }],
  ['HEAD with a length', `${OK}content-length: 5\r\n\r\n`, { status: 200, body: '', clean: true }, { bodiless: true }],
  ['HEAD with chunks', `${OK}transfer-encoding: chunked\r\n\r\n`, { status: 200, body: '', clean: true }, { bodiless: true }],
  [
    'a short body, where that is allowed',
    `${OK}content-length: 999\r\n\r\n"ok"`,
    { status: 200, body: '"ok"', clean: false },
    { eof: true, shortBodies: 100 },
  ],
]

for (const [name, reply, want, given] of GOOD)
  test(`reads ${name}, whole and byte by byte, from memory of its own or shared`, () => {
    for (const pieces of [whole(reply), bytes(reply)])
      for (const shared of [false, true]) {
        const { headers: _, ...heard } = read(pieces, { ...given, shared })
        assert.deepEqual(heard, want)
      }
  })

const BAD: readonly [name: string, reply: string, given?: Given][] = [
  ['an upgrade nobody asked for', 'HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ['no status line', 'hello world, this is a shell\r\n\r\n'],
  ['another protocol', 'HTTP/2 200 OK\r\n\r\n'],
  ['another minor version', 'HTTP/1.2 200 OK\r\n\r\n'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
  ['a status below 100', 'HTTP/1.1 099 OK\r\n\r\n'],
  ['LF alone', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['LF alone in one line', `${OK}X: a\nContent-Length: 0\r\n\r\n`],
  ['CR alone', `${OK}X: a\rContent-Length: 0\r\n\r\n`],
  ['CR CR LF', `${OK}X: a\r\r\n\r\n`],
  ['NUL in a value', `${OK}X: a\0b\r\n\r\n`],
  ['a control character in a value', `${OK}X: a\x1bb\r\n\r\n`],
  ['a folded line', `${OK}X: a\r\n b\r\n\r\n`],
  ['a blank before the colon', `${OK}Content-Length : 5\r\n\r\nhello`],
  ['a blank before the name', `${OK} Content-Length: 5\r\n\r\nhello`],
  ['a line without a colon', `${OK}Content-Length 5\r\n\r\nhello`],
  ['an empty name', `${OK}: 5\r\n\r\nhello`],
  ['two lengths', `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
  ['a list of lengths', `${OK}Content-Length: 5, 5\r\n\r\nhello`],
  ['a sign before the length', `${OK}Content-Length: +5\r\n\r\nhello`],
  ['a length in hex', `${OK}Content-Length: 0x5\r\n\r\nhello`],
  ['a length past every number', `${OK}Content-Length: 99999999999999999999\r\n\r\nhello`],
  ['an empty length', `${OK}Content-Length:\r\n\r\nhello`],
  ['a length before an encoding', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['a length after an encoding', `${OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`],
  ['an encoding twice', `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['an unknown encoding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['an encoding hidden by a tab', `${OK}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
  ['an encoding in 1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a chunk without a size', `${OK}Transfer-Encoding: chunked\r\n\r\n\r\nx`],
  ['a chunk size with a sign', `${OK}Transfer-Encoding: chunked\r\n\r\n-1\r\nx`],
  ['a chunk size past every number', `${OK}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx`],
  ['a chunk size ended by LF', `${OK}Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n`],
  ['LF in an extension', `${OK}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n`],
  ['a chunk longer than its size', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n`],
  ['a chunk ended by LF', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n`],
  ['an endless extension', `${OK}Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(5000)}\r\nx\r\n0\r\n\r\n`],
  ['endless trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n${'x: y\r\n'.repeat(20_000)}\r\n`],
  ['a folded trailer', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n`],
  ['a head past its bound', `${OK}${`X: ${'y'.repeat(100)}\r\n`.repeat(20)}\r\n`, { maxHeaderSize: 1000 }],
  ['too many fields', `${OK}${'a:\r\n'.repeat(1001)}\r\n`],
  ['endless interim replies', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(40)],
  ['a cut head', `${OK}Content-Le`, { eof: true }],
  ['a cut body', `${OK}Content-Length: 5\r\n\r\nhell`, { eof: true }],
  ['a cut body in chunks', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, { eof: true, shortBodies: 100 }],
  [
    'a cut body that is longer than what is let pass',
    `${OK}Content-Length: 500\r\n\r\n${'x'.repeat(101)}`,
    { eof: true, shortBodies: 100 },
  ],
]

for (const [name, reply, given] of BAD)
  test(`refuses ${name}, whole and byte by byte`, () => {
    for (const pieces of [whole(reply), bytes(reply)]) {
      const heard = read(pieces, given)
      assert.ok(heard.error, JSON.stringify(heard))
      assert.equal(heard.clean, undefined)
    }
  })

test('a server that never ends a line rightly is refused at once, not waited for', () => {
  assert.match(String(read(whole('HTTP/1.1 200 OK\nX: y\n')).error), /CR LF/)
  assert.match(String(read(whole('SSH-2.0-OpenSSH')).error), /status line/)
})

test('bytes beyond a reply end the connection: they answer no later request', () => {
  const { clean, body } = read(whole(`${OK}content-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n`))
  assert.deepEqual([clean, body], [false, 'hi'])
  assert.equal(read(whole(`${OK}content-length: 5\r\n\r\nwrong`), { bodiless: true }).clean, false)
  assert.equal(read(whole(`${OK}transfer-encoding: chunked\r\n\r\n0\r\n\r\nX`)).clean, false)
})

test('names of headers are lower case, several values a list, and no name reaches the prototype', () => {
  const { headers } = read(
    whole(
      `${OK}Set-Cookie: a\r\nset-cookie: b\r\nX-Latin: \xfc \r\n__proto__: p\r\nconstructor: c\r\nconstructor: d\r\ncontent-length: 0\r\n\r\n`,
    ),
  )
  assert.deepEqual(Object.entries(headers ?? {}), [
    ['set-cookie', ['a', 'b']],
    ['x-latin', '\xfc'],
    ['__proto__', 'p'],
    ['constructor', ['c', 'd']],
  ])
})

test(`any split of any reply is read alike, and broken ones harm nothing (seed ${SEED})`, (t) => {
  const random = new Random(SEED)
  const until = performance.now() + MILLISECONDS
  let rounds = 0
  for (; performance.now() < until; rounds++) {
    const [, reply, , given] = GOOD[random.int(GOOD.length)] as (typeof GOOD)[number]
    const sound = Buffer.from(random.int(4) === 0 ? longReply(random) : reply, 'latin1')
    const input = random.int(2) === 0 ? sound : random.mutate(sound)
    const pieces: Buffer[] = []
    for (let at = 0; at < input.length; ) {
      const size = 1 + random.size(Math.min(60_000, input.length - at))
      pieces.push(input.subarray(at, at + size))
      at += size
    }
    const expected = read([input], given)
    const heard = read(pieces, { ...given, shared: random.int(2) === 0 })
    assert.deepEqual(
      [heard.status, heard.body, failed(heard)],
      [expected.status, expected.body, failed(expected)],
      `${JSON.stringify(input.toString('latin1').slice(0, 500))} in ${pieces.map((piece) => piece.length)}`,
    )
  }
  t.diagnostic(`${rounds} replies`)
})

/** Bytes after a whole reply are refused where they come alone, and make an unclean end where they come with it. */
function failed({ error, clean }: Read): boolean {
  return error !== undefined && clean === undefined
}

function longReply(random: Random): string {
  const fields = Array.from({ length: random.int(60) }, (_, i) => `X-${i}: ${'v'.repeat(random.int(100))}\r\n`).join('')
  const body = 'b'.repeat(random.size(30_000))
  if (random.int(2) === 0) return `${OK}${fields}Content-Length: ${body.length}\r\n\r\n${body}`
  let chunks = ''
  for (let at = 0; at < body.length; ) {
    const piece = body.slice(at, at + 1 + random.size(9_000))
    chunks += `${piece.length.toString(16)}\r\n${piece}\r\n`
    at += piece.length
  }
  return `${OK}${fields}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`
}
