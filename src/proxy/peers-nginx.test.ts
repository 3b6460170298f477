import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { accepts, freePort } from '../../test/servers/process.ts'
import { bootstrap, cluster, startProxy } from './harness.ts'

const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
const absent = ['nginx', 'curl'].filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`], { env }).status !== 0)
if (absent.length > 0 && process.env.OUTRIDER_REQUIRE_SERVERS === '1')
  throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${absent.join(', ')} is not on this machine`)
const skip = absent.length > 0 && `needs ${absent.join(', ')}: apt-get install nginx-light curl`

const HTTP2_UPSTREAM = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }`

test('nginx as upstream over kept connections and HTTP/2, and in front, with curl over HTTP/1.1 and HTTP/2', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-nginx-'))
  const [one, two, front] = [await freePort(), await freePort(), await freePort()]
  await using proxy = await startProxy(
    bootstrap({
      routes: '- match: { prefix: /two }\n  route: { cluster: two }\n- match: { prefix: / }\n  route: { cluster: one }',
      clusters: cluster('one', [one]) + cluster('two', [two], HTTP2_UPSTREAM),
    }),
  )
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  const says = 'default_type text/plain; return 200 "$request_method $uri $server_protocol $http_x_forwarded_proto $connection_requests"'
  writeFileSync(
    join(folder, 'nginx.conf'),
    `worker_processes 1; daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr error;
events { worker_connections 256; }
http {
  access_log off; ${places}
  server {
    listen 127.0.0.1:${one};
    location / { ${says}; }
    location /file { alias ${folder}/large; }
  }
  server { listen 127.0.0.1:${two} http2; location / { ${says}; } }
  upstream outrider { server 127.0.0.1:${proxy.port}; keepalive 4; }
  server {
    listen 127.0.0.1:${front} http2;
    location / { proxy_pass http://outrider; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  )
  const large = 'nginx '.repeat(400_000)
  writeFileSync(join(folder, 'large'), large)
  const nginx = spawn('nginx', ['-c', join(folder, 'nginx.conf'), '-p', folder], { stdio: ['ignore', 'ignore', 'inherit'], env })
  try {
    while (!(await accepts('127.0.0.1', front))) assert.equal(nginx.exitCode, null, 'nginx has ended')
    const curl = async (...args: string[]) =>
      (await promisify(execFile)('curl', ['-sS', '--max-time', '20', ...args], { maxBuffer: 16 << 20 })).stdout
    const at = `http://127.0.0.1:${proxy.port}`
    // Each curl is a connection of its own; towards nginx it is one, on which requests are counted.
    assert.equal(await curl(`${at}/x`), 'GET /x HTTP/1.1 http 1')
    assert.equal(await curl('--http1.0', `${at}/y`), 'GET /y HTTP/1.1 http 2')
    assert.equal(await curl('--http2-prior-knowledge', '-d', 'a=b', `${at}/z`), 'POST /z HTTP/1.1 http 3')
    assert.equal(await curl(`${at}/two/x`), 'GET /two/x HTTP/2.0 http 1')
    assert.equal(await curl('--http2-prior-knowledge', `${at}/two/y`), 'GET /two/y HTTP/2.0 http 2')
    // curl offers h2c in an Upgrade; a server may answer in HTTP/1.1.
    assert.equal(await curl('--http2', '-w', ' %{http_version}', `${at}/x`), 'GET /x HTTP/1.1 http 4 1.1')
    assert.equal(await curl(`${at}/file`), large)
    assert.equal(await curl('-r', '6-10', `${at}/file`), 'nginx')
    assert.equal(await curl('-I', '-o', '/dev/null', '-w', '%{http_code} %header{content-length}', `${at}/file`), `200 ${large.length}`)
    const through = `http://127.0.0.1:${front}`
    assert.match(await curl('--http2-prior-knowledge', `${through}/two/a`), /^GET \/two\/a HTTP\/2\.0 http \d+$/)
    assert.match(await curl('--http2-prior-knowledge', '-T', join(folder, 'nginx.conf'), `${through}/a`), /^PUT \/a HTTP\/1\.1 http \d+$/)
    assert.equal(await curl('--http2-prior-knowledge', `${through}/file`), large)
  } finally {
    nginx.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  }
})
