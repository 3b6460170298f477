import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { connect as connectHttp2 } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { FLAG, FRAME, grpcHead, h2Frame, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { createGrpcClient } from './client.ts'
import { FrameReader, frame, wholeMessage } from './frames.ts'
import * as table from './message.ts'
import { createGrpcServer, unary } from './server.ts'
import { GrpcStatus } from './status.ts'
import { ProtoReader, WireError } from './wire.ts'

// Random input against everything that reads bytes of strangers. OUTRIDER_FUZZ_SEED=<number> repeats a run,
// OUTRIDER_FUZZ_SECONDS=<number> makes each property search longer than its second.

const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 0.9) * 1000
const LIMIT = 1 << 16
/** No input of these sizes takes longer, even on a machine that does other things too. */
const PATIENCE = 2000

/** mulberry32: small, and the same everywhere for one seed. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 up to, not including, `below`. */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }

  /** Mostly small, now and then around a power of two. */
  size(max: number): number {
    if (this.int(3) > 0) return Math.min(max, this.int(20))
    return Math.min(max, Math.max(0, 2 ** this.int(Math.ceil(Math.log2(max + 1)) + 1) + this.int(3) - 1))
  }

  bytes(length: number): Buffer {
    const out = Buffer.alloc(length)
    for (let index = 0; index < length; index++) out[index] = this.int(256)
    return out
  }

  text(): string {
    const alphabet = ['a', 'B', '0', ' ', '%', '\0', 'ü', '日', '😀', '\ufffd', '\ud7ff']
    return Array.from({ length: this.size(300) }, () => alphabet[this.int(alphabet.length)]).join('')
  }

  /** The same bytes with something wrong somewhere. */
  mutate(bytes: Buffer): Buffer {
    let out = Buffer.from(bytes)
    for (let count = 1 + this.int(4); count > 0; count--) {
      const at = this.int(out.length + 1)
      switch (this.int(5)) {
        case 0:
          if (at < out.length) out[at] = this.int(256)
          break
        case 1:
          if (at < out.length) out[at] = (out[at] as number) ^ (1 << this.int(8))
          break
        case 2:
          out = out.subarray(0, at)
          break
        case 3:
          out = Buffer.concat([out.subarray(0, at), this.bytes(1 + this.int(12)), out.subarray(at)])
          break
        default:
          out = Buffer.concat([out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + this.int(12)))])
      }
    }
    return out
  }

  /** The bytes in pieces, some of them empty. */
  split(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = []
    const most = 1 + this.size(bytes.length + 1)
    for (let at = 0; at < bytes.length; ) {
      const length = this.int(most + 1)
      pieces.push(bytes.subarray(at, at + length))
      at += length
    }
    return pieces
  }
}

/** Runs `once` with new randomness until the time is over; a failure names the seed of its own round. */
function property(t: TestContext, once: (random: Random) => void): void {
  const end = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < end; rounds++) {
    const seed = (SEED + rounds) >>> 0
    const started = performance.now()
    try {
      once(new Random(seed))
    } catch (error) {
      throw new Error(`OUTRIDER_FUZZ_SEED=${seed} repeats this in its first round`, { cause: error })
    }
    assert.ok(performance.now() - started < PATIENCE, `OUTRIDER_FUZZ_SEED=${seed} takes too long`)
  }
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
}

/** Some messages, each plain or packed, and their bytes on the wire. */
function someFrames(random: Random): { messages: Buffer[]; wire: Buffer } {
  const messages = Array.from({ length: random.int(6) }, () => random.bytes(random.size(2000)))
  const frames = messages.map((message) => {
    if (random.int(4) > 0) return frame(message)
    const packed = frame(gzipSync(message))
    packed[0] = 1
    return packed
  })
  return { messages, wire: Buffer.concat(frames) }
}

test('frames: however a stream is split, the same messages come out', (t) =>
  property(t, (random) => {
    const { messages, wire } = someFrames(random)
    const found: Buffer[] = []
    const reader = new FrameReader(LIMIT, (message) => found.push(Buffer.from(message)), 'gzip')
    for (const piece of random.split(wire)) reader.push(piece)
    assert.deepEqual(found, messages)
    assert.equal(reader.partial, false)
  }))

