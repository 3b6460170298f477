import assert from 'node:assert/strict'
import { createHash, randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { giveBack } from '../pieces.ts'
import { ask, LIMITS } from './client-harness.ts'
import { ClientPool } from './client-pool.ts'
import { serveHttp2, sink } from './harness.ts'

// Our client and our server with each other. OUTRIDER_FUZZ_SEED=<number> repeats a run, OUTRIDER_FUZZ_SECONDS=<number> makes it longer.

const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 1.5) * 1000

/** Pauses now and then, for a turn of the loop or a few. */
function hesitate(random: Random, stream: { pause(): void; resume(): void }): void {
  if (random.int(8) > 0) return
  stream.pause()
  let turns = random.int(4)
  const again = () => (turns-- > 0 ? setImmediate(again) : stream.resume())
  setImmediate(again)
}

test('whatever is written arrives, once and in its order, however both sides hesitate', async (t) => {
  const random = new Random(SEED)
  // An echo that hesitates, and waits where its client does. Both give every piece back: what came too early would be overwritten.
  await using server = await serveHttp2(
    (stream) => {
      stream.respond([':status', '200'])
      sink(stream, {
        data(chunk) {
          if (!stream.write(chunk, true)) stream.pause()
          else hesitate(random, stream)
        },
        requestEnd: () => stream.end(undefined, ['x-end', 'yes']),
        drained: () => stream.resume(),
      })
    },
    { streamWindow: 40_000 },
  )
  const until = performance.now() + MILLISECONDS
  let rounds = 0
  let total = 0
  for (; rounds === 0 || performance.now() < until; rounds++) {
    const pool = new ClientPool({ ...LIMITS, streamWindow: 20_000 + random.int(300_000) })
    const address = `127.0.0.1:${server.port}`
    const all = Array.from({ length: 1 + random.int(5) }, async () => {
      const sent = createHash('sha256')
      const got = createHash('sha256')
      let left = random.int(2_000_000)
      total += left
      const more = () => {
        while (left > 0) {
          const chunk = random.bytes(Math.min(left, 1 + random.size(500))) // Small ones by hand…
          const piece = random.int(4) > 0 ? Buffer.concat(Array.from({ length: 200 }, () => chunk)).subarray(0, left) : chunk // …and large ones.
          left -= piece.length
          sent.update(piece)
          if (!stream.write(piece)) return
        }
        stream.end()
      }
      const { stream, outcome } = ask(pool, address, null, {
        data(chunk) {
          got.update(chunk)
          giveBack(chunk)
          hesitate(random, stream)
        },
        drained: more,
      })
      more()
      const { trailers, stream: ended } = await outcome
      assert.equal(ended.failure, undefined, `seed ${SEED}, round ${rounds}`)
      assert.deepEqual(trailers, ['x-end', 'yes'])
      assert.equal(got.digest('hex'), sent.digest('hex'), `seed ${SEED}, round ${rounds}`)
    })
    await Promise.all(all)
    await pool.destroy()
  }
  t.diagnostic(`seed ${SEED}, ${rounds} rounds, ${total} bytes`)
})
