import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import type { Route } from './route.ts'
import { HttpApi, type HttpApiOptions } from './server.ts'

const echo: Route = {
  methods: ['POST'],
  path: '/echo',
  group: 'g',
  version: 'v1',
  name: 'Echo',
  handler: async (call) => ({ status: 200, headers: { 'content-type': 'text/plain' }, body: await call.body() }),
}
const hello: Route = {
  methods: ['GET'],
  path: '/hello',
  group: 'g',
  version: 'v1',
  name: 'Hello',
  handler: (call) => ({ status: 200, body: JSON.stringify({ token: call.headers['dapr-api-token'] ?? null }) }),
}
const open: HttpApi[] = []
after(() => Promise.all(open.map((api) => api.close(100))))

async function serve(options: Partial<HttpApiOptions> = {}): Promise<number> {
  const api = new HttpApi({ routes: [echo, hello], maxBodySize: 1000, readBufferSize: 4096, h2c: true, ...options })
  open.push(api)
  return api.listen({ host: '127.0.0.1', port: 0 })
}

test('one port serves HTTP/1.1 and prior-knowledge HTTP/2', async () => {
  const port = await serve()
  assert.equal((await fetch(`http://127.0.0.1:${port}/hello`)).status, 200)
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  const stream = session.request({ ':method': 'POST', ':path': '/echo' })
  stream.end('over two')
  const [headers] = (await once(stream, 'response')) as [{ ':status': number }]
  stream.setEncoding('utf8')
  let text = ''
  for await (const chunk of stream) text += chunk
  assert.equal(headers[':status'], 200)
  assert.equal(text, 'over two')
  session.close()
})

test('HTTP/1.1 goes on as HTTP/2 when asked to: the request is stream 1, and later streams work', async () => {
  const port = await serve({ apiToken: 'secret' })
  const socket = connect(port, '127.0.0.1')
  const settings = Buffer.from('AAMAAABkAAQAAP__', 'base64url')
  socket.write(
    `GET /hello?x=${'y'.repeat(200)} HTTP/1.1\r\nhost: x\r\ndapr-api-token: secret\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: ${settings.toString('base64url')}\r\n\r\n`,
  )
  let received = Buffer.alloc(0)
  const until = async (found: () => boolean) => {
    while (!found()) received = Buffer.concat([received, ((await once(socket, 'data')) as [Buffer])[0]])
  }
  await until(() => received.includes('\r\n\r\n'))
  assert.match(received.toString('latin1'), /^HTTP\/1\.1 101 [^\r]*\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n/)
  received = received.subarray(received.indexOf('\r\n\r\n') + 4)
  // The client's preface and settings, in pieces; then a second request as stream 3 without a token.
  const opening = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])])
  socket.write(opening.subarray(0, 10))
  await new Promise((resolve) => setImmediate(resolve))
  socket.write(opening.subarray(10))
  const block = Buffer.concat([Buffer.from([0x82, 0x86, 0x04, 6]), Buffer.from('/hello'), Buffer.from([0x01, 1]), Buffer.from('x')])
  socket.write(Buffer.concat([Buffer.from([0, 0, block.length, 1, 5, 0, 0, 0, 3]), block]))
  const data = (stream: number) => {
    for (let at = 0; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3))
      if (received[at + 3] === 0 && received.readUInt32BE(at + 5) === stream && received.readUIntBE(at, 3) > 0)
        return received.subarray(at + 9, at + 9 + received.readUIntBE(at, 3)).toString()
    return undefined
  }
  await until(() => data(1) !== undefined && data(3) !== undefined)
  assert.deepEqual([data(1), data(3)], ['{"token":null}', 'invalid api token\n'])
  socket.destroy()
})

test('other upgrades, and one of a request with a body, are answered in HTTP/1.1', async () => {
  const port = await serve()
  for (const [name, body] of [
    ['websocket', undefined],
    ['h2c', 'text'],
  ] as const) {
    const sent = request({
      port,
      path: body ? '/echo' : '/hello',
      method: body ? 'POST' : 'GET',
      headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: name, 'http2-settings': '', ...(body ? { 'content-length': 4 } : {}) },
    })
    sent.end(body)
    const [response] = await once(sent, 'response')
    assert.equal(response.statusCode, 200, name)
    response.resume()
  }
})

test('a body over the limit is 413, declared or not', async () => {
  const port = await serve()
  const declared = await fetch(`http://127.0.0.1:${port}/echo`, { method: 'POST', body: 'x'.repeat(1001) })
  assert.equal(declared.status, 413)
  const chunked = request({ port, host: '127.0.0.1', path: '/echo', method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
  chunked.end('x'.repeat(1001))
  const [response] = await once(chunked, 'response')
  assert.equal(response.statusCode, 413)
  response.resume()
})

test('the token is asked for, compared whole, and never handed on', async () => {
  const port = await serve({ apiToken: 'secret', open: new Set(['/health']) })
  const url = `http://127.0.0.1:${port}/hello`
  const without = await fetch(url)
  assert.equal(without.status, 401)
  assert.equal(await without.text(), 'invalid api token\n')
  assert.equal((await fetch(url, { headers: { 'dapr-api-token': 'secre' } })).status, 401)
  const right = await fetch(url, { headers: { 'dapr-api-token': 'secret' } })
  assert.deepEqual(await right.json(), { token: null })
})

test('a path with a broken escape is refused before any route sees it', async () => {
  const port = await serve()
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /he%zzllo HTTP/1.1\r\nhost: x\r\n\r\n')
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  assert.match(chunk.toString(), /^HTTP\/1\.1 400 /)
  socket.destroy()
})

test('closing lets the request under way finish and refuses new connections', async () => {
  let release = () => {}
  let began = () => {}
  const begun = new Promise<void>((resolve) => (began = resolve))
  const slow: Route = {
    methods: ['GET'],
    path: '/slow',
    group: 'g',
    version: 'v1',
    name: 'Slow',
    handler: () => {
      began()
      return new Promise((resolve) => (release = () => resolve({ status: 200, body: '"done"' })))
    },
  }
  const api = new HttpApi({ routes: [slow], maxBodySize: 0, readBufferSize: 4096, h2c: true })
  const port = await api.listen({ host: '127.0.0.1', port: 0 })
  const reply = fetch(`http://127.0.0.1:${port}/slow`)
  await begun
  const closed = api.close(5000)
  release()
  assert.equal(await (await reply).text(), '"done"')
  await closed
  await assert.rejects(fetch(`http://127.0.0.1:${port}/slow`))
})

test('a preflight is answered without a token: with headers for an allowed origin, without them for another', async () => {
  const port = await serve({ apiToken: 'secret', allowedOrigins: 'https://ours.example' })
  const ask = (origin: string) =>
    fetch(`http://127.0.0.1:${port}/hello`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET' } })
  const ours = await ask('https://ours.example')
  assert.equal(ours.status, 200)
  assert.equal(ours.headers.get('access-control-allow-origin'), 'https://ours.example')
  const other = await ask('https://other.example')
  assert.equal(other.status, 200)
  assert.equal(other.headers.get('access-control-allow-origin'), null)
  assert.equal((await fetch(`http://127.0.0.1:${port}/hello`, { headers: { origin: 'https://ours.example' } })).status, 401)
})
