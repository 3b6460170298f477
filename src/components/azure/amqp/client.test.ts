import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { after, describe, it } from 'node:test'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { rabbitmq } from '../../../../test/servers/rabbitmq.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { AmqpClient } from './client.ts'
import { AmqpError, UnreachableError } from './errors.ts'
import type { AmqpDelivery } from './types.ts'

// The plugin of RabbitMQ for AMQP 1.0: a broker that none of us wrote, in a language of its own.
const server = await serverOf(rabbitmq)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
after(() => server?.stop())
const limit = { timeout: 30_000 }
const soon = () => AbortSignal.timeout(15_000)
const sasl = { username: 'guest', password: 'guest' }

function clientOf(port: number, more: Partial<AmqpClient['options']> = {}): AmqpClient {
  return new AmqpClient({ host: '127.0.0.1', port, tls: false, sasl, label: 'test', log, ...more })
}

/** Deliveries in order; `next` waits for one. */
function inbox() {
  const here: AmqpDelivery[] = []
  const waiting: ((delivery: AmqpDelivery) => void)[] = []
  return {
    onMessage(delivery: AmqpDelivery) {
      const wake = waiting.shift()
      if (wake) wake(delivery)
      else here.push(delivery)
    },
    next(): Promise<AmqpDelivery> {
      const first = here.shift()
      if (first) return Promise.resolve(first)
      return new Promise((resolve) => waiting.push(resolve))
    },
    here,
  }
}

