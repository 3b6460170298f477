import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { after, describe, it } from 'node:test'
import { redisServer } from '../../../test/servers/redis.ts'
import { redisScript } from './client.ts'
import { RedisConnection } from './connection.ts'
import { asText, RedisProtocolError, RedisReplyError, type Reply, ReplyParser } from './reply.ts'

describe('ReplyParser', () => {
  const stream = Buffer.from(
    '+OK\r\n:-42\r\n$5\r\na\r\nbc\r\n$-1\r\n$0\r\n\r\n-ERR bad thing\r\n*3\r\n$1\r\nx\r\n*2\r\n:1\r\n*-1\r\n+y\r\n*0\r\n',
  )
  const expected = ['OK', -42, 'a\r\nbc', null, '', 'ERR bad thing', ['x', [1, null], 'y'], []]
  const plain = (reply: Reply) => (reply instanceof RedisReplyError ? reply.message : asText(reply))

  it('reads every kind of reply, however the bytes are cut', () => {
    for (let size = 1; size <= stream.length; size++) {
      const replies: unknown[] = []
      const parser = new ReplyParser((reply) => replies.push(plain(reply)))
      for (let at = 0; at < stream.length; at += size) parser.push(stream.subarray(at, at + size))
      assert.deepEqual(replies, expected, `in pieces of ${size}`)
    }
  })

  it('takes a long string in many chunks without reading it again each time', () => {
    let got = undefined as Reply | undefined
    const parser = new ReplyParser((reply) => {
      got = reply
    })
    const size = 32 << 20
    parser.push(Buffer.from(`$${size}\r\n`))
    const chunk = Buffer.alloc(64 << 10, 'z')
    for (let sent = 0; sent < size; sent += chunk.length) parser.push(chunk)
    assert.equal(got, undefined)
    parser.push(Buffer.from('\r\n'))
    assert.ok(Buffer.isBuffer(got))
    assert.equal((got as Buffer).length, size)
  })

  it('refuses what is not RESP2', () => {
    for (const text of ['HTTP/1.1 400\r\n', '$x\r\n', `${'*1\r\n'.repeat(40)}:1\r\n`])
      assert.throws(() => new ReplyParser(() => {}).push(Buffer.from(text)), RedisProtocolError, text)
  })
})

