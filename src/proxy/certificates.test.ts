import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { Agent, request as requestTls } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { connect as connectTls, createServer as createTls, type TLSSocket } from 'node:tls'
import { issueCertificate } from '../transport/identity/certificate.ts'
import { bootstrap, cluster, startBackend, startProxy } from './harness.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-certificates-'))
after(() => rmSync(folder, { recursive: true }))

const authority = generateKeyPairSync('ed25519')
const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
const issuer = { name: 'authority', ...authority }
const ca = issueCertificate({ ...span, publicKey: authority.publicKey, subject: issuer.name, issuer, authority: true })

function issue(subject: string): { cert: string; key: string } {
  const pair = generateKeyPairSync('ed25519')
  const cert = issueCertificate({ ...span, publicKey: pair.publicKey, subject, dns: 'a.test', issuer })
  return { cert, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

/** As certificates are renewed by hand: written beside, then renamed. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

/** As the kubelet does: a folder of its own for each version, and a link to the one that counts. */
function publish(place: string, version: string, { cert, key }: { cert: string; key: string }): void {
  mkdirSync(join(place, version), { recursive: true })
  writeFileSync(join(place, version, 'tls.crt'), cert)
  writeFileSync(join(place, version, 'tls.key'), key)
  symlinkSync(version, join(place, '..data.new'))
  renameSync(join(place, '..data.new'), join(place, '..data'))
}

async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !(await met()); ) {
    assert.ok(performance.now() < end, 'it has not come to that in 20 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The subject of the certificate that a new connection is shown. */
async function shown(port: number): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port, ca, servername: 'a.test' })
  await once(socket, 'secureConnect')
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return String(Object.values(subject)[0])
}

function listenerOf(text: string, pair: string): string {
  return text.replace(
    '        - filters:',
    `        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: { tls_certificates: [${pair}] }
          filters:`,
  )
}

describe('certificates that change while the proxy runs', () => {
  test('a listener shows the new one to new connections; old ones go on; what cannot be used leaves the old one', async () => {
    await using a = await startBackend('a')
    const place = join(folder, 'secret')
    publish(place, 'v1', issue('one'))
    const [crt, key] = ['tls.crt', 'tls.key'].map((name) => join(place, '..data', name)) as [string, string]
    const text = bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [a.port]) })
    await using proxy = await startProxy(listenerOf(text, `{ certificate_chain: { filename: ${crt} }, private_key: { filename: ${key} } }`))
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ca, servername: 'a.test' })
    const sockets = new Set<unknown>()
    const kept = async () => {
      const sent = requestTls({ host: '127.0.0.1', port: proxy.port, agent })
      sent.end()
      const [reply] = (await once(sent, 'response')) as [IncomingMessage]
      sockets.add(reply.socket)
      reply.resume()
      await once(reply, 'end')
      return reply.statusCode
    }
    assert.equal(await kept(), 200)
    assert.equal(await shown(proxy.port), 'one')
    publish(place, 'v2', issue('two'))
    await until(async () => (await shown(proxy.port)) === 'two')
    assert.equal(await kept(), 200)
    assert.equal(sockets.size, 1, 'the connection of before goes on')
    // Halves of two pairs, no key at all, an empty file: each is said, and changes nothing.
    const bad = [
      { ...issue('three'), key: issue('four').key },
      { ...issue('three'), key: 'nonsense' },
      { cert: '', key: '' },
    ]
    for (const [index, pair] of bad.entries()) {
      const before = proxy.lines.length
      publish(place, `bad${index}`, pair)
      await until(() => proxy.lines.slice(before).some((line) => /cannot be used: .*; what was read before stays in use/.test(line)))
      assert.equal(await shown(proxy.port), 'two')
    }
    replace(join(place, 'bad2', 'tls.crt'), issue('five').cert)
    const whole = issue('six')
    replace(join(place, 'bad2', 'tls.crt'), whole.cert)
    replace(join(place, 'bad2', 'tls.key'), whole.key)
    await until(async () => (await shown(proxy.port)) === 'six')
    agent.destroy()
  })

  test('a cluster shows the new one to its endpoints, and believes the new authority', async () => {
    const server = issue('server')
    const asked: string[] = []
    const endpoint = createTls({ cert: server.cert, key: server.key, ca, requestCert: true }, (socket: TLSSocket) => {
      socket.on('error', () => {})
      socket.on('data', () => {
        asked.push(String(Object.values(socket.getPeerCertificate().subject)[0]))
        // A connection each, so that the next request opens another.
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok')
      })
    })
    endpoint.on('tlsClientError', () => {})
    endpoint.listen(0, '127.0.0.1')
    await once(endpoint, 'listening')
    const { port } = endpoint.address() as { port: number }
    const [crt, key, trusted] = ['client.crt', 'client.key', 'ca.crt'].map((name) => join(folder, name)) as [string, string, string]
    const write = (pair: { cert: string; key: string }) => {
      replace(crt, pair.cert)
      replace(key, pair.key)
    }
    write(issue('client one'))
    writeFileSync(trusted, ca)
    const context = `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: a.test
    common_tls_context: { tls_certificates: [{ certificate_chain: { filename: ${crt} }, private_key: { filename: ${key} } }], validation_context: { trusted_ca: { filename: ${trusted} } } }`
    await using proxy = await startProxy(
      bootstrap({ routes: '- match: { prefix: / }\n  route: { cluster: a }', clusters: cluster('a', [port], context) }),
    )
    const ask = async () => {
      const sent = request({ host: '127.0.0.1', port: proxy.port, agent: false })
      sent.end()
      const [reply] = (await once(sent, 'response')) as [IncomingMessage]
      reply.resume()
      await once(reply, 'end')
      return reply.statusCode
    }
    assert.equal(await ask(), 200)
    assert.equal(asked.at(-1), 'client one')
    write(issue('client two'))
    await until(async () => (await ask()) === 200 && asked.at(-1) === 'client two')
    const other = generateKeyPairSync('ed25519')
    const stranger = { name: 'stranger', ...other }
    replace(trusted, issueCertificate({ ...span, publicKey: other.publicKey, subject: stranger.name, issuer: stranger, authority: true }))
    await until(async () => (await ask()) === 503)
    replace(trusted, ca)
    await until(async () => (await ask()) === 200)
    endpoint.close()
  })
})
