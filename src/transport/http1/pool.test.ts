import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcp, type Socket } from 'node:net'
import { test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { answering, bareServer, onRequest, TestExchange } from './harness.ts'
import { HttpPool } from './pool.ts'

const reply = (body: string, fields = '') => `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`

test('the connection used last is used next', async () => {
  const asked: number[] = []
  const held: (() => void)[] = []
  const both = Promise.withResolvers<void>()
  await using server = await bareServer((socket, connection) =>
    onRequest(socket, () => {
      asked.push(connection)
      const answer = () => socket.write(reply(String(connection)))
      if (asked.length > 2) return answer()
      held.push(answer)
      if (held.length === 2) both.resolve()
    }),
  )
  const first = server.send()
  const second = server.send()
  await both.promise
  // The one that is answered last is free last.
  const order = [...asked]
  held[1]?.()
  held[0]?.()
  await Promise.all([first.reply, second.reply])
  assert.equal((await server.ask()).body.toString(), String(order[0]))
  assert.equal((await server.ask()).body.toString(), String(order[0]))
  assert.equal(server.connections, 2)
})

test('requests beyond maxSockets wait in turn, those beyond maxWaiting fail at once, and one given up leaves its place', async () => {
  const held: (() => void)[] = []
  let arrived = Promise.withResolvers<void>()
  const paths: string[] = []
  await using server = await bareServer(
    (socket) =>
      onRequest(socket, (head) => {
        paths.push(head.split(' ')[1] as string)
        held.push(() => socket.write(reply('x')))
        arrived.resolve()
      }),
    { maxSockets: 1, maxWaiting: 3 },
  )
  const answer = async () => {
    await arrived.promise
    arrived = Promise.withResolvers()
    held.shift()?.()
  }
  const first = server.send({ path: '/0' })
  await arrived.promise
  const waiting = ['/1', '/2', '/3'].map((path) => server.send({ path }))
  await assert.rejects(server.ask({ path: '/4' }), { code: 'EBUSY' })
  assert.equal(waiting[1]?.abort(), true)
  const late = server.send({ path: '/5' })
  await answer()
  await first.reply
  for (const exchange of [waiting[0], waiting[2], late]) {
    await answer()
    await exchange?.reply
  }
  assert.deepEqual(paths, ['/0', '/1', '/3', '/5'])
  assert.equal(server.connections, 1)
  assert.equal(waiting[1]?.ends, 0)
})

/** A server whose first connection answers once and then ends at the next request without a byte. */
function endingServer() {
  return bareServer((socket, connection) => {
    let requests = 0
    onRequest(socket, () => {
      if (connection === 0 && requests++ > 0) socket.destroy()
      else socket.write(reply(String(connection)))
    })
  })
}

test('an idempotent request that met the end of a used connection goes out again, once, on a new one', async () => {
  await using server = await endingServer()
  await server.ask()
  assert.equal((await server.ask({ method: 'PUT', body: Buffer.from('') })).body.toString(), '1')
})

test('a request that may have done something does not go out again', async () => {
  await using server = await endingServer()
  await server.ask()
  await assert.rejects(server.ask({ method: 'POST', body: Buffer.from('') }), { code: 'ECONNRESET' })
  assert.equal(server.connections, 1)
})

test('nothing goes out again on a server that ends every connection, nor once a byte of the reply has come', async () => {
  let requests = 0
  await using server = await bareServer((socket, connection) =>
    onRequest(socket, () => {
      if (++requests === 1) socket.write(reply('x'))
      else if (connection === 0) socket.destroy()
      else socket.end('HTTP/1.1 2')
    }),
  )
  await server.ask()
  await assert.rejects(server.ask(), { code: 'ECONNRESET' })
  assert.equal(requests, 3)
  await assert.rejects(server.ask(), { code: 'ECONNRESET' })
  assert.equal(requests, 4)
})

test('a connection that the server ended while it was free is not used', async () => {
  await using server = await bareServer(answering(reply('x')))
  await server.ask()
  const [socket] = server.sockets
  const ended = once(socket as Socket, 'close')
  socket?.end()
  await ended
  assert.equal((await server.ask({ method: 'POST' })).body.toString(), 'x')
  assert.equal(server.connections, 2)
})

test('bytes that come on a free connection end it and answer nobody', async () => {
  await using server = await bareServer(answering(reply('x')))
  await server.ask()
  const [socket] = server.sockets
  const ended = once(socket as Socket, 'close')
  socket?.write(reply('planted'))
  await ended
  assert.equal((await server.ask()).body.toString(), 'x')
  assert.equal(server.connections, 2)
})

test('a free connection is closed after idleTimeout, and not used once the server may be about to close it', async () => {
  await using server = await bareServer(answering(reply('x')), { idleTimeout: 40 })
  await server.ask()
  await once([...server.sockets][0] as Socket, 'close')
  await using hasty = await bareServer(answering(reply('x', 'Keep-Alive: timeout=0\r\n')))
  await hasty.ask()
  await hasty.ask()
  assert.equal(hasty.connections, 2)
})

test('a server that is not there fails every request with the reason of the system', async () => {
  const gone = createTcp().listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const { port } = gone.address() as AddressInfo
  gone.close()
  await once(gone, 'close')
  for (const host of ['127.0.0.1', 'localhost']) {
    await using pool = new HttpPool({ host, port, maxSockets: 2 })
    const exchanges = Array.from({ length: 5 }, () => new TestExchange())
    for (const exchange of exchanges) pool.dispatch(exchange)
    for (const exchange of exchanges) await assert.rejects(exchange.reply, { code: 'ECONNREFUSED', message: /ECONNREFUSED/ })
    assert.deepEqual([pool.size, pool.waiting], [0, 0])
  }
})

test('close lets what is under way and what waits come to its end; disposing cuts it', async () => {
  const held: (() => void)[] = []
  const arrived = Promise.withResolvers<void>()
  await using server = await bareServer(
    (socket) =>
      onRequest(socket, () => {
        held.push(() => socket.write(reply('x')))
        if (held.length === 1) arrived.resolve()
        else held[1]?.()
      }),
    { maxSockets: 1 },
  )
  const first = server.send()
  const second = server.send()
  await arrived.promise
  const closed = server.pool.close()
  await assert.rejects(server.ask(), { code: 'ECANCELED' })
  held[0]?.()
  await Promise.all([first.reply, second.reply, closed])
  assert.equal(server.pool.size, 0)

  await using silent = await bareServer(() => {}, { maxSockets: 1 })
  const cut = [silent.send(), silent.send()]
  await silent.pool[Symbol.asyncDispose]()
  for (const exchange of cut) await assert.rejects(exchange.reply, { code: 'ECANCELED' })
})

test('giving up a request closes its connection, and it hears nothing more', async () => {
  const arrived = Promise.withResolvers<Socket>()
  await using server = await bareServer((socket) => onRequest(socket, () => arrived.resolve(socket)))
  const exchange = server.send()
  const socket = await arrived.promise
  const closed = once(socket, 'close')
  assert.equal(exchange.abort(), true)
  assert.equal(exchange.abort(), false)
  await closed
  assert.equal(exchange.ends, 0)
})

test('thousands of requests at once over few connections each get their own reply, from node:http', async () => {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk) => chunks.push(chunk)).on('end', () => response.end(`${request.url} ${Buffer.concat(chunks)}`))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  {
    await using pool = new HttpPool({ host: 'localhost', port: (server.address() as AddressInfo).port, maxSockets: 20 })
    const random = new Random(7)
    await Promise.all(
      Array.from({ length: 3000 }, async (_, i) => {
        const text = 'y'.repeat(random.size(40_000))
        const exchange = new TestExchange({ method: 'POST', path: `/${i}`, body: Buffer.from(text) })
        pool.dispatch(exchange)
        if (i % 50 === 0) return void exchange.abort()
        assert.equal((await exchange.reply).body.toString(), `/${i} ${text}`)
      }),
    )
    assert.ok(pool.size <= 20)
  }
  server.close()
  await once(server, 'close')
})
