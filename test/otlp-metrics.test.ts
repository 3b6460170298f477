import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startSidecar } from './sidecar.ts'

test('a sidecar whose environment names a collector pushes its metrics there, the last ones as it stops', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'outrider-otlp-'))
  const got: Buffer[] = []
  const collector = createServer(async (request, response) => {
    if (request.url === '/v1/metrics') got.push(Buffer.concat((await request.toArray()) as Buffer[]))
    response.end()
  }).listen(0, '127.0.0.1')
  await once(collector, 'listening')
  t.after(() => {
    collector.close().closeAllConnections()
    rmSync(dataDir, { recursive: true })
  })
  const url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  const env = { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: url, OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/protobuf' }
  await using sidecar = await startSidecar({ appId: 'pushing', dataDir, env })
  await (await fetch(`${sidecar.http}/v1.0/metadata`)).arrayBuffer()
  assert.deepEqual(await sidecar.stop(), { code: 0, signal: null })
  assert.equal(got.length, 1, 'the interval is a minute')
  for (const text of ['pushing', 'dapr_http_server_request_count', '/v1.0/metadata', 'outrider_sidecar_state'])
    assert.ok(got[0]?.includes(text), text)
})