/** A server that answers as the test says; `lines` are the commands it got. */
async function fakeServer(onCommand: (words: string[], socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const parser = new ReplyParser((reply) => onCommand(asText(reply) as string[], socket))
    socket.on('data', (chunk: Buffer) => parser.push(chunk))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('RedisConnection against a server that misbehaves', () => {
  it('sends what was under way again after a lost connection, and gives up after maxRetries', async () => {
    let seen = 0
    const server = await fakeServer((words, socket) => {
      if (words[0] === 'PING') return void socket.write('+PONG\r\n')
      if (words[0] === 'ONCE' && seen++ > 0) return void socket.write(':7\r\n')
      socket.destroy()
    })
    const client = new RedisConnection({ host: '127.0.0.1', port: server.port, maxRetries: 2, backoff: () => 1 })
    await client.connect()
    assert.equal(await client.call('ONCE'), 7)
    await assert.rejects(client.call('NEVER'), /Redis at 127\.0\.0\.1:\d+ is away: /)
    client.disconnect()
    server.close()
  })

  it('looks for a lost server soon when somebody asks, however long it would wait', { timeout: 20_000 }, async () => {
    let away = false
    const server = await fakeServer((words, socket) => {
      if (away) socket.destroy()
      else socket.write(words[0] === 'PING' ? '+PONG\r\n' : ':7\r\n')
    })
    const back = Promise.withResolvers<void>()
    const client = new RedisConnection({
      ...{ host: '127.0.0.1', port: server.port, maxRetries: 0 },
      backoff: () => 60_000,
      onReconnect: back.resolve,
    })
    await client.connect()
    away = true
    server.cut()
    await assert.rejects(client.call('GET', 'x'), /is away/)
    await assert.rejects(client.call('GET', 'x'), /is away/)
    away = false
    client.hurry()
    await back.promise
    assert.equal(await client.call('GET', 'x'), 7)
    client.disconnect()
    server.close()
  })

  it('counts a server that does not answer in time as gone', async () => {
    const server = await fakeServer((words, socket) => {
      if (words[0] === 'PING') socket.write('+PONG\r\n')
    })
    const errors: string[] = []
    const client = new RedisConnection({
      host: '127.0.0.1',
      port: server.port,
      commandTimeout: 30,
      maxRetries: 0,
      onError: (error) => errors.push(error.message),
    })
    await client.connect()
    await assert.rejects(client.call('GET', 'x'), /did not answer GET within 30 ms/)
    assert.equal(errors.length, 1)
    client.disconnect()
    server.close()
  })

  it('does not wait at its end for a server that hangs', async () => {
    const server = await fakeServer((words, socket) => {
      if (words[0] === 'PING') socket.write('+PONG\r\n')
    })
    const client = new RedisConnection({ host: '127.0.0.1', port: server.port })
    await client.connect()
    const began = performance.now()
    await client.close()
    assert.ok(performance.now() - began < 2000)
    server.close()
  })

  it('says why it cannot connect, and leaves nothing open', async () => {
    const server = await fakeServer((_, socket) => socket.write('-NOAUTH Authentication required.\r\n'))
    const client = new RedisConnection({ host: '127.0.0.1', port: server.port })
    await assert.rejects(client.connect(), /NOAUTH/)
    await assert.rejects(client.call('GET', 'x'), /closed/)
    server.close()
    await assert.rejects(new RedisConnection({ host: '127.0.0.1', port: server.port }).connect(), /ECONNREFUSED/)
  })
})

const server = await redisServer()

describe('RedisConnection against a real server', { skip: server === undefined ? 'redis-server is not on this machine' : false }, () => {
  const at = { host: server?.host ?? '', port: server?.port ?? 0 }
  after(() => server?.stop())

  it('keeps bytes, text in any script, and long values as they are', async () => {
    const client = new RedisConnection({ ...at, name: 'a name with spaces', database: 3 })
    await client.connect()
    const all = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    const long = Buffer.alloc(100_000, all)
    await Promise.all([client.call('SET', 'ключ-é-🔑', all), client.call('SET', 'long', long), client.call('SET', 'text', 'ÿ→🔑')])
    assert.deepEqual(await client.callBuffer('GET', 'ключ-é-🔑'), all)
    assert.deepEqual(await client.callBuffer('GET', 'long'), long)
    assert.equal(await client.call('GET', 'text'), 'ÿ→🔑')
    assert.equal(await client.call('CLIENT', 'GETNAME'), 'a-name-with-spaces')
    assert.match(String(await client.call('CLIENT', 'INFO')), / db=3 /)
    await client.close()
  })

  it('answers a thousand commands of one turn in order, errors in their place', async () => {
    const client = new RedisConnection(at)
    await client.connect()
    const results = await Promise.allSettled(
      Array.from({ length: 1000 }, (_, index) => (index === 500 ? client.call('NOSUCH') : client.call('ECHO', index))),
    )
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason.message.slice(0, 11))),
      Array.from({ length: 1000 }, (_, index) => (index === 500 ? 'ERR unknown' : String(index))),
    )
    await client.close()
  })

  it('runs a script whether the server knows it or not', async () => {
    const client = new RedisConnection(at)
    await client.connect()
    const script = redisScript('return {KEYS[1], ARGV[1]}')
    for (let round = 0; round < 2; round++) assert.deepEqual(await client.script(script, ['k'], ['v']), ['k', 'v'])
    await client.call('SCRIPT', 'FLUSH')
    assert.deepEqual(await client.script(script, ['k'], ['v']), ['k', 'v'])
    await client.close()
  })

  it('hears messages, and says when its subscriptions are gone with the connection', async () => {
    const heard: string[] = []
    let wake = Promise.withResolvers<void>()
    const again = Promise.withResolvers<void>()
    const listener = new RedisConnection({
      ...at,
      onMessage: (channel, pattern) => {
        heard.push(`${channel} ${pattern}`)
        wake.resolve()
      },
      onReconnect: () => again.resolve(),
      backoff: () => 1,
    })
    const client = new RedisConnection(at)
    await Promise.all([listener.connect(), client.connect()])
    const id = await listener.call('CLIENT', 'ID')
    await listener.call('SUBSCRIBE', 'a', 'b')
    await listener.call('PSUBSCRIBE', 'p*')
    await client.call('PUBLISH', 'b', '1')
    await wake.promise
    wake = Promise.withResolvers()
    await client.call('PUBLISH', 'pp', '1')
    await wake.promise
    assert.deepEqual(heard, ['b undefined', 'pp p*'])
    await client.call('CLIENT', 'KILL', 'ID', String(id))
    await again.promise
    await Promise.all([listener.close(), client.close()])
  })
})
