import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { addressOf } from '../transport/original-destination.ts'
import { untilSaid } from './harness.ts'
import { restoreText } from './iptables.ts'
import { detectHttp } from './net/client-hello.ts'

process.env.PATH += ':/usr/sbin:/sbin'
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0

/** Why connections cannot be redirected here; undefined: they can. */
function missing(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs Linux and root'
  const tools = ['ip', 'iptables', 'ip6tables', 'curl', 'setpriv'].filter((tool) => !has(tool))
  if (tools.length > 0 && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`${tools.join(', ')}: not on this machine`)
  if (tools.length > 0) return `needs ${tools.join(', ')}`
  const table = (tool: string) => spawnSync('unshare', ['-n', tool, '-t', 'nat', '-L']).status === 0
  return table('iptables') && table('ip6tables') ? undefined : 'needs a network namespace of its own with nat tables'
}

test('rules are the same every time, and leave the proxy and what is excluded alone', () => {
  const options = {
    outbound: 15001,
    inbound: 15006,
    uid: 1337,
    excludePorts: [22],
    excludeRanges: ['10.0.0.0/8', 'fd00::/8'],
    onlyUid: undefined,
  }
  const four = restoreText('ipv4', options)
  assert.match(four, /^\*nat\n:OUTRIDER_OUT - \[0:0\]\n:OUTRIDER_IN - \[0:0\]\n-A OUTRIDER_OUT -m owner --uid-owner 1337 -j RETURN\n/)
  assert.match(
    four,
    /-A OUTRIDER_OUT -d 10\.0\.0\.0\/8 -j RETURN\n-A OUTRIDER_OUT -p tcp --dport 22 -j RETURN\n-A OUTRIDER_OUT -p tcp -j REDIRECT --to-ports 15001\n/,
  )
  assert.doesNotMatch(four, /fd00/)
  assert.match(restoreText('ipv6', options), /-d ::1\/128 -j RETURN\n-A OUTRIDER_OUT -d fd00::\/8/)
  assert.doesNotMatch(restoreText('ipv4', { ...options, inbound: undefined }), /_IN|PREROUTING/)
})

test('addresses are read as the kernel writes them', () => {
  assert.deepEqual(addressOf(Buffer.from('02001f900a000001000000000000000000000000000000000000', 'hex')), { host: '10.0.0.1', port: 8080 })
  assert.deepEqual(addressOf(Buffer.from('0a001f900000000020010db800000000000000000000000100000000', 'hex')), {
    host: '2001:db8:0:0:0:0:0:1',
    port: 8080,
  })
  assert.equal(addressOf(Buffer.alloc(28)), undefined)
})

test('HTTP is told from other bytes as soon as that can be', () => {
  for (const [text, wanted] of [
    ['GET / HTTP/1.1\r\n', 'http/1.1'],
    ['OPTIONS * HTTP/1.1', 'http/1.1'],
    ['PRI * HTTP/2.0\r\n', 'h2c'],
    ['P', 'more'],
    ['GET', 'more'],
    ['GET ', 'more'],
    ['EHLO example', undefined],
    ['SSH-2.0', undefined],
    ['\0\0\0\b', undefined],
  ] as const)
    assert.equal(detectHttp(Buffer.from(text)), wanted, text)
})

test('programs that know of no proxy go through it, over IPv4 and IPv6: HTTP by name and by address, and other bytes', {
  skip: missing() ?? false,
}, async () => {
  const name = `outrider-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'outrider-transparent-'))
  const children: ChildProcess[] = []
  const within = (...command: string[]) => ['netns', 'exec', name, ...command]
  const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' })
  const start = async (command: string[], ready: RegExp) => {
    const child = spawn('ip', within(...command), { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    await untilSaid(child.stdout, ready)
  }
  const outrider = fileURLToPath(new URL('../../bin/outrider', import.meta.url))
  ip('netns', 'add', name)
  try {
    ip(...within('ip', 'link', 'set', 'lo', 'up'))
    // Addresses outside 127.0.0.0/8: on one of them stands a server.
    ip(...within('ip', 'addr', 'add', '10.99.0.1/24', 'dev', 'lo'))
    ip(...within('ip', 'addr', 'add', 'fd99::1/64', 'dev', 'lo', 'nodad'))
    writeFileSync(
      join(folder, 'server.mjs'),
      `import { createServer } from 'node:http'; import net from 'node:net'
       const open = (server, port, host) => new Promise((done) => server.listen(port, host, done))
       for (const host of ['10.99.0.1', 'fd99::1']) {
         await open(createServer((q, r) => r.end(q.headers.host + ' ' + (q.headers['x-seen'] ?? 'plain') + '\\n')), 8080, host)
         await open(net.createServer((s) => s.end('bytes\\n')), 8081, host)
       }
       console.log('ready')`,
    )
    writeFileSync(
      join(folder, 'proxy.yaml'),
      `apiVersion: outrider.dev/v1\nkind: Proxy\nmetadata: { name: t }\nspec:\n  transparent: {}\n  admin: 15000\n  services:\n    orders: { endpoints: ["10.99.0.1:8080"] }\n`,
    )
    await start([process.execPath, join(folder, 'server.mjs')], /ready/)
    await start([outrider, 'proxy', '-c', join(folder, 'proxy.yaml'), '--outrider-data-dir', folder], /initialising → up/)
    const rules = (word: string) =>
      ip(...within(outrider, 'iptables', word, ...(word === 'remove' ? [] : ['--uid', '0', '--inbound-port', '0'])))
    rules('install')
    rules('install')
    const tools = ['iptables', 'ip6tables']
    const saved = () => tools.map((tool) => ip(...within(tool, '-t', 'nat', '-S')))
    const once = saved()
    for (const rule of once) assert.equal(rule.match(/-A OUTPUT .*OUTRIDER_OUT/g)?.length, 1)
    rules('install')
    assert.deepEqual(saved(), once)
    // Another user's programs: what root sends, as the proxy does, is left alone.
    const curl = (...args: string[]) =>
      ip(...within('setpriv', '--reuid=65534', '--clear-groups', 'curl', '-sS', '--max-time', '10', ...args))
    assert.equal(curl('http://10.99.0.1:8080/'), '10.99.0.1:8080 plain\n')
    // A name that only the proxy knows, sent to an address where nobody is.
    assert.equal(curl('--resolve', 'orders:80:10.99.0.7', 'http://orders/'), 'orders plain\n')
    assert.equal(curl('--http0.9', 'telnet://10.99.0.1:8081'), 'bytes\n')
    assert.equal(curl('http://[fd99::1]:8080/'), '[fd99::1]:8080 plain\n')
    assert.equal(curl('--resolve', 'orders:80:[fd99::7]', 'http://orders/'), 'orders plain\n')
    assert.equal(curl('--http0.9', 'telnet://[fd99::1]:8081'), 'bytes\n')
    const stats = ip(
      ...within('curl', '-s', 'http://127.0.0.1:15000/stats?filter=cluster.orders.upstream_rq_2xx|http.outbound.downstream_rq_2xx'),
    )
    assert.equal(stats, 'cluster.orders.upstream_rq_2xx: 2\nhttp.outbound.downstream_rq_2xx: 4\n')
    rules('remove')
    rules('remove')
    for (const left of saved()) assert.doesNotMatch(left, /OUTRIDER/)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    // The program that ip has become is gone before its namespace is.
    spawnSync('ip', ['netns', 'del', name])
    rmSync(folder, { recursive: true })
  }
})