test('frames: broken streams end in a GrpcStatus or in messages within the limit, nothing else', (t) =>
  property(t, (random) => {
    const wire = random.int(4) === 0 ? random.bytes(random.size(300)) : random.mutate(someFrames(random).wire)
    const reader = new FrameReader(LIMIT, (message) => assert.ok(message.length <= LIMIT), ['gzip', '', 'br'][random.int(3)])
    try {
      wholeMessage(wire, LIMIT)
      for (const piece of random.split(wire)) reader.push(piece)
    } catch (error) {
      assert.ok(error instanceof GrpcStatus, String(error))
    }
  }))

const Inner: table.MessageType<unknown, unknown> = table.message('fuzz.Inner', {
  text: table.string(1),
  again: table.nested(2, (): table.MessageType<unknown, unknown> => Inner),
  list: table.repeated(table.nested(3, (): table.MessageType<unknown, unknown> => Inner)),
})
const Outer = table.message('fuzz.Outer', {
  text: table.string(1),
  bytes: table.bytes(2),
  flag: table.bool(3),
  small: table.int32(4),
  count: table.uint32(5),
  large: table.int64(6),
  ratio: table.double(7),
  labels: table.map(8),
  inner: table.nested(9, Inner),
  perhaps: table.optional(table.string(10)),
  words: table.repeated(table.string(15)),
  numbers: table.repeated(table.int32(16)),
  by: table.mapOf(2047, Inner),
})

function inner(random: Random, depth: number): unknown {
  return {
    text: random.text(),
    again: depth > 0 && random.int(2) === 0 ? inner(random, depth - 1) : undefined,
    list: Array.from({ length: depth > 0 ? random.int(3) : 0 }, () => inner(random, depth - 1)),
  }
}

/** An object without a prototype, as decoded maps are. */
function bare<T>(random: Random, value: () => T): Record<string, T> {
  const out = Object.create(null) as Record<string, T>
  for (let count = random.int(4); count > 0; count--) out[random.int(9) === 0 ? '__proto__' : random.text()] = value()
  return out
}

function outer(random: Random): table.MessageOf<typeof Outer> {
  const signed = (bits: number) => (random.int(2) === 0 ? 1 : -1) * Math.floor(random.int(2 ** 32) * 2 ** (bits - 33))
  return {
    text: random.text(),
    bytes: random.bytes(random.size(2000)),
    flag: random.int(2) === 0,
    small: signed(32) || 0,
    count: random.int(2 ** 32),
    large: signed(53) || 0,
    ratio: random.int(1000) / 7,
    labels: bare(random, () => random.text()),
    inner: random.int(2) === 0 ? inner(random, 4) : undefined,
    perhaps: random.int(2) === 0 ? random.text() : undefined,
    words: Array.from({ length: random.int(4) }, () => random.text()),
    numbers: Array.from({ length: random.int(4) }, () => signed(32) || 0),
    by: bare(random, () => inner(random, 1)),
  }
}

test('protobuf: what is encoded is decoded again', (t) =>
  property(t, (random) => {
    const value = outer(random)
    assert.deepEqual(Outer.decode(Outer.encode(value)), value)
  }))

/** Reads everything without a table, as the codecs by hand do. */
function walk(reader: ProtoReader, random: Random, depth: number): void {
  while (reader.next()) {
    const how = random.int(6)
    if (how === 0) reader.string()
    else if (how === 1) reader.bytes()
    else if (how === 2 && depth < 8) walk(reader.message(), random, depth + 1)
    else if (how === 3) reader.int32()
    else if (how === 4) reader.entry(Object.create(null) as Record<string, string>)
    else reader.skip()
  }
}