describe('AMQP 1.0 with RabbitMQ', { skip: server === undefined && `no RabbitMQ: ${help(rabbitmq)}`, ...limit }, () => {
  const port = Number(new URL(server?.address ?? 'amqp://none:1').port)

  it('carries messages of one frame and of many, with their properties, both ways', limit, async () => {
    await using client = clientOf(port)
    const queue = `/queue/${randomUUID()}`
    const sender = await client.sender(queue, {}, soon())
    const properties = { messageId: 'm-1', correlationId: 'c', subject: 's', contentType: 'text/plain', groupId: 'g' }
    const applicationProperties = { text: 'ä€😀', int: 5, long: 2 ** 40, negative: -300, half: 0.5, yes: true }
    await sender.send({ data: Buffer.from('small'), properties, applicationProperties }, soon())
    const large = Buffer.alloc(700_000, 'large')
    await sender.send({ data: large }, soon())
    const box = inbox()
    await client.receiver(queue, { credit: 5, settle: 'first', onMessage: box.onMessage }, soon())
    const first = await box.next()
    assert.equal(first.message.data?.toString(), 'small')
    for (const [name, value] of Object.entries(properties)) assert.equal(Object(first.message.properties)[name], value)
    assert.deepEqual(first.message.applicationProperties, applicationProperties)
    assert.deepEqual((await box.next()).message.data, large)
  })

  it('gets no more than its credit, and again what it releases', limit, async () => {
    await using client = clientOf(port)
    const queue = `/queue/${randomUUID()}`
    const sender = await client.sender(queue, {}, soon())
    await Promise.all(['a', 'b', 'c'].map((text) => sender.send({ data: Buffer.from(text) }, soon())))
    const box = inbox()
    const receiver = await client.receiver(queue, { credit: 1, settle: 'first', onMessage: box.onMessage }, soon())
    const first = await box.next()
    assert.equal(receiver.credit, 0)
    await first.release(soon())
    receiver.grant(1)
    assert.equal((await box.next()).message.data?.toString(), 'a')
    receiver.grant(2)
    assert.deepEqual(
      [await box.next(), await box.next()].map(({ message }) => message.data?.toString()),
      ['b', 'c'],
    )
  })

  it('keeps the order of two thousand, more than are in flight', limit, async () => {
    await using client = clientOf(port)
    const queue = `/queue/${randomUUID()}`
    const sender = await client.sender(queue, { inFlight: 50 }, soon())
    await Promise.all(Array.from({ length: 2000 }, (_, at) => sender.send({ data: Buffer.from(String(at)) }, soon())))
    const texts: number[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const receiver = await client.receiver(
      queue,
      {
        credit: 100,
        settle: 'first',
        onMessage: (delivery) => {
          texts.push(Number(delivery.message.data))
          void delivery.accept()
          delivery.receiver.grant(1)
          if (texts.length === 2000) resolve()
        },
      },
      soon(),
    )
    await promise
    assert.deepEqual(
      texts,
      Array.from({ length: 2000 }, (_, at) => at),
    )
    await receiver[Symbol.asyncDispose]()
  })

  it('says that the sign-in is refused, without the password', limit, async () => {
    await using client = clientOf(port, { sasl: { username: 'guest', password: 'not-this-one' } })
    await assert.rejects(client.open(soon()), (error) => {
      assert.ok(error instanceof AmqpError)
      assert.equal(error.condition, 'amqp:unauthorized-access')
      assert.doesNotMatch(error.message, /not-this-one/)
      return true
    })
  })

  it('a link that is refused says why, and leaves the others alone', limit, async () => {
    await using client = clientOf(port)
    const sender = await client.sender(`/queue/${randomUUID()}`, {}, soon())
    await assert.rejects(client.sender('/exchange/none', {}, soon()), { name: 'AmqpError', condition: 'amqp:not-found' })
    await sender.send({ data: Buffer.from('still') }, soon())
  })

  it('connects again after the connection is lost; what was under way rejects', limit, async () => {
    await using proxy = await startProxy('127.0.0.1', port)
    await using client = clientOf(proxy.port)
    const queue = `/queue/${randomUUID()}`
    const sender = await client.sender(queue, {}, soon())
    const box = inbox()
    const receiver = await client.receiver(queue, { credit: 5, settle: 'first', onMessage: box.onMessage }, soon())
    proxy.cut()
    assert.ok((await sender.closed) instanceof UnreachableError)
    assert.ok((await receiver.closed) instanceof UnreachableError)
    await assert.rejects(sender.send({ data: Buffer.from('lost') }), UnreachableError)
    proxy.heal()
    const again = await client.sender(queue, {}, soon())
    await again.send({ data: Buffer.from('back') }, soon())
  })
})

describe('AMQP 1.0 with peers that do not speak it', limit, () => {
  async function peer(answer: (socket: Socket) => void): Promise<{ port: number } & AsyncDisposable> {
    const sockets = new Set<Socket>()
    const listener = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      answer(socket)
    }).listen(0, '127.0.0.1')
    await once(listener, 'listening')
    return {
      port: Object(listener.address()).port,
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy()
        listener.close()
      },
    }
  }

  it('names one that says something else', limit, async () => {
    await using other = await peer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await using client = clientOf(other.port)
    await assert.rejects(client.open(soon()), { name: 'UnreachableError', message: /not AMQP 1\.0/ })
  })

  it('waits no longer than dialTimeout for one that says nothing, and not at all when the signal is aborted', limit, async () => {
    await using other = await peer(() => {})
    await using client = clientOf(other.port, { dialTimeout: 200 })
    await assert.rejects(client.open(soon()), { name: 'UnreachableError', message: /does not answer in AMQP 1\.0 within 200 ms/ })
    await using patient = clientOf(other.port)
    const controller = new AbortController()
    const opening = patient.open(controller.signal)
    controller.abort(new Error('enough'))
    await assert.rejects(opening, /enough/)
  })

  it('ends with one that sends a frame that is none', limit, async () => {
    await using other = await peer((socket) =>
      socket.write(Buffer.concat([Buffer.from('AMQP\x03\x01\x00\x00', 'latin1'), Buffer.alloc(64, 0xff)])),
    )
    await using client = clientOf(other.port)
    await assert.rejects(client.open(soon()), { name: 'UnreachableError', message: /not AMQP 1\.0/ })
  })
})
