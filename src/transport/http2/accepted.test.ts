import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { accepted } from './accepted.ts'

async function connected(serve: (socket: Socket) => void) {
  const server = createServer(serve).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(client, 'connect')
  return {
    client,
    async [Symbol.asyncDispose]() {
      client.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

test('every read of an accepted connection comes in the same memory, while it is paused none, and its end is heard', async () => {
  const memory = new Set<ArrayBufferLike>()
  const ended = Promise.withResolvers<number>()
  const paused = Promise.withResolvers<Socket>()
  let got = 0
  let most = 0
  await using pair = await connected((socket) => {
    const { socket: taken, feed } = accepted(socket)
    assert.ok(feed, 'this version of Node has sockets whose handle cannot be taken over: see readShared')
    feed((chunk) => {
      memory.add(chunk.buffer)
      assert.ok(chunk.every((byte) => byte === 120))
      if (got === 0) {
        taken.pause()
        setImmediate(() => setImmediate(() => paused.resolve(taken)))
      }
      got += chunk.length
      most = Math.max(most, chunk.length)
    })
    taken.on('end', () => ended.resolve(got))
  })
  pair.client.end(Buffer.alloc(3_000_000, 'x'))
  const socket = await paused.promise
  assert.equal(got, most, 'one read came before the pause')
  socket.resume()
  assert.equal(await ended.promise, 3_000_000)
  assert.equal(memory.size, 1)
})

test('a connection of which something has been read is read as ever', async () => {
  const seen = Promise.withResolvers<boolean>()
  await using pair = await connected((socket) => {
    socket.once('data', () => seen.resolve(accepted(socket).feed === undefined))
  })
  pair.client.write('x')
  assert.ok(await seen.promise)
})
