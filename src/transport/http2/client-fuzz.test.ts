import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { FLAG, FRAME, h2Frame, hpack, uint32 } from '../../../test/http2-frames.ts'
import { Random } from '../../../test/random.ts'
import { handServer, type Outcome, type ServerEnd, settings, wholeReply } from './client-harness.ts'

// Random replies against the client. OUTRIDER_FUZZ_SEED=<number> repeats a run, OUTRIDER_FUZZ_SECONDS=<number> makes it longer.

const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 2.5) * 1000

const HEADS = [
  hpack([
    [':status', '200'],
    ['content-type', 'application/grpc'],
  ]),
  hpack([
    [':status', '103'],
    ['x-name', 'value'],
  ]),
  hpack([['grpc-status', '0']]),
  // An entry for the table, and a use of it.
  Buffer.concat([Buffer.from([0x88, 0x40, 1, 0x61, 1, 0x62]), Buffer.from([0x80 | 62])]),
]

/** A frame that fits where it comes, mostly. */
function frame(random: Random): Buffer {
  const id = random.int(6) === 0 ? random.int(30) : random.int(6) * 2 + 1
  const end = random.int(3) === 0 ? FLAG.END_STREAM : 0
  const block = HEADS[random.int(HEADS.length)] as Buffer
  switch (random.int(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return h2Frame(1, end | (random.int(10) > 0 ? FLAG.END_HEADERS : 0), id, random.int(8) === 0 ? random.mutate(block) : block)
    case 4:
    case 5:
      return h2Frame(0, end | (random.int(8) === 0 ? 8 : 0), id, random.bytes(random.size(16_384)))
    case 6:
      return h2Frame(8, 0, random.int(2) === 0 ? 0 : id, uint32(random.int(2 ** random.int(32))))
    case 7: {
      // Not how many streams it takes: a client that may open none has nothing to fear.
      const identifier = 1 + random.int(6)
      return settings([identifier === 3 ? 4 : identifier, random.int(2 ** random.int(32))])
    }
    case 8:
      return h2Frame(3, 0, id, uint32(random.int(14)))
    case 9:
      return random.int(4) === 0
        ? h2Frame(7, 0, 0, Buffer.concat([uint32(random.int(12)), uint32(random.int(3))]))
        : h2Frame(6, 0, 0, Buffer.alloc(8))
    case 10:
      return h2Frame(random.int(12), random.int(256), id, random.bytes(random.size(100)))
    default:
      return h2Frame(9, FLAG.END_HEADERS, id, block)
  }
}

test('no server, however broken, harms the client or its other connections', async (t) => {
  const mistakes: Error[] = []
  const watch = (warning: Error) => void mistakes.push(warning)
  process.on('warning', watch)
  const honest = (frame: { type: number; stream: number }, end: ServerEnd) => {
    if (frame.type === FRAME.HEADERS) end.send(wholeReply(frame.stream))
  }
  await using well = await handServer({ onFrame: honest })
  const choice = new Random(SEED)
  const until = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < until; rounds++) {
    const random = new Random((SEED + rounds) >>> 0)
    await using server = await handServer(random.int(20) === 0 ? { hello: random.bytes(random.size(100)) } : {})
    const outcomes: Promise<Outcome>[] = []
    for (let index = 0; index < 5; index++) {
      // Callers of all kinds: that read, that pause, that give up, that write on and on.
      const kind = choice.int(5)
      const { stream, outcome } = server.ask(choice.int(2) === 0 ? Buffer.from('x') : null, {
        ...(kind === 1 && { data: () => stream.pause() }),
        ...(kind === 2 && { head: () => stream.reset(8) }),
        ...(kind === 3 && { head: () => void stream.write(Buffer.alloc(100_000)), drained: () => stream.end() }),
      })
      if (kind === 1) outcome.then(() => stream.resume())
      outcomes.push(outcome)
    }
    const end = await server.end(0)
    const frames = Buffer.concat(Array.from({ length: 1 + random.int(60) }, () => frame(random)))
    const bytes = random.int(4) === 0 ? random.mutate(frames) : frames
    for (let at = 0; at < bytes.length && !end.closed; ) {
      const size = 1 + random.size(bytes.length - at)
      end.send(bytes.subarray(at, at + size))
      at += size
    }
    end.socket.end()
    if (random.int(2) === 0) await end.until(() => false)
    // Everything that was asked ends, and ends once; a caller that was told of the end hears nothing more.
    await server.pool.destroy()
    for (const { stream } of await Promise.all(outcomes)) assert.equal(stream.closed, true, `seed ${SEED}, round ${rounds}`)
    const { status, body } = await well.ask().outcome
    assert.deepEqual([status, String(body)], [200, 'done'], `seed ${SEED}, round ${rounds}`)
    assert.deepEqual(mistakes, [], `seed ${SEED}, round ${rounds}`)
  }
  process.off('warning', watch)
  assert.equal(well.ends.length, 1)
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
})
