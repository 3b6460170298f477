import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { FLAG, FRAME, h2Frame, uint32 } from '../../../test/http2-frames.ts'
import { ask, data, handServer, LIMITS, replyHead, type ServerEnd, settings, wholeReply } from './client-harness.ts'
import { ClientPool, QueueFull } from './client-pool.ts'
import { H2 } from './protocol.ts'

const goaway = (last: number, code = 0, text = '') =>
  h2Frame(FRAME.GOAWAY, 0, 0, Buffer.concat([uint32(last), uint32(code), Buffer.from(text)]))
const heads = (end: ServerEnd) => end.frames.filter(({ type }) => type === FRAME.HEADERS)
const isHead = ({ type }: { type: number }) => type === FRAME.HEADERS

test('a full connection gets company: no server has more streams at once than it takes', async () => {
  await using server = await handServer({ hello: settings([3, 2]) })
  const asked = Array.from({ length: 5 }, () => server.ask())
  const ends = await Promise.all([0, 1, 2].map((index) => server.end(index)))
  await Promise.all(ends.map((end) => end.until(isHead)))
  while (ends.reduce((sum, end) => sum + heads(end).length, 0) < 5)
    await Promise.race(ends.map((end) => end.until(() => heads(end).length === 2)))
  assert.deepEqual(ends.map((end) => heads(end).length).sort(), [1, 2, 2])
  for (const end of ends) for (const { stream } of heads(end)) end.send(wholeReply(stream))
  for (const { outcome } of asked) assert.equal((await outcome).status, 200)
})

test('where there may be no further connection requests wait in their order, a bounded number of them', async () => {
  await using server = await handServer({ hello: settings([3, 1]) }, { maxConnections: 1, maxWaiting: 2 })
  const first = server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  const order: number[] = []
  const waiting = [1, 2].map((number) => server.ask(Buffer.from(`${number}`), { head: () => void order.push(number) }))
  const refused = await server.ask().outcome
  assert.ok(refused.stream.failure instanceof QueueFull)
  assert.match(refused.stream.failure.message, /2 calls wait already for 127\.0\.0\.1:\d+, which takes 1 at once on each of 1 connections/)
  assert.equal(refused.stream.unseen, true)
  assert.equal(heads(end).length, 1)
  end.send(wholeReply(1))
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 3)
  end.send(wholeReply(3))
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 5)
  end.send(wholeReply(5))
  await Promise.all([first.outcome, ...waiting.map(({ outcome }) => outcome)])
  assert.deepEqual(order, [1, 2])
  assert.equal(server.ends.length, 1)
})

test('one that waits and is given up leaves the queue, and is never sent', async () => {
  await using server = await handServer({ hello: settings([3, 1]) }, { maxConnections: 1, maxWaiting: 1 })
  server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  const given = server.ask()
  given.stream.reset(H2.CANCEL)
  assert.equal((await given.outcome).stream.unseen, true)
  // Its place in the queue is free again.
  const next = server.ask()
  end.send(wholeReply(1))
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 3)
  end.send(wholeReply(3))
  assert.equal((await next.outcome).status, 200)
  assert.equal(heads(end).length, 2)
})

test('a server that takes more streams later, or none for a while, is heeded', async () => {
  await using server = await handServer({ hello: settings([3, 0]) })
  const asked = server.ask()
  const end = await server.end(0)
  await end.until(({ type, flags }) => type === FRAME.SETTINGS && flags === FLAG.ACK)
  assert.equal(asked.stream.pending, true)
  end.send(settings([3, 5]))
  await end.until(isHead)
  end.send(wholeReply(1))
  assert.equal((await asked.outcome).status, 200)
  assert.equal(server.ends.length, 1)
})

test('nothing is asked before the server has said its SETTINGS', async () => {
  await using server = await handServer({ hello: Buffer.alloc(0) })
  const asked = server.ask()
  const end = await server.end(0)
  await end.until(({ type }) => type === FRAME.WINDOW_UPDATE)
  assert.equal(heads(end).length, 0)
  end.send(settings())
  await end.until(isHead)
  end.send(wholeReply(1))
  assert.equal(String((await asked.outcome).body), 'done')
})

test('GOAWAY: streams that were looked at finish, those after them are told so, new ones take another connection', async () => {
  await using server = await handServer()
  const asked = [server.ask(), server.ask(), server.ask()] as const
  const end = await server.end(0)
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 5)
  end.send(goaway(3))
  const unseen = await asked[2].outcome
  assert.deepEqual([unseen.stream.unseen, unseen.status], [true, 0])
  const later = server.ask()
  const second = await server.end(1)
  await second.until(isHead)
  second.send(wholeReply(1))
  assert.equal((await later.outcome).status, 200)
  end.send(wholeReply(1), wholeReply(3))
  assert.deepEqual([(await asked[0].outcome).status, (await asked[1].outcome).status], [200, 200])
  // With its last stream the connection is over.
  await end.until(() => false)
  assert.equal(heads(end).length, 3)
})

test('GOAWAY with an error ends what is under way, and its words are told', async () => {
  await using server = await handServer()
  const asked = server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  end.send(goaway(1, H2.CALM, 'too_many_pings'))
  const { stream } = await asked.outcome
  assert.deepEqual(
    [stream.unseen, stream.failure?.message],
    [false, 'the server ended the connection with HTTP/2 error 11: too_many_pings'],
  )
})

