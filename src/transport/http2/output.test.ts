import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { pieceOf } from '../pieces.ts'
import { Output } from './output.ts'
import { T } from './protocol.ts'

const SIZE = 16_384
const FRAMES = 700

test('what was lent is not written over before the system has taken it', async (t) => {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  const reader = once(server, 'connection') as Promise<[Socket]>
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [end] = await reader
  t.after(() => {
    end.destroy()
    socket.destroy()
    server.close()
  })
  const output = new Output(socket)
  let waited = 0
  for (let number = 0; number < FRAMES; number++) {
    output.frame(T.DATA, 0, 1, pieceOf(Buffer.alloc(SIZE, number % 251)), true)
    await new Promise((resolve) => setImmediate(resolve))
    if (socket.writableLength > 0) waited++
  }
  assert.ok(waited > 100, 'nobody reads, so most of it waits here')
  output.end()
  const all = Buffer.concat(await Array.fromAsync<Buffer>(end))
  assert.equal(all.length, FRAMES * (SIZE + 9))
  for (let number = 0; number < FRAMES; number++) {
    const from = number * (SIZE + 9) + 9
    assert.ok(all.subarray(from, from + SIZE).equals(Buffer.alloc(SIZE, number % 251)), `frame ${number}`)
  }
})
