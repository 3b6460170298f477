import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { FLAG, h2Frame, hpack, RawHttp2, uint32 } from '../../../test/http2-frames.ts'
import { Random } from '../../../test/random.ts'
import { head, reply, serveHttp2, sink, verdict } from './harness.ts'

// Random connections against the server. OUTRIDER_FUZZ_SEED=<number> repeats a run, OUTRIDER_FUZZ_SECONDS=<number> makes it longer.

const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 2.5) * 1000

const HEAD = hpack([
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/x'],
  ['x-name', 'value'],
])

/** A frame that fits where it comes, mostly. */
function frame(random: Random): Buffer {
  const id = random.int(6) === 0 ? random.int(8) : random.int(12) * 2 + 1
  const end = random.int(3) === 0 ? FLAG.END_STREAM : 0
  switch (random.int(10)) {
    case 0:
    case 1:
    case 2:
      return h2Frame(1, end | (random.int(10) > 0 ? FLAG.END_HEADERS : 0), id, random.int(5) === 0 ? random.mutate(HEAD) : HEAD)
    case 3:
    case 4:
      return h2Frame(0, end | (random.int(8) === 0 ? 8 : 0), id, random.bytes(random.size(16_384)))
    case 5:
      return h2Frame(8, 0, random.int(2) === 0 ? 0 : id, uint32(random.int(2 ** random.int(32))))
    case 6: {
      const setting = Buffer.alloc(6)
      setting.writeUInt16BE(1 + random.int(6))
      setting.writeUInt32BE(random.int(2 ** random.int(32)), 2)
      return h2Frame(4, random.int(4) === 0 ? FLAG.ACK : 0, 0, setting)
    }
    case 7:
      return h2Frame(3, 0, id, uint32(random.int(14)))
    case 8:
      return h2Frame(random.int(12), random.int(256), id, random.bytes(random.size(100)))
    default:
      return h2Frame(9, FLAG.END_HEADERS, id, HEAD)
  }
}

test('no connection, however broken, harms the server or the others', async (t) => {
  const mistakes: Error[] = []
  const watch = (warning: Error) => void mistakes.push(warning)
  process.on('warning', watch)
  let open = 0
  const choice = new Random(SEED)
  await using server = await serveHttp2((stream) => {
    open++
    // Handlers of all kinds: that answer at once, at the end, that wait, read slowly or reset.
    const kind = stream.headers['x-well'] ? 0 : choice.int(6)
    sink(stream, {
      data() {
        if (kind === 1) stream.pause()
        if (kind === 2) stream.reset(8)
        if (kind === 3) stream.write(Buffer.alloc(100_000))
      },
      requestEnd() {
        if (kind !== 4 && !stream.closed) reply(stream)
      },
      drained() {
        if (kind === 3) reply(stream)
      },
      streamClosed: () => void open--,
    })
    if (kind === 0) reply(stream)
    if (kind === 1) setImmediate(() => stream.resume())
    if (kind === 5) stream.pause()
  })
  const before = process.memoryUsage()
  const until = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < until; rounds++) {
    const random = new Random((SEED + rounds) >>> 0)
    using raw = random.int(20) === 0 ? await RawHttp2.bare(server.port) : await RawHttp2.connect(server.port)
    const frames = Buffer.concat(Array.from({ length: 1 + random.int(60) }, () => frame(random)))
    const bytes = random.int(4) === 0 ? random.mutate(frames) : frames
    for (let at = 0; at < bytes.length && !raw.closed; ) {
      const size = 1 + random.size(bytes.length - at)
      raw.send(bytes.subarray(at, at + size))
      at += size
    }
    raw.socket.end()
    await raw.until(() => false)
    if (rounds % 50 === 0) assert.ok(await verdict(server.port, head(1, [['x-well', '1']])))
  }
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
  for (const connection of server.connections) if (!connection.closed) connection.destroy()
  while (server.connections.some(({ closed }) => !closed)) await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', watch)
  assert.deepEqual([mistakes, open], [[], 0], `seed ${SEED}`)
  assert.equal(
    server.connections.reduce((sum, { queued, streams }) => sum + queued + streams.size, 0),
    0,
    'what waited for clients that are gone is gone too',
  )
  assert.ok(process.memoryUsage().arrayBuffers - before.arrayBuffers < 100 << 20)
})