test('a connection that comes to nothing fails whoever waits for it', async () => {
  await using server = await handServer({ hello: Buffer.alloc(0) }, { connectTimeout: 30 })
  const silent = await server.ask().outcome
  assert.match(silent.stream.failure?.message ?? '', /no connection to 127\.0\.0\.1:\d+ within 30 ms/)
  assert.equal(silent.stream.unseen, true)
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as AddressInfo
  free.close()
  await once(free, 'close')
  const nobody = await ask(server.pool, `127.0.0.1:${port}`).outcome
  assert.match(nobody.stream.failure?.message ?? '', /ECONNREFUSED/)
  const nonsense = await ask(server.pool, 'nowhere').outcome
  assert.match(nonsense.stream.failure?.message ?? '', /"nowhere" is no address/)
})

test('a connection that is cut fails what was sent as sent, and the next request takes a new one', async () => {
  await using server = await handServer()
  const asked = server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  end.socket.destroy()
  const { stream } = await asked.outcome
  assert.equal(stream.unseen, false)
  assert.ok(stream.failure)
  const next = server.ask()
  const second = await server.end(1)
  await second.until(isHead)
  second.send(wholeReply(1))
  assert.equal((await next.outcome).status, 200)
})

test('forgotten connections finish what they have and take nothing new, those under way to stand included', async () => {
  await using server = await handServer({ hello: Buffer.alloc(0) })
  const first = server.ask()
  const end = await server.end(0)
  server.pool.forget()
  end.send(settings())
  await end.until(isHead)
  const second = server.ask()
  const other = await server.end(1)
  other.send(settings())
  await other.until(isHead)
  end.send(wholeReply(1))
  other.send(wholeReply(1))
  assert.deepEqual([(await first.outcome).status, (await second.outcome).status], [200, 200])
  assert.equal(await end.until(({ type, payload }) => type === FRAME.GOAWAY && payload.readUInt32BE(4) !== 0), undefined)
})

test('an idle connection is closed, one in use is not', async () => {
  await using server = await handServer({}, { idleTimeout: 20 })
  const lasting = server.ask(null)
  const end = await server.end(0)
  await end.until(isHead)
  end.send(replyHead(1))
  const short = ask(server.pool, server.address)
  await end.until(({ type, stream }) => type === FRAME.HEADERS && stream === 3)
  end.send(wholeReply(3))
  await short.outcome
  // Another one, idle since later, is closed meanwhile.
  const pool = new ClientPool({ ...LIMITS, idleTimeout: 20 })
  const other = ask(pool, server.address)
  const second = await server.end(1)
  await second.until(isHead)
  second.send(wholeReply(1))
  await other.outcome
  await second.until(() => false)
  assert.equal(end.closed, false)
  end.send(data(1, 1, FLAG.END_STREAM))
  await lasting.outcome
  await end.until(() => false)
  assert.equal(end.closed, true)
})

test('a server that stops answering pings is given up, one that answers is kept', async () => {
  let answered = 0
  const pong = (frame: { type: number; flags: number; payload: Buffer }, end: ServerEnd) => {
    if (frame.type !== FRAME.PING || frame.flags !== 0 || ++answered > 3) return
    end.send(h2Frame(FRAME.PING, FLAG.ACK, 0, frame.payload))
  }
  await using server = await handServer({ onFrame: pong }, { keepalive: { interval: 10, timeout: 20 } })
  const { stream } = await server.ask().outcome
  assert.match(stream.failure?.message ?? '', /did not answer a ping within 20 ms/)
  assert.ok(answered > 3)
})

test('windows hold: nothing is sent past them, and all of it when they open', async () => {
  await using server = await handServer({ hello: settings([4, 1000]) })
  const body = Buffer.alloc(200_000, 7)
  const drained = Promise.withResolvers<void>()
  const asked = server.ask(null, { drained: () => drained.resolve() })
  const end = await server.end(0)
  await end.until(isHead)
  assert.equal(asked.stream.write(body), false)
  asked.stream.end()
  const received = () => end.frames.reduce((sum, { type, payload }) => (type === FRAME.DATA ? sum + payload.length : sum), 0)
  await end.until(() => received() === 1000)
  end.send(h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await end.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  assert.equal(received(), 1000)
  end.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(1 << 20)))
  // The window of the connection is what holds it now.
  await end.until(() => received() === 65_535)
  end.send(h2Frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1 << 20)))
  await end.until(({ type, flags }) => type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0)
  assert.equal(received(), body.length)
  assert.ok(end.frames.every(({ payload }) => payload.length <= 16_384))
  end.send(wholeReply(1))
  await asked.outcome
})

test('a server that sends past the window of a paused stream is reset; what it may send waits in bounds', async () => {
  await using server = await handServer({}, { streamWindow: 65_536 })
  const { stream, outcome } = server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  stream.pause()
  end.send(replyHead(1), ...Array.from({ length: 4 }, () => data(1, 16_384)), h2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)))
  await end.until(({ type, flags }) => type === FRAME.PING && flags === FLAG.ACK)
  assert.equal(stream.closed, false)
  end.send(data(1, 1))
  assert.equal((await end.until(({ type }) => type === FRAME.RST_STREAM))?.payload.readUInt32BE(), H2.FLOW_CONTROL)
  await outcome
})

test('closing the pool ends everything, waiting or under way', async () => {
  const server = await handServer({ hello: settings([3, 1]) }, { maxConnections: 1 })
  const first = server.ask()
  const end = await server.end(0)
  await end.until(isHead)
  const second = server.ask()
  await server.pool.destroy()
  assert.match((await first.outcome).stream.failure?.message ?? '', /the client was closed/)
  assert.match((await second.outcome).stream.failure?.message ?? '', /the client was closed/)
  await server[Symbol.asyncDispose]()
  // A pool that is closed takes nothing more.
  const late = await ask(server.pool as ClientPool, server.address).outcome
  assert.match(late.stream.failure?.message ?? '', /the client was closed/)
})