test('protobuf: broken messages throw WireError and nothing else; what is taken stays the same', (t) =>
  property(t, (random) => {
    const bytes = random.int(4) === 0 ? random.bytes(random.size(300)) : random.mutate(Outer.encode(outer(random)))
    try {
      const once = Outer.decode(bytes)
      // What the tables cannot say exactly is a number past 2^53; those are not said again.
      if (Number.isSafeInteger(once.large) && once.count <= 0xffffffff) assert.deepEqual(Outer.decode(Outer.encode(once)), once)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
    }
    try {
      walk(new ProtoReader(bytes), random, 0)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
    }
  }))

test('protobuf: messages nested without end are refused, not followed until the stack is gone', () => {
  let bytes: Buffer = Buffer.alloc(0)
  for (let depth = 0; depth < 100; depth++) {
    const reader = Inner.decode(bytes)
    assert.ok(reader)
    const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7]
    bytes = Buffer.concat([Buffer.from([0x12, ...length]), bytes])
  }
  // Each level says that all that follows is inside it.
  const deep = Buffer.alloc(600_000)
  for (let at = 0; at < deep.length; at += 5) {
    const left = deep.length - at - 5
    deep.set([0x12, (left & 127) | 128, ((left >> 7) & 127) | 128, ((left >> 14) & 127) | 128, (left >> 21) & 127], at)
  }
  assert.throws(() => Inner.decode(deep), /200 deep/)
  assert.throws(
    () => new ProtoReader(Buffer.alloc(100_000, 0x0b)).next() && walk(new ProtoReader(Buffer.alloc(100_000, 0x0b)), new Random(5), 0),
    WireError,
  )
})

test('a server answers every broken request on a real socket and serves others meanwhile', async (t) => {
  const server = createGrpcServer({
    methods: new Map([['/f.F/take', unary(Outer.decode, Outer.encode, (value) => value)]]),
    maxMessageSize: LIMIT,
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  await using client = createGrpcClient()
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  const end = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < end; rounds++) {
    const random = new Random((SEED + rounds) >>> 0)
    const body = random.mutate(frame(Outer.encode(outer(random))))
    const packed = random.int(4) === 0
    const headers = {
      ':method': 'POST',
      ':path': '/f.F/take',
      'content-type': 'application/grpc',
      ...(packed ? { 'grpc-encoding': 'gzip' } : {}),
    }
    const status = await new Promise<unknown>((resolve) => {
      const stream = session.request(headers)
      let found: unknown
      stream.on('response', (head) => {
        found = head['grpc-status']
      })
      stream.on('trailers', (trailers) => {
        found = trailers['grpc-status']
      })
      stream.on('error', () => {})
      stream.on('close', () => resolve(found))
      stream.resume()
      for (const piece of random.split(body)) stream.write(piece)
      stream.end()
    })
    assert.match(String(status), /^\d+$/, `OUTRIDER_FUZZ_SEED=${SEED + rounds}`)
  }
  session.destroy()
  const value = outer(new Random(SEED))
  const reply = await client.unary(`127.0.0.1:${port}`, '/f.F/take', Outer.encode(value))
  assert.deepEqual(Outer.decode(reply), value)
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
  await server.close(0)
})

test('broken HTTP/2 ends its own connection at most', async (t) => {
  const server = createGrpcServer({ methods: new Map([['/f.F/take', { kind: 'unary', handle: (request) => request }]]) })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  await using client = createGrpcClient()
  const end = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < end; rounds++) {
    const random = new Random((SEED + rounds) >>> 0)
    using raw = await RawHttp2.connect(port)
    const call = [
      h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, grpcHead('/f.F/take')),
      h2Frame(FRAME.DATA, FLAG.END_STREAM, 1, frame(random.bytes(random.size(500)))),
      h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
      h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(random.int(2 ** 31))),
      h2Frame(FRAME.SETTINGS, 0, 0, random.bytes(6)),
    ]
    raw.send(random.mutate(Buffer.concat(call)))
    raw.socket.end()
    await raw.until(() => false)
    if (rounds % 20 === 0) assert.equal(String(await client.unary(`127.0.0.1:${port}`, '/f.F/take', Buffer.from('well'))), 'well')
  }
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
  await server.close(0)
})
