import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../test/servers/process.ts'
import { call, startBackend, untilSaid } from './harness.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const outrider = join(root, 'bin/outrider')

/** The examples of `examples/proxy`, with ports that are free in place of theirs. */
for (const file of ['envoy.yaml', 'proxy.yaml'])
  test(`examples/proxy/${file} runs`, async () => {
    await using shop = await startBackend('shop')
    await using first = await startBackend('first')
    await using second = await startBackend('second')
    await using next = await startBackend('next')
    const ports: Record<string, number> = { 8080: shop.port, 8081: first.port, 8082: second.port, 8083: next.port }
    for (const one of ['10000', '15001', '3000', '9901']) ports[one] = await freePort()
    let text = readFileSync(join(root, 'examples/proxy', file), 'utf8')
    for (const [from, to] of Object.entries(ports)) text = text.replaceAll(new RegExp(`\\b${from}\\b`, 'g'), String(to))
    const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-example-'))
    writeFileSync(join(folder, file), text)
    const child = spawn(outrider, ['proxy', '-c', join(folder, file), '--outrider-data-dir', folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      await untilSaid(child.stdout, /initialising → up/)
      const names = new Set<string>()
      for (let i = 0; i < 40; i++) {
        const { name, url } = JSON.parse((await call(ports['10000'] as number, '/orders/7')).text)
        names.add(name)
        assert.equal(url, '/7')
      }
      assert.ok(names.has('first') || names.has('second'))
      // One of the two is gone: nobody notices.
      await first[Symbol.asyncDispose]()
      for (let i = 0; i < 20; i++) {
        const { status, text: body } = await call(ports['10000'] as number, '/orders/7')
        assert.equal(status, 200, body)
      }
      assert.equal(JSON.parse((await call(ports['10000'] as number, '/x')).text).name, 'shop')
      assert.equal((await call(ports['9901'] as number, '/ready')).text, 'LIVE\n')
      if (file === 'proxy.yaml') {
        assert.equal(JSON.parse((await call(ports['15001'] as number, '/proxy/orders/1')).text).url, '/1')
        assert.equal(JSON.parse((await call(ports['3000'] as number, '/orders/1')).text).url, '/1')
        assert.equal(JSON.parse((await call(ports['3000'] as number, '/other')).text).name, 'shop')
      }
    } finally {
      child.kill('SIGTERM')
      if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve))
      rmSync(folder, { recursive: true })
    }
    assert.equal(child.exitCode, 0)
  })

test('outrider proxy convert says an example of Envoy in a form that can be used', () => {
  const { stdout, status, stderr } = spawnSync(outrider, ['proxy', 'convert', '-c', join(root, 'examples/proxy/envoy.yaml')], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-convert-'))
  const file = join(folder, 'own.yaml')
  writeFileSync(file, stdout)
  const validated = spawnSync(outrider, ['proxy', '-c', file, '--mode', 'validate'], { encoding: 'utf8' })
  assert.equal(validated.status, 0, validated.stderr)
  rmSync(folder, { recursive: true })
})

test('outrider proxy ends with what is wrong, by file and line', () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-proxy-wrong-'))
  const file = join(folder, 'e.yaml')
  writeFileSync(file, 'static_resources:\n  clusters:\n    - name: a\n      lb_subset_config: {}\n')
  const { status, stderr } = spawnSync(outrider, ['proxy', '-c', file], { encoding: 'utf8' })
  assert.equal(status, 1)
  assert.match(stderr, /e\.yaml:4: static_resources\.clusters\[0\]\.lb_subset_config is not supported here/)
  rmSync(folder, { recursive: true })
})
