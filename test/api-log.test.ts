import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { startSidecar } from './sidecar.ts'

const home = mkdtempSync(join(tmpdir(), 'outrider-api-log-'))
after(() => rmSync(home, { recursive: true }))

interface Line {
  method: string
  code: number
  size: number
  duration: number
  useragent?: string
  scope: string
}

type Request = readonly [method: string, path: string, headers?: Record<string, string>]

/** What the log says of these requests, which are sent one after another. */
async function logged(spec: string, requests: readonly Request[]): Promise<Line[]> {
  const file = join(home, 'config.yaml')
  writeFileSync(file, `apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec: ${spec}\n`)
  const args = ['--enable-api-logging', '--log-as-json', `--config=${file}`]
  await using sidecar = await startSidecar({ appId: 'logged', dataDir: home, args })
  for (const [method, path, headers] of requests) await (await fetch(sidecar.http + path, { method, headers: headers ?? {} })).arrayBuffer()
  await sidecar.stop()
  return sidecar
    .log()
    .split('\n')
    .filter((line) => line.includes('"HTTP API Called"'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ useragent }) => useragent === 'teller')
}

const headers = { 'user-agent': 'teller' }

test('the API log has the fields of daprd, paths as people write them', async () => {
  const lines = await logged('{}', [
    ['GET', '/v1.0/invoke/logged/method/a%20b?secret=1', headers],
    ['GET', '/v1.0/healthz', headers],
  ])
  assert.deepEqual(
    lines.map(({ method, code }) => [method, code]),
    [
      ['GET /v1.0/invoke/logged/method/a b', 500],
      ['GET /v1.0/healthz', 204],
    ],
  )
  const [invoked, health] = lines as [Line, Line]
  assert.equal(invoked.scope, 'dapr.runtime.http-info')
  assert.ok(invoked.size > 20 && health.size === 0)
  assert.ok(Number.isInteger(invoked.duration) && invoked.duration >= 0)
})

test('obfuscated, it tells of an invocation and of an actor only whom they were for', async () => {
  const lines = await logged('{logging: {apiLogging: {obfuscateURLs: true, omitHealthChecks: true}}}', [
    ['GET', '/v1.0/invoke/other/method/secret', headers],
    ['GET', '/secret/path', { ...headers, 'dapr-app-id': 'third' }],
    ['POST', '/v1.0/actors/type/one/method/secret', headers],
    ['GET', '/v1.0/state/store/secret', headers],
    ['GET', '/v1.0/healthz', headers],
  ])
  assert.deepEqual(
    lines.map(({ method }) => method),
    ['InvokeService/other', 'InvokeService/third', 'InvokeActor/type.one', 'GetState'],
  )
})
