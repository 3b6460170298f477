import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { FLAG, FRAME, h2Frame, PREFACE, uint32 } from '../../../test/http2-frames.ts'
import { Code } from '../../errors.ts'
import { createGrpcClient, type GrpcClientOptions } from './client.ts'
import type { GrpcStatus } from './status.ts'

/** A server by hand: `onCall` decides what each call gets. It answers no ping. */
async function handmade(onCall: (stream: number, socket: Socket) => void, options: GrpcClientOptions = {}) {
  const connections: Socket[] = []
  const server = createServer((socket) => {
    connections.push(socket)
    socket.on('error', () => {})
    let bytes: Buffer = Buffer.alloc(0)
    let greeted = false
    socket.write(h2Frame(FRAME.SETTINGS, 0, 0))
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      if (!greeted && bytes.length >= PREFACE.length) {
        greeted = true
        bytes = bytes.subarray(PREFACE.length)
      }
      while (greeted && bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const [type, stream] = [bytes[3], bytes.readUInt32BE(5)]
        bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3))
        if (type === FRAME.HEADERS) onCall(stream, socket)
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = createGrpcClient(options)
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    connections,
    client,
    address,
    call: () =>
      client.unary(address, '/s.T/x', Buffer.from('x')).then(
        () => assert.fail('must not succeed'),
        (error: GrpcStatus) => error,
      ),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      for (const socket of connections) socket.destroy()
      server.close()
    },
  }
}

const goaway = (last: number, code: number) => h2Frame(FRAME.GOAWAY, 0, 0, Buffer.concat([uint32(last), uint32(code)]))

test('a call that the server refused or never looked at was surely not sent', async () => {
  await using refusing = await handmade((stream, socket) => socket.write(h2Frame(FRAME.RST_STREAM, 0, stream, uint32(7))))
  const refused = await refusing.call()
  assert.deepEqual([refused.code, refused.sent], [Code.Unavailable, false])

  await using leaving = await handmade((_, socket) => socket.write(goaway(0, 0)))
  const unseen = await leaving.call()
  assert.deepEqual([unseen.code, unseen.sent], [Code.Unavailable, false])

  await using angry = await handmade((_, socket) => socket.write(goaway(0, 11)))
  const cut = await angry.call()
  assert.deepEqual([cut.code, cut.sent], [Code.Unavailable, false])

  await using late = await handmade((_, socket) => socket.write(goaway(1, 2)))
  const seen = await late.call()
  assert.deepEqual([seen.code, seen.sent], [Code.Unavailable, true])
})

test('after a GOAWAY calls under way finish and new ones take a new connection', async () => {
  const open: { stream: number; socket: Socket }[] = []
  const second = Promise.withResolvers<void>()
  await using peer = await handmade((stream, socket) => {
    open.push({ stream, socket })
    // The headers come after the GOAWAY: who has them has heard it.
    if (open.length === 1)
      socket.write(Buffer.concat([goaway(1, 0), h2Frame(FRAME.HEADERS, FLAG.END_HEADERS, stream, Buffer.from([0x88]))]))
    else second.resolve()
  })
  const heard = Promise.withResolvers<void>()
  const first = new Promise<GrpcStatus | undefined>((resolve) => {
    peer.client.stream(peer.address, '/s.T/x', {}, { onHeaders: () => heard.resolve(), onMessage: () => {}, onClose: resolve })
  })
  await heard.promise
  const next = peer.call()
  await second.promise
  assert.equal(peer.connections.length, 2)
  for (const { stream, socket } of open) socket.write(h2Frame(FRAME.RST_STREAM, 0, stream, uint32(8)))
  assert.deepEqual([(await first)?.code, (await next).code], [Code.Canceled, Code.Canceled])
})

test('a stream reset by its server has the code that grpc-go gives it', async () => {
  for (const [error, code] of [
    [1, Code.Internal],
    [2, Code.Internal],
    [8, Code.Canceled],
    [11, Code.ResourceExhausted],
    [12, Code.PermissionDenied],
  ] as const) {
    await using peer = await handmade((stream, socket) => socket.write(h2Frame(FRAME.RST_STREAM, FLAG.END_HEADERS, stream, uint32(error))))
    const status = await peer.call()
    assert.deepEqual([status.code, status.sent], [code, true], `HTTP/2 error ${error}`)
  }
})

test('keepalive: a server that stops answering loses the connection', async () => {
  await using peer = await handmade(() => {}, { keepalive: { interval: 20, timeout: 30 } })
  const status = await peer.call()
  assert.equal(status.code, Code.Unavailable)
  assert.match(status.message, /did not answer a ping within 30 ms/)
})
