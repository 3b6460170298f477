import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { describe, test } from 'node:test'
import { bootstrap, cluster, startBackend, startProxy } from './harness.ts'

const HTTP2_UPSTREAM = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }`

/** What a server got after the body, and what a client did. */
interface Trailers {
  request: IncomingHttpHeaders | NodeJS.Dict<string>
  te: string | undefined
  reply: IncomingHttpHeaders | NodeJS.Dict<string>
  text: string
}

let last: Pick<Trailers, 'request' | 'te'> = { request: {}, te: undefined }

/** Node's server of HTTP/1.1 that echoes bodies and ends with a trailer, and with one that may not stand there. */
function http1Server() {
  return startBackend('trailers', (incoming, response) => {
    response.writeHead(200, { trailer: 'x-sum' })
    incoming.on('data', (chunk) => response.write(chunk))
    incoming.on('end', () => {
      last = { request: incoming.trailers, te: String(incoming.headers.te) }
      response.addTrailers({ 'x-sum': '42', 'content-type': 'text/evil' })
      response.end()
    })
  })
}

async function http2Server(): Promise<{ port: number } & AsyncDisposable> {
  const server = createHttp2()
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    last = { request: {}, te: String(headers.te) }
    stream.on('trailers', (fields) => {
      last.request = fields
    })
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }))
    stream.pipe(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function askHttp1(port: number, te: string | undefined): Promise<Trailers> {
  const sent = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    agent: false,
    headers: { 'transfer-encoding': 'chunked', ...(te && { te, connection: 'te, close' }) },
  })
  sent.write('bo')
  sent.addTrailers({ 'x-digest': 'abc' })
  sent.end('dy')
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of reply) text += chunk
  return { ...last, reply: reply.trailers, text }
}

async function askHttp2(port: number, pieces: readonly string[]): Promise<Trailers> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  try {
    const stream = session.request({ ':method': 'POST', te: 'trailers' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-digest': 'abc' }))
    let reply: IncomingHttpHeaders = {}
    stream.on('trailers', (fields) => {
      reply = fields
    })
    const [first = '', ...rest] = pieces
    stream.write(first)
    for (const piece of rest) {
      await new Promise((resolve) => setImmediate(resolve))
      stream.write(piece)
    }
    stream.end()
    let text = ''
    for await (const chunk of stream) text += chunk
    return { ...last, reply, text }
  } finally {
    session.close()
  }
}

describe('trailers', () => {
  const wanted = { request: { 'x-digest': 'abc' }, te: 'trailers', reply: { 'x-sum': '42' }, text: 'body' }
  /** Node's objects have prototypes of their own. */
  const plain = (value: Trailers) => JSON.parse(JSON.stringify(value))

  for (const version of ['HTTP/1.1', 'HTTP/2'] as const)
    test(`travel both ways to a server of ${version}, from clients of both`, async () => {
      await using server = await (version === 'HTTP/2' ? http2Server() : http1Server())
      await using proxy = await startProxy(
        bootstrap({
          routes: '- match: { prefix: / }\n  route: { cluster: a }',
          clusters: cluster('a', [server.port], version === 'HTTP/2' ? HTTP2_UPSTREAM : ''),
        }),
      )
      assert.deepEqual(plain(await askHttp1(proxy.port, 'trailers')), wanted)
      assert.deepEqual(plain(await askHttp2(proxy.port, ['bo', 'dy'])), wanted)
      assert.deepEqual(plain(await askHttp2(proxy.port, ['body'])), wanted)
      // A client of HTTP/1.1 that has not said that it takes them gets none.
      assert.deepEqual(plain(await askHttp1(proxy.port, undefined)).reply, {})
    })

  test('go again with a body that is sent again', async () => {
    let tries = 0
    await using server = await startBackend('again', (incoming, response) => {
      incoming.resume().on('end', () => {
        last = { request: incoming.trailers, te: undefined }
        response.writeHead(++tries === 1 ? 503 : 200).end('body')
      })
    })
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: / }\n  route: { cluster: a, retry_policy: { retry_on: 5xx, num_retries: 1 } }',
        clusters: cluster('a', [server.port]),
      }),
    )
    assert.deepEqual({ ...(await askHttp1(proxy.port, undefined)).request }, { 'x-digest': 'abc' })
    assert.equal(tries, 2)
  })

  test('without a name, or with a value that is none, are refused', async () => {
    await using server = await http1Server()
    await using proxy = await startProxy(
      bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [server.port]) }),
    )
    for (const bad of ['no colon', ': x', 'a b: c', ' folded: x']) {
      const socket = connect(proxy.port, '127.0.0.1')
      socket.write(`POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n${bad}\r\n\r\n`)
      let text = ''
      for await (const chunk of socket) text += chunk
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/, bad)
    }
  })
})
