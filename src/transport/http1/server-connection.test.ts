import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { BadRequest, parseIncoming } from './incoming-head.ts'
import { RequestParser } from './request-parser.ts'
import { answerWith, httpServer } from './server-harness.ts'

const LAST = 'GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'

describe('an HTTP/1.1 server connection', () => {
  test('pipelined requests are answered one after another, in their order', async () => {
    await using server = await httpServer((exchange, { target }) => void setImmediate(() => answerWith(exchange, target)))
    const text = await server.talk(
      `GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nhost: a\r\n\r\n${LAST}`,
    )
    assert.deepEqual(text.match(/\/(\d|last)$|\/(\d|last)(?=HTTP)/g), ['/1', '/2', '/3', '/last'])
    assert.equal(server.seen[1]?.body, 'abc')
  })

  test('requests are the same whatever pieces they come in', async () => {
    await using server = await httpServer()
    const bytes = `POST /x?y HTTP/1.1\r\nHost: a.b:80\r\nX-One:  1 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n${LAST}`
    await server.talk(...bytes)
    assert.deepEqual(server.seen[0], { method: 'POST', target: '/x?y', host: 'a.b:80', fields: ['x-one', '1'], body: 'abcde' })
    assert.equal(server.seen[1]?.target, '/last')
  })

  const bad: readonly [string, string, number][] = [
    [
      'Content-Length and Transfer-Encoding',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'Transfer-Encoding and Content-Length',
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['Transfer-Encoding and a length of 0', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n', 400],
    ['two lengths', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd', 400],
    ['a list of lengths', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4, 4\r\n\r\nabcd', 400],
    ['a length with a sign', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nabcd', 400],
    ['a blank before the colon', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 4\r\n\r\nabcd', 400],
    ['a tab before the colon', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n', 400],
    ['a folded line', 'GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n', 400],
    ['a coding in front of chunked', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n', 501],
    ['a coding that looks like chunked', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n', 400],
    ['chunked twice', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n', 400],
    ['chunked in HTTP/1.0', 'POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n', 400],
    ['a bare LF', 'GET / HTTP/1.1\nhost: a\n\n', 400],
    ['a bare CR', 'GET / HTTP/1.1\r\nhost: a\rx: 1\r\n\r\n', 400],
    ['a NUL', 'GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', 400],
    ['a host with a path', 'GET / HTTP/1.1\r\nhost: a/b\r\n\r\n', 400],
    ['a host with a user', 'GET / HTTP/1.1\r\nhost: a@b\r\n\r\n', 400],
    ['no target', 'GET  HTTP/1.1\r\nhost: a\r\n\r\n', 400],
    ['a target with a blank', 'GET /a b HTTP/1.1\r\nhost: a\r\n\r\n', 400],
    ['HTTP/2.0 in text', 'GET / HTTP/2.0\r\nhost: a\r\n\r\n', 505],
    ['an unknown expectation', 'POST / HTTP/1.1\r\nhost: a\r\nexpect: cake\r\ncontent-length: 1\r\n\r\n', 417],
    ['a head that is too large', `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(9000)}\r\n\r\n`, 431],
    ['a head without an end', `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}`, 431],
    ['too many fields', `GET / HTTP/1.1\r\nhost: a\r\n${'a:\r\n'.repeat(1001)}\r\n`, 431],
  ]
  for (const [what, bytes, status] of bad) {
    test(`${what} is refused with ${status}, and what follows is not taken for a request`, async () => {
      await using server = await httpServer()
      const text = await server.talk(`${bytes}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`)
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} .*connection: close\r\n`, 's'))
      assert.equal(server.bad[0]?.status, status)
      assert.deepEqual(server.seen, [])
    })
  }

  for (const [what, chunks] of [
    ['a size with a sign', '+3\r\nabc\r\n0\r\n\r\n'],
    ['a size with 0x', '0x3\r\nabc\r\n0\r\n\r\n'],
    ['a size without CR', '3\nabc\r\n0\r\n\r\n'],
    ['a chunk longer than its size', '3\r\nabcd\r\n0\r\n\r\n'],
    ['a size of too many digits', '10000000000000003\r\nabc\r\n0\r\n\r\n'],
    ['an extension with LF', '3;a\nb\r\nabc\r\n0\r\n\r\n'],
  ] as const)
    test(`${what} ends the connection, and what follows is not taken for a request`, async () => {
      await using server = await httpServer()
      await server.talk(
        `POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n${chunks}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`,
      )
      assert.equal(server.bad.length, 1)
      assert.deepEqual(server.seen, [])
    })

  test('the target counts, not Host, when it is absolute', () => {
    const head = parseIncoming('GET http://b:8080?q HTTP/1.1\r\nhost: a\r\n')
    assert.deepEqual([head.host, head.target], ['b:8080', '/?q'])
    assert.throws(() => parseIncoming('GET http://u@b/ HTTP/1.1\r\nhost: a\r\n'), BadRequest)
  })

  test('fields that the client gives to its connection alone go no further', () => {
    const head = parseIncoming(
      'GET / HTTP/1.1\r\nhost: a\r\nx-hop: 1\r\nConnection: X-Hop, keep-alive\r\nkeep-alive: timeout=5\r\ny: 2\r\n',
    )
    assert.deepEqual(head.fields, ['y', '2'])
  })

  test('a client that waits for 100 (Continue) is told to go on', async () => {
    await using server = await httpServer()
    const call = httpRequest({ port: server.port, method: 'POST', headers: { expect: '100-continue', 'content-length': 5 } })
    call.flushHeaders()
    await once(call, 'continue')
    call.end('12345')
    const [reply] = await once(call, 'response')
    reply.resume()
    assert.equal(server.seen[0]?.body, '12345')
  })

  test('HEAD, 204 and 304 have no body; the length of what GET would get stays', async () => {
    await using server = await httpServer((exchange, { target }) => {
      if (target === '/last') return answerWith(exchange, 'x')
      exchange.respond(target === '/head' ? 200 : 204, target === '/head' ? ['content-length', '7'] : [])
      exchange.write(Buffer.from('nothing'))
      exchange.end()
    })
    const text = await server.talk(`HEAD /head HTTP/1.1\r\nhost: a\r\n\r\nGET /204 HTTP/1.1\r\nhost: a\r\n\r\n${LAST}`)
    const [head, none, last] = text.split('HTTP/1.1 ').slice(1)
    assert.equal(head, '200 OK\r\ncontent-length: 7\r\n\r\n')
    assert.equal(none, '204 No Content\r\n\r\n')
    assert.match(last as string, /\r\n\r\nx$/)
  })

  test('a reply of unknown length goes out in chunks, to HTTP/1.0 until the connection ends', async () => {
    await using server = await httpServer((exchange) => {
      exchange.respond(200, [])
      exchange.write(Buffer.from('one'))
      exchange.write(Buffer.from('two'))
      exchange.end()
    })
    assert.match(await server.talk(LAST), /transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n$/)
    assert.match(await server.talk('GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\nconnection: close\r\n\r\nonetwo$/)
  })

  test('a reply shorter than its length cuts the connection', async () => {
    await using server = await httpServer((exchange) => {
      exchange.respond(200, ['content-length', '10'])
      exchange.write(Buffer.from('abc'))
      exchange.end()
    })
    await assert.rejects(
      new Promise((_, reject) => {
        httpRequest({ port: server.port, path: '/' }, (reply) => reply.on('error', reject).resume())
          .on('error', reject)
          .end()
      }),
      /aborted|hang up|reset/i,
    )
  })

  test('an answer before the end of the request closes the connection after it', async () => {
    await using server = await httpServer(undefined, {
      early(exchange) {
        answerWith(exchange, 'enough')
        return true
      },
    })
    const text = await server.talk('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nab')
    assert.match(text, /connection: close\r\n\r\nenough$/)
  })

  test('connections are kept between requests, and an idle one is closed when its time is over', async () => {
    await using server = await httpServer(undefined, { idleTimeout: 50 })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < 3; i++) {
      const call = httpRequest({ port: server.port, agent }).end()
      const [reply] = await once(call, 'response')
      reply.resume()
      await once(reply, 'end')
    }
    assert.equal(server.connections.size, 1)
    const [connection] = server.connections
    connection?.sweep(performance.now() + 40)
    assert.equal(connection?.socket.destroyed, false)
    connection?.sweep(performance.now() + 60_000)
    assert.equal(connection?.socket.destroyed, true)
    agent.destroy()
  })

  test('a head that does not come to its end is not waited for, empty lines or not', async () => {
    await using server = await httpServer(undefined, { headTimeout: 50 })
    const socket = connect(server.port, '127.0.0.1')
    socket.write('\r\n\r\nGET / HTTP/1.1\r\nx')
    await once(socket, 'ready')
    while ([...server.connections].every((one) => one.idle)) await new Promise((resolve) => setImmediate(resolve))
    const [connection] = server.connections
    connection?.sweep(performance.now() + 100)
    socket.resume()
    await once(socket, 'close')
  })

  test('a client that ends its side still gets the answer', async () => {
    await using server = await httpServer((exchange) => void setImmediate(() => answerWith(exchange, 'late')))
    const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.end('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    let text = ''
    for await (const chunk of socket) text += chunk
    assert.match(text, /late$/)
  })

  test('draining answers what is under way, takes nothing after it and closes idle connections', async () => {
    const held = Promise.withResolvers<() => void>()
    await using server = await httpServer((exchange) => held.resolve(() => answerWith(exchange, 'done')))
    const talk = server.talk('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    const idle = connect(server.port, '127.0.0.1')
    const go = await held.promise
    while (server.connections.size < 2) await new Promise((resolve) => setImmediate(resolve))
    for (const one of server.connections) one.drain()
    await once(idle.resume(), 'close')
    go()
    assert.match(await talk, /connection: close\r\n\r\ndone$/)
  })

  test('an upgrade hands over the socket and what came after the head', async () => {
    await using server = await httpServer(undefined, {
      early(exchange) {
        assert.equal(exchange.head.upgrade, 'echo')
        const socket = exchange.detach()
        socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
        socket.on('data', (rest) => socket.end(rest)).resume()
        return true
      },
    })
    assert.match(await server.talk('GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst'), /\r\n\r\nfirst$/)
  })

  test('a request whose reader waits is held back at its sender', async () => {
    let paused = 0
    let got = 0
    let go = () => {}
    await using server = await httpServer(undefined, {
      early(exchange) {
        exchange.sink = {
          data(chunk) {
            got += chunk.length
            if (paused++ === 0) {
              exchange.pause()
              go = () => exchange.resume()
            }
          },
          requestEnd: () => answerWith(exchange, String(got)),
          drained() {},
          closed() {},
        }
        return true
      },
    })
    const size = 32 << 20
    const call = httpRequest({ port: server.port, method: 'POST', headers: { 'content-length': size } })
    const full = !call.write(Buffer.alloc(size))
    assert.equal(full, true)
    while (paused === 0) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(got < size / 2)
    call.end()
    go()
    const [reply] = await once(call, 'response')
    let text = ''
    for await (const chunk of reply) text += chunk
    assert.equal(text, String(size))
  })
})

test('the request parser takes any bytes without a fault of its own, and the same whatever their pieces', () => {
  const random = new Random(8)
  const seeds = [
    'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
    'POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello',
    'POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
  ]
  const read = (pieces: readonly Buffer[]): string => {
    const heard: string[] = []
    let body = ''
    const parser = new RequestParser(
      {
        onHead: (head, whole) => void heard.push(JSON.stringify(head), whole?.toString('latin1') ?? '') as unknown,
        onBody(chunk) {
          body += chunk.toString('latin1')
        },
        onEnd() {
          heard[heard.length - 1] += body
          body = ''
        },
      },
      512,
    )
    try {
      for (const piece of pieces)
        for (let at = 0; at < piece.length; ) {
          at = parser.push(piece, at, piece.length, false)
          if (parser.done) parser.next()
        }
    } catch (error) {
      assert.ok(error instanceof BadRequest || (error as Error).name === 'HttpCallError', String(error))
      heard.push('refused')
    }
    return heard.join('\n')
  }
  const end = performance.now() + 1000
  let rounds = 0
  while (performance.now() < end) {
    rounds++
    let bytes = Buffer.from(Array.from({ length: 1 + random.int(3) }, () => seeds[random.int(seeds.length)]).join(''), 'latin1')
    if (random.int(4) > 0) bytes = random.mutate(bytes) as typeof bytes
    const whole = read([bytes])
    const apart = read(random.split(bytes))
    // A fault may show earlier in pieces, but what was taken for a request is the same.
    const requests = (text: string) => text.split('\n').filter((line) => line.startsWith('{'))
    const [a, b] = [requests(whole), requests(apart)]
    const least = Math.min(a.length, b.length)
    assert.deepEqual(a.slice(0, least), b.slice(0, least))
    if (!whole.endsWith('refused') && !apart.endsWith('refused')) assert.equal(whole, apart)
  }
  assert.ok(rounds > 100)
})
