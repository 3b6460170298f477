import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from '../../test/servers/process.ts'
import { bootstrap, cluster, startProxy } from './harness.ts'

// Debian has HAProxy where only root's PATH leads.
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
const absent = ['haproxy', 'h2load', 'curl'].filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`], { env }).status !== 0)
if (absent.length > 0 && process.env.OUTRIDER_REQUIRE_SERVERS === '1')
  throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${absent.join(', ')} is not on this machine`)
const skip = absent.length > 0 && `needs ${absent.join(', ')}: apt-get install haproxy nghttp2-client curl`

test('HAProxy as upstream over HTTP/1.1 and HTTP/2; h2load and curl as clients over both', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-haproxy-'))
  const [one, two] = [await freePort(), await freePort()]
  writeFileSync(
    join(folder, 'haproxy.cfg'),
    `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend one
  bind 127.0.0.1:${one}
  http-request return status 200 content-type text/plain lf-string "one %[method] %[path] %[req.ver]"
frontend two
  bind 127.0.0.1:${two} proto h2
  http-request return status 200 content-type text/plain lf-string "two %[method] %[path] %[req.ver]"
`,
  )
  const haproxy = spawn('haproxy', ['-db', '-q', '-f', join(folder, 'haproxy.cfg')], { stdio: 'inherit', env })
  try {
    for (;;) {
      const up = await new Promise<boolean>((resolve) => {
        const socket = connect(two, '127.0.0.1', () => socket.destroy())
        socket.once('close', (failed) => resolve(!failed)).once('error', () => {})
      })
      if (up) break
    }
    const http2 = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }`
    await using proxy = await startProxy(
      bootstrap({
        routes: '- match: { prefix: /two }\n  route: { cluster: two }\n- match: { prefix: / }\n  route: { cluster: one }',
        clusters: cluster('one', [one]) + cluster('two', [two], http2),
      }),
    )
    const at = `http://127.0.0.1:${proxy.port}`
    // Clients and proxy are in one process: what they run must not block it.
    const asked = (...args: string[]) =>
      new Promise<string>((resolve, reject) => {
        const child = spawn(args[0] as string, args.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
        let text = ''
        child.stdout.on('data', (chunk) => {
          text += chunk
        })
        child.once('error', reject).once('close', () => resolve(text))
      })
    assert.equal(await asked('curl', '-sS', `${at}/x`), 'one GET /x 1.1')
    assert.equal(await asked('curl', '-sS', '--http2-prior-knowledge', `${at}/two/x`), 'two GET /two/x 2.0')
    assert.equal(await asked('curl', '-sS', '-d', 'a=b', '-H', 'expect: 100-continue', `${at}/x`), 'one POST /x 1.1')
    assert.equal(await asked('curl', '-sS', '-I', '-o', '/dev/null', '-w', '%{http_code}', `${at}/x`), '200')
    for (const [path, ...args] of [
      ['/x', '--h1', '-c', '8'],
      ['/two', '--h1', '-c', '8'],
      ['/x', '-c', '4', '-m', '10'],
      ['/two', '-c', '4', '-m', '10'],
    ] as const) {
      const text = await asked('h2load', '-n', '2000', ...args, `${at}${path}`)
      assert.match(text, /2000 succeeded, 0 failed, 0 errored, 0 timeout/, text)
    }
  } finally {
    haproxy.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  }
})
