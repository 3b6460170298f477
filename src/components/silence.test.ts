import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Silence, type SilenceOptions } from './silence.ts'

/** A server that answers what it was asked when it is told to. */
function make(options: Partial<SilenceOptions> = {}) {
  const server = {
    there: true,
    probes: 0,
    cuts: [] as Error[],
    answer: Promise.withResolvers<string>(),
  }
  const silence = new Silence({
    after: 30,
    limit: 10,
    again: 5,
    async probe() {
      server.probes++
      if (!server.there) throw new Error('no answer')
    },
    cut: (error) => server.cuts.push(error),
    unanswered: (error) => (error as Error).message === 'late',
    explain: (reason, waited) => new Error(`silent for ${waited} ms: ${(reason as Error).message}`),
    ...options,
  })
  return { server, silence }
}

test('a slow statement of a server that is there is waited for', async () => {
  const { server, silence } = make()
  using _ = silence
  const slow = silence.during(() => server.answer.promise)
  while (server.probes < 2) await new Promise(setImmediate)
  server.answer.resolve('late')
  assert.equal(await slow, 'late')
  assert.deepEqual(server.cuts, [])
})

test('what waits for a silent server fails with the reason, what comes then fails at once, and it is asked until it answers', async () => {
  const { server, silence } = make()
  using _ = silence
  server.there = false
  const open = [1, 2, 3].map(() => silence.during(() => server.answer.promise))
  for (const outcome of await Promise.allSettled(open)) {
    assert.ok(outcome.status === 'rejected')
    assert.match(String(outcome.reason), /silent for 40 ms: no answer/)
  }
  assert.equal(server.cuts.length, 1)
  let asked = false
  await assert.rejects(
    silence.during(async () => {
      asked = true
    }),
    /silent for 40 ms/,
  )
  assert.equal(asked, false)
  server.there = true
  while (silence.error) await new Promise(setImmediate)
  assert.equal(await silence.during(async () => 'back'), 'back')
})

test('operations that are answered while others wait are a sign of life', async () => {
  const { server, silence } = make()
  using _ = silence
  const slow = silence.during(() => server.answer.promise)
  for (const end = performance.now() + 150; performance.now() < end; ) await silence.during(() => new Promise(setImmediate))
  assert.equal(server.probes, 0)
  server.answer.resolve('late')
  await slow
})

test('operations that fail for want of an answer are no sign of life', async () => {
  const { server, silence } = make()
  using _ = silence
  server.there = false
  const slow = silence.during(() => server.answer.promise)
  const late = async () => {
    await new Promise(setImmediate)
    throw new Error('late')
  }
  while (!silence.error) await silence.during(late).catch(() => {})
  await assert.rejects(slow, /silent for 40 ms/)
})

test('an answer that comes while the server is asked counts, whatever becomes of the question', async () => {
  const asked = Promise.withResolvers<void>()
  const question = Promise.withResolvers<void>()
  const { server, silence } = make({
    probe() {
      asked.resolve()
      return question.promise
    },
  })
  using _ = silence
  const slow = silence.during(() => server.answer.promise)
  await asked.promise
  server.answer.resolve('just in time')
  assert.equal(await slow, 'just in time')
  question.reject(new Error('no answer'))
  await new Promise(setImmediate)
  assert.equal(silence.error, undefined)
  assert.deepEqual(server.cuts, [])
})
