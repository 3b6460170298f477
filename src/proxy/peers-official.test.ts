import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { peer, peersMissing } from '../agent/testing/peer.ts'
import { bootstrap, cluster, startProxy } from './harness.ts'

const skip = peersMissing()
const folder = join(import.meta.dirname, '..', '..', 'test', 'sdk', 'agents')
const HTTP2_UPSTREAM = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }`

/** Starts a program that says on which port it listens. */
async function serving(program: string): Promise<{ port: number; child: ChildProcess } & Disposable> {
  const child = spawn(process.execPath, [join(folder, program), 'serve'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const chunk of child.stdout) {
    text += chunk
    const port = Number(/^port (\d+)$/m.exec(text)?.[1])
    if (port) return { port, child, [Symbol.dispose]: () => void child.kill('SIGKILL') }
  }
  throw new Error(`${program} ended without a port: ${text}`)
}

test('gRPC of @grpc/grpc-js and grpcio: unary, both ways at once, status and trailers', { skip }, async () => {
  using server = await serving('grpc_peer.mjs')
  await using proxy = await startProxy(
    bootstrap({
      routes: '- match: { prefix: /, grpc: {} }\n  route: { cluster: a }',
      clusters: cluster('a', [server.port], HTTP2_UPSTREAM),
    }),
  )
  const trailers = ['yes', '00ff01']
  const wanted = {
    say: ['said hi', 0, ...trailers],
    fail: [[9, 'not – now'], 9, ...trailers],
    talk: [['heard 1', 'heard 2', 'heard 3'], 0, ...trailers],
  }
  const [javascript, python] = await Promise.all([peer('grpc_peer.mjs', ['call', proxy.port]), peer('grpc_peer.py', [proxy.port])])
  assert.deepEqual(JSON.parse(javascript), wanted)
  assert.deepEqual(JSON.parse(python), wanted)
  assert.equal(proxy.figure('a', 'upstream_rq_total'), 6)
  // What the proxy says itself is a status for them, too.
  server.child.kill('SIGKILL')
  await new Promise((resolve) => server.child.once('close', resolve))
  const gone = JSON.parse(await peer('grpc_peer.py', [proxy.port]))
  assert.equal(gone.say[1], 14)
  assert.match(gone.say[0][1], /upstream connect error/)
})

test('WebSockets of ws pass through: subprotocol, compression, ping, large messages, close code', { skip }, async () => {
  using server = await serving('websocket.mjs')
  await using proxy = await startProxy(
    bootstrap({
      manager: 'upgrade_configs: [{ upgrade_type: websocket }]',
      routes: '- match: { prefix: /ws/ }\n  route: { cluster: a, prefix_rewrite: / }',
      clusters: cluster('a', [server.port]),
    }),
  )
  assert.deepEqual(JSON.parse(await peer('websocket.mjs', ['call', `ws://127.0.0.1:${proxy.port}/ws/room?x=1`])), {
    protocol: 'chat',
    heard: [`hello /room?x=1 127.0.0.1:${proxy.port}`, 'text', 'pong are you there', '300000 bytes whole'],
    code: 4001,
    reason: 'enough',
  })
})
