import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { peer, peersMissing } from '../testing/peer.ts'
import { FLAGS, folderOf, open } from './harness.ts'

// Programs that none of us wrote, as they are.

test("OpenFeature's own providers of npm and PyPI evaluate the flags", { skip: peersMissing() }, async (t) => {
  const folder = folderOf(t, { 'shop.yaml': FLAGS })
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }] })
  for (const base of [opened.url, `${opened.url}/features/shop`]) {
    const found = JSON.parse(await peer('ofrep.mjs', [base])) as Record<string, unknown>
    assert.deepEqual(found, {
      checkout: { value: true, reason: 'STATIC', variant: 'default' },
      banner: { value: 'HELLO', reason: 'TARGETING_MATCH', variant: 'loud' },
      bannerFree: { value: 'hello', reason: 'STATIC', variant: 'plain' },
      limit: { value: 20, reason: 'STATIC', variant: 'default' },
      colors: { value: { primary: 'blue' }, reason: 'STATIC', variant: 'default' },
      split: { value: 'B', reason: 'SPLIT', variant: 'b' },
      noKey: { value: 'none', reason: 'ERROR', errorCode: 'TARGETING_KEY_MISSING' },
      missing: { value: true, reason: 'ERROR', errorCode: 'FLAG_NOT_FOUND' },
      mismatch: { value: true, reason: 'ERROR', errorCode: 'TYPE_MISMATCH' },
      broken: { value: true, reason: 'ERROR', errorCode: 'PARSE_ERROR' },
    })
  }
  const python = JSON.parse(await peer('ofrep_flags.py', [opened.url])) as Record<string, unknown>
  assert.deepEqual(python, { checkout: true, banner: 'HELLO', limit: 20, missing: true })
  const all = await fetch(`${opened.url}/ofrep/v1/evaluate/flags`, { method: 'POST', body: '{"context":{"targetingKey":"ann"}}' })
  assert.equal(((await all.json()) as { flags: unknown[] }).flags.length, 6)
  const again = await fetch(`${opened.url}/ofrep/v1/evaluate/flags`, {
    method: 'POST',
    body: '{"context":{"targetingKey":"ann"}}',
    headers: { 'if-none-match': String(all.headers.get('etag')) },
  })
  assert.equal(again.status, 304)
})

test('curl polls and streams', { skip: spawnSync('curl', ['--version']).status !== 0 && 'needs curl' }, async (t) => {
  const folder = folderOf(t, { 'shop.yaml': 'a: 1\n' })
  await using opened = await open({ sources: [{ name: 'files', files: { folder } }] })
  const stream = spawn('curl', ['-sN', '-H', 'accept: text/event-stream', `${opened.url}/config`])
  t.after(() => stream.kill())
  let heard = ''
  stream.stdout.setEncoding('utf8').on('data', (text: string) => (heard += text))
  await opened.until(() => heard.includes('"config":{"a":1}') || undefined)
  const [tags, out] = [join(folder, 'etag'), join(folder, 'out')]
  const curl = (...args: string[]) =>
    promisify(execFile)('curl', ['-s', '--etag-save', tags, '--etag-compare', tags, '-o', out, '-w', '%{http_code}', ...args])
  assert.equal((await curl(`${opened.url}/config`)).stdout, '200')
  assert.equal((await curl(`${opened.url}/config`)).stdout, '304')
  const waiting = curl(`${opened.url}/config?wait=30s`)
  await opened.until(() => (opened.role.status?.().waiting === 2 ? true : undefined))
  writeFileSync(join(folder, 'shop.yaml'), 'a: 2\n')
  assert.equal((await waiting).stdout, '200')
  assert.equal(readFileSync(out, 'utf8'), '{"a":2}')
  await opened.until(() => heard.includes('"config":{"a":2}') || undefined)
})
