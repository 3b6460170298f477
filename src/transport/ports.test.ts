import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { freePort } from '../../test/servers/process.ts'
import { Ports } from './ports.ts'

const limit = { timeout: 10_000 }
const LOOPBACK = '127.0.0.1'

/** Connects, and resolves with the first thing that the server says. */
async function greeting(port: number): Promise<string> {
  const socket = connect(port, LOOPBACK).setEncoding('utf8')
  const [text] = (await once(socket, 'data')) as [string]
  socket.destroy()
  return text
}

const saying = (word: string) => (socket: Socket) => void socket.end(word)

test('while the ports are held a connection waits, and the next one to listen serves it', limit, async () => {
  const ports = new Ports()
  const at = { host: LOOPBACK, port: await freePort() }
  const first = await ports.listen(at, saying('first'))
  assert.equal(await greeting(at.port), 'first')
  ports.hold()
  first.close()
  assert.equal(first.held, true)
  const waiting = greeting(at.port)
  const second = await ports.listen(at, saying('second'))
  assert.equal(await waiting, 'second')
  ports.release()
  assert.equal(await greeting(at.port), 'second')
  second.close()
  await assert.rejects(greeting(at.port), { code: 'ECONNREFUSED' })
})

test('a connection on which nothing has come can be given back', limit, async () => {
  const ports = new Ports()
  const at = { host: LOOPBACK, port: await freePort() }
  const accepted = Promise.withResolvers<Socket>()
  const first = await ports.listen(at, accepted.resolve)
  const answered = greeting(at.port)
  const socket = await accepted.promise
  ports.hold()
  first.close()
  first.giveBack(socket)
  const second = await ports.listen(at, saying('second'))
  assert.equal(await answered, 'second')
  second.close()
  ports.release()
})

test('what nobody takes over is closed at the release, with those that waited', limit, async () => {
  const ports = new Ports()
  const at = { host: LOOPBACK, port: await freePort() }
  const first = await ports.listen(at, saying('first'))
  ports.hold()
  first.close()
  const socket = connect(at.port, LOOPBACK)
  socket.on('error', () => {})
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  // The server hears of the connection a moment after its client.
  await new Promise((resolve) => setImmediate(resolve))
  ports.release()
  await closed
  await assert.rejects(greeting(at.port), { code: 'ECONNREFUSED' })
})

test('a port that somebody else has is refused', limit, async () => {
  const at = { host: LOOPBACK, port: await freePort() }
  const first = await new Ports().listen(at, saying('first'))
  await assert.rejects(new Ports().listen(at, saying('other')), { code: 'EADDRINUSE' })
  first.close()
})
