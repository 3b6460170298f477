import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  createServer as createHttp2,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import { request as requestTls } from 'node:https'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { type ConnectionOptions, connect as connectTls, createServer as createTls } from 'node:tls'
import { issueCertificate } from '../transport/identity/certificate.ts'
import { Admin } from './admin.ts'
import { bootstrap, call, cluster, startBackend, startProxy } from './harness.ts'

const ROUTE = '- match: { prefix: / }\n  route: { cluster: a }'
const HTTP2_UPSTREAM = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }`

interface Http2Reply {
  status: number
  headers: IncomingHttpHeaders
  trailers: IncomingHttpHeaders
  body: Buffer
}

async function ask(session: ClientHttp2Session, headers: Record<string, string>, body?: Buffer): Promise<Http2Reply> {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body) stream.end(body)
  let trailers: IncomingHttpHeaders = {}
  stream.on('trailers', (given) => {
    trailers = given
  })
  const [reply] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return { status: Number(reply[':status']), headers: reply, trailers, body: Buffer.concat(chunks) }
}

/** A server of HTTP/2 in clear text by Node that echoes bodies and ends with trailers. */
async function http2Backend(): Promise<{ port: number } & AsyncDisposable> {
  const server = createHttp2()
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.respond({ ':status': 200, 'x-path': String(headers[':path']), 'x-te': String(headers.te) }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-last': 'yes' }))
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

async function listening(server: Server): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-tls-'))
after(() => rmSync(folder, { recursive: true }))

/** An authority and certificates of it in files. */
function certificates() {
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
  const authority = generateKeyPairSync('ed25519')
  const issuer = { name: 'authority', ...authority }
  const ca = issueCertificate({ ...span, publicKey: authority.publicKey, subject: issuer.name, issuer, authority: true })
  const of = (dns: string) => {
    const pair = generateKeyPairSync('ed25519')
    const cert = issueCertificate({ ...span, publicKey: pair.publicKey, subject: dns, dns, issuer })
    const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    writeFileSync(join(folder, `${dns}.crt`), cert)
    writeFileSync(join(folder, `${dns}.key`), key)
    return { cert, key }
  }
  writeFileSync(join(folder, 'ca.crt'), ca)
  return { ca, of }
}

const { ca, of: certificate } = certificates()
const own = certificate('a.test')
certificate('b.test')
const client = certificate('client.test')
const pair = (name: string) =>
  `{ certificate_chain: { filename: ${join(folder, `${name}.crt`)} }, private_key: { filename: ${join(folder, `${name}.key`)} } }`

describe('protocols of a proxy', () => {
  test('HTTP/2 in clear text is told from HTTP/1.1 by its first bytes', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port]) }))
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ask(
          session,
          { ':path': `/${i}`, ':method': i % 2 === 0 ? 'GET' : 'POST', cookie: 'a=1' },
          i % 2 === 0 ? undefined : Buffer.from('body'),
        ),
      ),
    )
    for (const [i, { status, body }] of replies.entries()) {
      const seen = JSON.parse(body.toString())
      assert.deepEqual([status, seen.url, seen.body], [200, `/${i}`, i % 2 === 0 ? '' : 'body'])
      // What has no body is sent without one.
      assert.equal(seen.headers['transfer-encoding'], undefined)
    }
    session.close()
    assert.equal((await call(proxy.port, '/')).status, 200)
  })

  test('gRPC passes with its trailers, streams of any length both ways', async () => {
    await using a = await http2Backend()
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port], HTTP2_UPSTREAM) }))
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const body = randomBytes(3 << 20)
    const reply = await ask(session, { ':path': '/p.S/M', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }, body)
    assert.equal(reply.status, 200)
    assert.equal(reply.headers['x-te'], 'trailers')
    assert.equal(reply.trailers['grpc-status'], '0')
    assert.equal(reply.trailers['x-last'], 'yes')
    assert.ok(reply.body.equals(body))
    session.close()
  })

  test('what the proxy answers a gRPC call itself is a status of gRPC', async () => {
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: '- { name: a }' }))
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const reply = await ask(session, { ':path': '/p.S/M', ':method': 'POST', 'content-type': 'application/grpc' }, Buffer.from('x'))
    assert.deepEqual([reply.status, reply.headers['grpc-status'], reply.headers['grpc-message']], [200, '14', 'no healthy upstream'])
    session.close()
  })

  test('HTTP/1.1 in, HTTP/2 out', async () => {
    await using a = await http2Backend()
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port], HTTP2_UPSTREAM) }))
    const reply = await call(proxy.port, '/x', { method: 'POST', body: 'echo', headers: { 'transfer-encoding': 'chunked' } })
    assert.deepEqual([reply.status, reply.text, reply.headers['x-path']], [200, 'echo', '/x'])
  })

  test('large bodies arrive as they were sent, and are held back where the reader is slow', async () => {
    const body = randomBytes(20 << 20)
    const sum = createHash('sha256').update(body).digest('hex')
    await using a = await startBackend('a', (request, response) => {
      const hash = createHash('sha256')
      request.on('data', (chunk) => hash.update(chunk))
      request.on('end', () => {
        response.setHeader('x-sum', hash.digest('hex'))
        response.end(body)
      })
    })
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port]) }))
    const reply = await call(proxy.port, '/', { method: 'POST', body })
    assert.equal(reply.headers['x-sum'], sum)
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const second = await ask(session, { ':path': '/', ':method': 'POST' }, body)
    assert.equal(second.headers['x-sum'], sum)
    assert.equal(createHash('sha256').update(second.body).digest('hex'), sum)
    session.close()
    // A client that reads nothing: most of the body stays with the upstream.
    const before = process.memoryUsage.rss()
    const socket = connect(proxy.port, '127.0.0.1').pause()
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    while (a.hits < 3) await new Promise((resolve) => setImmediate(resolve))
    socket.destroy()
    assert.ok(process.memoryUsage.rss() - before < 64 << 20)
  })

  test('WebSockets pass when the upgrade is allowed, and not otherwise', async () => {
    await using a = await startBackend('a')
    a.server.on('upgrade', (request, socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64')
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
      )
      socket.on('data', (frame: Buffer) => {
        if ((frame[0] as number) === 0x88) return void socket.end(Buffer.of(0x88, 0))
        // A short masked text comes; it goes back without its mask.
        const length = (frame[1] as number) & 127
        const mask = frame.subarray(2, 6)
        const text = Buffer.from(frame.subarray(6, 6 + length)).map((byte, i) => byte ^ (mask[i % 4] as number))
        socket.write(Buffer.concat([Buffer.of(0x81, length), text]))
      })
    })
    const routes = `- match: { prefix: /no }\n  route: { cluster: a, upgrade_configs: [{ upgrade_type: websocket, enabled: false }] }\n${ROUTE}`
    await using proxy = await startProxy(
      bootstrap({ manager: 'upgrade_configs: [{ upgrade_type: websocket }]', routes, clusters: cluster('a', [a.port]) }),
    )
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/chat`)
    const opened = new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('error', reject)
    })
    await opened
    const heard = new Promise<string>((resolve) => socket.addEventListener('message', ({ data }) => resolve(String(data))))
    socket.send('hello')
    assert.equal(await heard, 'hello')
    const closed = new Promise((resolve) => socket.addEventListener('close', resolve))
    socket.close()
    await closed
    const refused = await call(proxy.port, '/no', { headers: { connection: 'Upgrade', upgrade: 'websocket' } })
    assert.equal(refused.status, 403)
    // An upstream that does not change its protocol answers as it does otherwise.
    a.server.removeAllListeners('upgrade')
    const plain = await call(proxy.port, '/plain', { headers: { connection: 'Upgrade', upgrade: 'websocket' } })
    assert.deepEqual([plain.status, JSON.parse(plain.text).url], [200, '/plain'])
  })

  test('TLS: chains by name, ALPN, and clients without a certificate are turned away', async () => {
    await using a = await startBackend('a')
    const text = bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port]) })
    const listener = text.slice(text.indexOf('        - filters:'), text.indexOf('  clusters:'))
    const tls = (name: string, more: string) => `          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: { alpn_protocols: [h2, http/1.1], tls_certificates: [${pair(name)}]${more}
          filter_chain_match: { server_names: [${name}] }
`
    const strict = `, validation_context: { trusted_ca: { filename: ${join(folder, 'ca.crt')} }, match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: client.test } }] } }\n              require_client_certificate: true`
    await using proxy = await startProxy(text.replace(listener, `${listener}${tls('a.test', ' }')}${listener}${tls('b.test', strict)}`))
    const get = (options: ConnectionOptions) =>
      new Promise<string>((resolve, reject) => {
        requestTls({ port: proxy.port, host: '127.0.0.1', ca, agent: false, ...options }, (reply) => {
          resolve(String(reply.statusCode))
          reply.resume()
        })
          .on('error', reject)
          .end()
      })
    assert.equal(await get({ servername: 'a.test' }), '200')
    await assert.rejects(get({ servername: 'b.test' }))
    await assert.rejects(get({ servername: 'b.test', cert: own.cert, key: own.key }))
    assert.equal(await get({ servername: 'b.test', cert: client.cert, key: client.key }), '200')
    await assert.rejects(get({ servername: 'c.test' }))
    const session = connectHttp2(`https://127.0.0.1:${proxy.port}`, { ca, servername: 'a.test' })
    const reply = await ask(session, { ':path': '/h2' })
    assert.equal(JSON.parse(reply.body.toString()).headers['x-forwarded-proto'], 'https')
    session.close()
  })

  test('TLS towards endpoints: the authority and the name count when they are named', async () => {
    const server = createTls({ cert: own.cert, key: own.key }, (socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'))
    })
    server.on('tlsClientError', () => {})
    await using a = await listening(server)
    const context = (names: string) => `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: a.test
    common_tls_context: { validation_context: { trusted_ca: { filename: ${join(folder, 'ca.crt')} }, match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: ${names} } }] } }`
    const routes = `- match: { prefix: /wrong }\n  route: { cluster: wrong }\n${ROUTE}`
    await using proxy = await startProxy(
      bootstrap({ routes, clusters: cluster('a', [a.port], context('a.test')) + cluster('wrong', [a.port], context('b.test')) }),
    )
    const reply = await call(proxy.port, '/')
    assert.deepEqual([reply.status, reply.text], [200, 'ok'])
    assert.equal((await call(proxy.port, '/wrong')).status, 503)
  })

  test('TCP passes both ways, ends included, and goes to the next endpoint when one refuses', async () => {
    await using echo = await listening(
      createServer({ allowHalfOpen: true }, (socket) => {
        socket.write('first ')
        socket.pipe(socket)
      }),
    )
    const dead = createServer()
    const { port: deadPort } = await listening(dead)
    await new Promise((resolve) => dead.close(resolve))
    await using proxy = await startProxy(`
static_resources:
  listeners:
    - name: tcp
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      filter_chains:
        - filters:
            - name: envoy.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: tcp
                cluster: a
                max_connect_attempts: 2
  clusters:
${cluster('a', [deadPort, echo.port]).replace(/^/gm, '    ')}`)
    for (let i = 0; i < 4; i++) {
      const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
      const sent = randomBytes(1 << 20)
      socket.end(sent)
      const chunks: Buffer[] = []
      for await (const chunk of socket) chunks.push(chunk)
      assert.ok(Buffer.concat(chunks).equals(Buffer.concat([Buffer.from('first '), sent])))
    }
  })

  test('TCP within TLS goes by the name that the client asks for, without being opened', async () => {
    const server = (name: string) => createTls({ cert: own.cert, key: own.key }, (socket) => void socket.on('error', () => {}).end(name))
    await using a = await listening(server('one'))
    await using b = await listening(server('two'))
    const chain = (name: string, to: string) => `
        - filter_chain_match: { server_names: ["${name}"] }
          filters: [{ name: envoy.filters.network.tcp_proxy, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: ${to} } }]`
    await using proxy = await startProxy(`
static_resources:
  listeners:
    - name: sni
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      listener_filters: [{ name: envoy.filters.listener.tls_inspector, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector } }]
      filter_chains:${chain('a.test', 'a')}${chain('*.b.test', 'b')}
  clusters:
${(cluster('a', [a.port]) + cluster('b', [b.port])).replace(/^/gm, '    ')}`)
    const heard = async (servername: string) => {
      const socket = connectTls({ port: proxy.port, host: '127.0.0.1', servername, rejectUnauthorized: false })
      let text = ''
      for await (const chunk of socket) text += chunk
      return text
    }
    assert.equal(await heard('a.test'), 'one')
    assert.equal(await heard('x.b.test'), 'two')
    assert.equal(await heard('c.test').catch(() => ''), '')
  })

  test('what cannot be said in HTTP/1.1 is refused, and is no fault of the endpoint; a tunnel is refused, too', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({
        routes: ROUTE,
        clusters: cluster('a', [a.port], 'outlier_detection: { consecutive_5xx: 1, max_ejection_percent: 100 }'),
      }),
    )
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    for (const headers of [
      { ':path': '/a b', ':method': 'GET' },
      { ':path': '/', ':method': 'A B' },
    ])
      assert.equal((await ask(session, headers)).status, 400)
    session.close()
    assert.equal(proxy.figure('a', 'outlier_detection_ejections_active'), 0)
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write('CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n')
    const [reply] = await once(socket, 'data')
    assert.match(String(reply), /^HTTP\/1\.1 403/)
    socket.destroy()
    assert.equal(a.hits, 0)
  })

  test('an upgrade with a body is a request like any other', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(
      bootstrap({ manager: 'upgrade_configs: [{ upgrade_type: websocket }]', routes: ROUTE, clusters: cluster('a', [a.port]) }),
    )
    const reply = await call(proxy.port, '/', {
      method: 'POST',
      body: 'GET /smuggled',
      headers: { connection: 'upgrade', upgrade: 'websocket' },
    })
    assert.deepEqual([reply.status, JSON.parse(reply.text).body, JSON.parse(reply.text).headers.upgrade], [200, 'GET /smuggled', undefined])
  })

  test('the admin port tells and changes', async () => {
    await using a = await startBackend('a')
    await using proxy = await startProxy(bootstrap({ routes: ROUTE, clusters: cluster('a', [a.port]) }))
    await using admin = new Admin(proxy.proxy)
    await admin.open({ host: '127.0.0.1', port: 0 })
    await call(proxy.port, '/')
    const get = async (path: string, method = 'GET') => call(admin.port, path, { method })
    assert.equal((await get('/ready')).text, 'LIVE\n')
    assert.match((await get('/clusters')).text, new RegExp(`a::127.0.0.1:${a.port}::rq_total::1\n`))
    assert.match((await get('/stats')).text, /^cluster\.a\.upstream_rq_2xx: 1$/m)
    assert.match((await get('/stats?usedonly&filter=rq_2xx')).text, /^cluster\.a\.upstream_rq_2xx: 1\nhttp\.main\.downstream_rq_2xx: 1\n$/)
    assert.match(
      (await get('/stats/prometheus')).text,
      /^envoy_cluster_upstream_rq_xx\{envoy_cluster_name="a",envoy_response_code_class="2"\} 1$/m,
    )
    assert.equal(JSON.parse((await get('/config_dump')).text).configs[0].clusters[0].name, 'a')
    assert.match((await get('/listeners')).text, /^main::127/)
    assert.equal((await get('/logging?level=debug')).status, 405)
    assert.equal((await get('/logging?level=warning', 'POST')).status, 200)
    await get('/healthcheck/fail', 'POST')
    assert.equal((await get('/ready')).status, 503)
    assert.equal((await get('/none')).status, 404)
    assert.equal((await get('/drain_listeners', 'POST')).text, 'OK\n')
    await assert.rejects(call(proxy.port, '/'), /ECONNREFUSED|reset|hang up/)
  })
})
